//! The backends that are asked over HTTP: what the real server and the local runtime have in common.
//!
//! In: what scenarios ask for. Out: requests to an ingress and an admin API. How an invocation is
//! looked at is each one's own: the server has SQL for that.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use durably::admin::{AdminClient, AdminError};
use serde_json::Value;

use crate::world::{Ask, Backend, Handle, Operation, Refusal, Soon};

/// The ingress says so of an invocation that has not ended.
const NOT_READY: u16 = 470;

/// An ingress and an admin API.
pub(crate) struct Http {
    pub(crate) client: reqwest::Client,
    ingress_url: String,
    admin: AdminClient,
}

/// What is asked over HTTP, and how each one is looked at.
pub(crate) trait OverHttp {
    fn http(&self) -> &Http;
    /// Of an invocation at least the columns `status` and `completion_result` of the server's table.
    fn row(&self, id: &str) -> Soon<'_, Option<Value>>;
    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>>;
    /// Kinds and names of the commands and notifications of an invocation.
    fn journal(&self, id: String) -> Soon<'_, Vec<String>>;
    fn subscribe(&self, topic: String, handler: String) -> Soon<'_, ()>;
    fn produce(&self, topic: String, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Soon<'_, ()>;
}

impl Http {
    pub(crate) fn new(ingress_url: impl Into<String>, admin_url: &str) -> Self {
        // Connections would belong to the scenario that opened them.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        let client = client.unwrap();
        Self {
            admin: AdminClient::with_client(admin_url, client.clone()),
            ingress_url: ingress_url.into(),
            client,
        }
    }

    /// One exchange with the ingress.
    async fn exchange(&self, method: &str, path: &str, ask: Ask) -> Result<Vec<u8>, Refusal> {
        let url = format!("{}/{path}", self.ingress_url);
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, url).body(ask.body);
        if let Some(content_type) = ask.content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(key) = ask.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(refusal(status.as_u16(), &body))
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        self.exchange("GET", path, Ask::default()).await
    }
}

fn refusal(code: u16, body: &[u8]) -> Refusal {
    let json = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let message = match json["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let metadata = json["metadata"].as_object();
    let metadata = metadata.into_iter().flatten();
    let metadata = metadata
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    Refusal {
        code,
        message,
        metadata,
    }
}

/// An entry of a journal, as the server writes it, for comparison.
pub(crate) fn shown(kind: &str, name: &str) -> String {
    match kind.split_once(": ").unwrap() {
        ("Command", "Run") => format!("Run {name}"),
        ("Command", kind) => kind.to_owned(),
        (_, kind) => format!("← {kind}"),
    }
}

fn of_admin(error: AdminError) -> Refusal {
    match error {
        AdminError::Refused {
            status, message, ..
        } => Refusal {
            code: status,
            message,
            metadata: Vec::new(),
        },
        other => panic!("{other}"),
    }
}

fn path(verb: &str, ask: &Ask) -> String {
    let Ask {
        service, handler, ..
    } = ask;
    // Keys of scenarios hold nothing that a path cannot.
    match &ask.key {
        Some(key) => format!("restate/{verb}/{service}/{key}/{handler}"),
        None => format!("restate/{verb}/{service}/{handler}"),
    }
}

fn handle_path(verb: &str, handle: &Handle) -> String {
    match handle {
        Handle::Id(id) => format!("restate/{verb}/{id}"),
        Handle::Workflow(name, key) => format!("restate/workflow/{name}/{key}/{verb}"),
        Handle::Idempotent(ask) => {
            let Ask {
                service, handler, ..
            } = ask;
            let target = match &ask.key {
                Some(key) => format!("{service}/{key}/{handler}"),
                None => format!("{service}/{handler}"),
            };
            let key = ask.idempotency_key.as_deref().unwrap_or_default();
            format!("restate/invocation/{target}/{key}/{verb}")
        }
    }
}

/// A backend over HTTP.
pub(crate) struct Over<T>(pub(crate) T);

impl<T: Deref<Target: OverHttp>> Backend for Over<T> {
    fn call(&self, ask: Ask) -> Soon<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(async move {
            let path = path("call", &ask);
            self.0.http().exchange("POST", &path, ask).await
        })
    }

    fn send(&self, ask: Ask, delay: Duration) -> Soon<'_, Result<String, Refusal>> {
        Box::pin(async move {
            let mut path = path("send", &ask);
            if !delay.is_zero() {
                path += &format!("?delay={}ms", delay.as_millis());
            }
            let answer = self.0.http().exchange("POST", &path, ask).await?;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            Ok(answer["invocationId"].as_str().unwrap().to_owned())
        })
    }

    fn attach(&self, to: Handle) -> Soon<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(async move { self.0.http().get(&handle_path("attach", &to)).await })
    }

    fn output(&self, of: Handle) -> Soon<'_, Result<Option<Vec<u8>>, Refusal>> {
        Box::pin(async move {
            match self.0.http().get(&handle_path("output", &of)).await {
                Ok(output) => Ok(Some(output)),
                Err(refusal) if refusal.code == NOT_READY => Ok(None),
                Err(refusal) => Err(refusal),
            }
        })
    }

    fn complete_awakeable(
        &self,
        id: String,
        result: Result<Value, String>,
    ) -> Soon<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let (verb, ask) = match result {
                Ok(value) => ("resolve", Ask::default().json(value)),
                Err(reason) => ("reject", Ask::default().raw("text/plain", reason)),
            };
            let path = format!("restate/awakeables/{id}/{verb}");
            self.0.http().exchange("POST", &path, ask).await.map(|_| ())
        })
    }

    fn operate(&self, what: Operation, id: String) -> Soon<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let admin = &self.0.http().admin;
            let result = match what {
                Operation::Cancel => admin.cancel(&id).await,
                Operation::Kill => admin.kill(&id).await,
                Operation::Pause => admin.pause(&id).await,
                Operation::Resume => admin.resume(&id).await,
                Operation::Purge => admin.purge(&id).await,
            };
            result.map_err(of_admin)
        })
    }

    fn status(&self, id: String) -> Soon<'_, Option<&'static str>> {
        Box::pin(async move {
            let row = self.0.row(&id).await?;
            let result = row["completion_result"].as_str().unwrap_or_default();
            Some(match row["status"].as_str().unwrap() {
                "scheduled" => "scheduled",
                "pending" => "queued",
                "ready" | "running" | "suspended" => "going on",
                "backing-off" => "backing off",
                "paused" => "paused",
                "completed" if result == "success" => "succeeded",
                "completed" => "failed",
                other => panic!("there is no word for {other}"),
            })
        })
    }

    fn is_suspended(&self, id: String) -> Soon<'_, bool> {
        Box::pin(async move {
            let row = self.0.row(&id).await;
            row.is_some_and(|row| row["status"] == "suspended")
        })
    }

    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>> {
        OverHttp::state(&*self.0, service, key)
    }

    fn set_state(
        &self,
        service: String,
        key: String,
        state: BTreeMap<String, Value>,
    ) -> Soon<'_, ()> {
        Box::pin(async move {
            let state = state.into_iter();
            let state: BTreeMap<_, _> = state
                .map(|(name, value)| (name, value.to_string().into_bytes()))
                .collect();
            let http = self.0.http();
            let url = format!("{}/services/{service}/state", http.admin.url());
            let body = serde_json::json!({ "object_key": key, "new_state": state });
            let answer = http.client.post(url).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
        })
    }

    fn journal(&self, id: String) -> Soon<'_, Vec<String>> {
        OverHttp::journal(&*self.0, id)
    }

    fn subscribe(&self, topic: String, handler: String) -> Soon<'_, ()> {
        OverHttp::subscribe(&*self.0, topic, handler)
    }

    fn produce(&self, topic: String, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Soon<'_, ()> {
        OverHttp::produce(&*self.0, topic, key, value)
    }

    fn pass(&self, time: Duration) -> Soon<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
