//! The embedded runtime as the suites of this repository use it: one for all cases of a column, in this
//! process, on a journal of its own.
//!
//! In: an endpoint. Out: its addresses, and looks through its admin API, which has no SQL.

use std::sync::Mutex;

use durably::Endpoint;
use durably::admin::AdminClient;
use durably::local::LocalRuntime;
use serde_json::Value;
use tempfile::TempDir;

/// A folder for a journal. What a run that was killed leaves goes with `cargo clean`.
pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("local-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

/// What the runtime shows on its admin port.
pub(crate) struct Looks {
    admin: AdminClient,
    client: reqwest::Client,
}

/// A runtime in this process, and the folder that its journal lies in.
#[allow(dead_code, reason = "some suites have it in another process")]
pub(crate) struct Local {
    ingress_url: String,
    looks: Looks,
    held: Mutex<Option<(LocalRuntime, TempDir)>>,
}

impl Looks {
    pub(crate) fn at(admin_url: &str) -> Self {
        // Connections would belong to the case that opened them.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        let client = client.unwrap();
        Self {
            admin: AdminClient::with_client(admin_url, client.clone()),
            client,
        }
    }

    pub(crate) fn admin(&self) -> &AdminClient {
        &self.admin
    }

    /// What the admin API shows at a path; nothing if there is nothing.
    pub(crate) async fn look(&self, path: &str) -> Option<Value> {
        let url = format!("{}/{path}", self.admin.url());
        let answer = self.client.get(url).send().await.unwrap();
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return None;
        }
        let answer = answer.error_for_status().unwrap();
        Some(answer.json().await.unwrap())
    }

    /// An invocation as a row, with its journal.
    #[allow(dead_code, reason = "some suites look at lists of them")]
    pub(crate) async fn invocation(&self, id: &str) -> Option<Value> {
        self.look(&format!("invocations/{id}")).await
    }

    /// The kinds of what is in an invocation's journal, as the server's table `sys_journal` writes them,
    /// and its names.
    pub(crate) async fn journal(&self, id: &str) -> Vec<(String, String)> {
        let (mut from, mut entries) = (Some(0), Vec::new());
        while let Some(at) = from {
            let part = self.look(&format!("invocations/{id}?from={at}")).await;
            let part = part.unwrap();
            entries.extend(part["journal"].as_array().unwrap().iter().filter_map(entry));
            from = part["journal_next"].as_u64();
        }
        entries
    }
}

#[allow(dead_code, reason = "some suites have it in another process")]
impl Local {
    pub(crate) async fn start(endpoint: Endpoint, always_suspend: bool) -> Self {
        let directory = folder();
        let any_port = ([127, 0, 0, 1], 0);
        let mut builder = LocalRuntime::builder(endpoint)
            .path(directory.path())
            .ingress(any_port)
            .admin(any_port);
        if always_suspend {
            builder = builder.always_suspend();
        }
        let runtime = builder.start().await.unwrap();
        Self {
            ingress_url: runtime.ingress_url(),
            looks: Looks::at(&runtime.admin_url()),
            held: Mutex::new(Some((runtime, directory))),
        }
    }

    pub(crate) fn ingress_url(&self) -> &str {
        &self.ingress_url
    }

    pub(crate) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Stops the runtime, and removes what it has kept: statics are not dropped.
    pub(crate) async fn stop(&self) {
        let held = self.held.lock().unwrap().take();
        if let Some((runtime, _directory)) = held {
            runtime.shutdown().await.unwrap();
        }
    }
}

/// What the server has an entry for.
fn entry(event: &Value) -> Option<(String, String)> {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let kind = text("type");
    let kind = kind.strip_suffix("Completion").unwrap_or(kind);
    let kind = kind.strip_suffix("Notification").unwrap_or(kind);
    let side = match text("kind") {
        "issued" => "Command",
        "came" => "Notification",
        _ => return None,
    };
    Some((format!("{side}: {kind}"), text("name").to_owned()))
}
