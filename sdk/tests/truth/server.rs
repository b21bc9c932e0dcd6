//! The scenarios' backend on the real server, which all scenarios share.

use std::collections::BTreeMap;

use durably::test_server::{KafkaBroker, RestateServer, Served};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::http::{Http, OverHttp, shown};
use crate::services::services;
use crate::world::Soon;

/// A server that has all services.
pub(crate) struct Server {
    server: RestateServer,
    _served: Served,
    http: Http,
    broker: OnceCell<KafkaBroker>,
}

/// The one that all scenarios share, out of the box; or another one that talks in version 7 of the protocol,
/// and lets each wait suspend. They end with the process.
pub(crate) async fn server(otherwise: bool) -> &'static Server {
    static SERVERS: [OnceCell<Server>; 2] = [const { OnceCell::const_new() }; 2];
    let start = async || Server::start(otherwise).await;
    SERVERS[usize::from(otherwise)].get_or_init(start).await
}

impl Server {
    async fn start(otherwise: bool) -> Self {
        let builder = RestateServer::builder();
        let builder = if otherwise {
            builder.protocol_v7().always_suspend()
        } else {
            builder
        };
        // How soon it forgets what it need not keep.
        let builder = builder.env("RESTATE_WORKER__CLEANUP_INTERVAL", "1s");
        let server = builder.start().await.unwrap();
        let served = server.serve(services()).await.unwrap();
        Self {
            _served: served,
            http: Http::new(server.ingress_url(), server.admin_url()),
            broker: OnceCell::const_new(),
            server,
        }
    }

    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    async fn rows(&self, sql: &str) -> Vec<Value> {
        self.server.query(sql).await.unwrap()
    }

    async fn broker(&self) -> &KafkaBroker {
        let start = async || {
            let broker = KafkaBroker::start().await.unwrap();
            let servers = broker.bootstrap_servers();
            let known = self.server.create_kafka_cluster("broker", servers).await;
            known.unwrap();
            broker
        };
        self.broker.get_or_init(start).await
    }
}

impl OverHttp for Server {
    fn http(&self) -> &Http {
        &self.http
    }

    fn row(&self, id: &str) -> Soon<'_, Option<Value>> {
        let sql = format!("SELECT status, completion_result FROM sys_invocation WHERE id = '{id}'");
        Box::pin(async move { self.rows(&sql).await.pop() })
    }

    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT key, value_utf8 FROM state \
                 WHERE service_name = '{service}' AND service_key = '{key}'"
            );
            let rows = self.rows(&sql).await;
            let state = rows.iter().map(|row| {
                let value = row["value_utf8"].as_str().unwrap();
                let value = serde_json::from_str(value).unwrap();
                (row["key"].as_str().unwrap().to_owned(), value)
            });
            state.collect()
        })
    }

    fn journal(&self, id: String) -> Soon<'_, Vec<String>> {
        Box::pin(async move {
            // The first entry is the input.
            let sql = format!(
                "SELECT entry_type, name FROM sys_journal \
                 WHERE id = '{id}' AND index > 0 ORDER BY index"
            );
            let rows = self.rows(&sql).await;
            let entries = rows.iter().map(|row| {
                let text = |column: &str| row[column].as_str().unwrap_or_default();
                shown(text("entry_type"), text("name"))
            });
            entries.collect()
        })
    }

    fn subscribe(&self, topic: String, handler: String) -> Soon<'_, ()> {
        Box::pin(async move {
            // Records of a topic come in order if it has one partition.
            // One that is there is subscribed to once more.
            let _ = self.broker().await.create_topic(&topic, 1).await;
            let (source, sink) = (
                format!("kafka://broker/{topic}"),
                format!("service://{handler}"),
            );
            let earliest = [("auto.offset.reset", "earliest")];
            let subscribed = self.server.subscribe(&source, &sink, &earliest);
            subscribed.await.unwrap();
        })
    }

    fn produce(&self, topic: String, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Soon<'_, ()> {
        Box::pin(async move {
            let broker = self.broker().await;
            let produced = broker.produce(&topic, None, key.as_deref(), value.as_deref());
            produced.await.unwrap();
        })
    }
}
