//! The scenarios' backend on the embedded runtime, which all scenarios share.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::http::{Http, OverHttp, shown};
use crate::services::services;
use crate::suite_local::{self, Looks};
use crate::world::Soon;

/// A runtime that has all services.
pub(crate) struct Local {
    local: suite_local::Local,
    http: Http,
}

/// The ones that all scenarios share: one out of the box, and one in which each wait suspends.
static LOCALS: [OnceCell<Local>; 2] = [const { OnceCell::const_new() }; 2];

pub(crate) async fn local(suspend: bool) -> &'static Local {
    let start = async || {
        let local = suite_local::Local::start(services(), suspend).await;
        let http = Http::new(local.ingress_url(), local.looks().admin().url());
        Local { local, http }
    };
    LOCALS[usize::from(suspend)].get_or_init(start).await
}

pub(crate) use suite_local::folder;

/// Stops those that were started.
pub(crate) async fn stop() {
    for local in LOCALS.iter().filter_map(OnceCell::get) {
        local.local.stop().await;
    }
}

/// How a scenario sees what the admin API shows.
pub(crate) trait Look {
    fn row(&self, id: &str) -> Soon<'_, Option<Value>>;
    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>>;
    fn entries(&self, id: String) -> Soon<'_, Vec<String>>;
}

impl Look for Looks {
    fn row(&self, id: &str) -> Soon<'_, Option<Value>> {
        let id = id.to_owned();
        Box::pin(async move { self.invocation(&id).await })
    }

    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>> {
        Box::pin(async move {
            let answer = self.look(&format!("state/{service}/{key}")).await;
            serde_json::from_value(answer.unwrap()["state"].take()).unwrap()
        })
    }

    fn entries(&self, id: String) -> Soon<'_, Vec<String>> {
        Box::pin(async move {
            let journal = self.journal(&id).await;
            let entries = journal.iter().map(|(kind, name)| shown(kind, name));
            entries.collect()
        })
    }
}

impl OverHttp for Local {
    fn http(&self) -> &Http {
        &self.http
    }

    fn row(&self, id: &str) -> Soon<'_, Option<Value>> {
        self.local.looks().row(id)
    }

    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>> {
        self.local.looks().state(service, key)
    }

    fn journal(&self, id: String) -> Soon<'_, Vec<String>> {
        self.local.looks().entries(id)
    }

    fn subscribe(&self, _: String, _: String) -> Soon<'_, ()> {
        unreachable!("records are for `Records`")
    }

    fn produce(&self, _: String, _: Option<Vec<u8>>, _: Option<Vec<u8>>) -> Soon<'_, ()> {
        unreachable!("records are for `Records`")
    }
}
