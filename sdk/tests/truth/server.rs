//! The scenarios' backend on the real server, which all scenarios share.

use std::collections::BTreeMap;
use std::time::Duration;

use durably::test_server::{KafkaBroker, RestateServer, Served, TestServerError};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::services::services;
use crate::world::{Ask, Backend, Handle, Operation, Refusal, Soon};

/// A server that has all services.
pub(crate) struct Server {
    server: RestateServer,
    _served: Served,
    client: reqwest::Client,
    broker: OnceCell<KafkaBroker>,
}

/// The ingress says so of an invocation that has not ended.
const NOT_READY: u16 = 470;

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
        // Connections would belong to the scenario that opened them.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        Self {
            server,
            _served: served,
            client: client.unwrap(),
            broker: OnceCell::const_new(),
        }
    }

    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    /// One exchange with the ingress.
    async fn exchange(&self, method: &str, path: &str, ask: Ask) -> Result<Vec<u8>, Refusal> {
        let url = format!("{}/{path}", self.server.ingress_url());
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

fn of_admin(error: TestServerError) -> Refusal {
    match error {
        TestServerError::Refused {
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

impl Backend for &'static Server {
    fn call(&self, ask: Ask) -> Soon<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(async move {
            let path = path("call", &ask);
            self.exchange("POST", &path, ask).await
        })
    }

    fn send(&self, ask: Ask, delay: Duration) -> Soon<'_, Result<String, Refusal>> {
        Box::pin(async move {
            let mut path = path("send", &ask);
            if !delay.is_zero() {
                path += &format!("?delay={}ms", delay.as_millis());
            }
            let answer = self.exchange("POST", &path, ask).await?;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            Ok(answer["invocationId"].as_str().unwrap().to_owned())
        })
    }

    fn attach(&self, to: Handle) -> Soon<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(async move { self.get(&handle_path("attach", &to)).await })
    }

    fn output(&self, of: Handle) -> Soon<'_, Result<Option<Vec<u8>>, Refusal>> {
        Box::pin(async move {
            match self.get(&handle_path("output", &of)).await {
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
            self.exchange("POST", &path, ask).await.map(|_| ())
        })
    }

    fn operate(&self, what: Operation, id: String) -> Soon<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let result = match what {
                Operation::Cancel => self.server.cancel(&id).await,
                Operation::Kill => self.server.kill(&id).await,
                Operation::Pause => self.server.pause(&id).await,
                Operation::Resume => self.server.resume(&id).await,
                Operation::Purge => self.server.purge(&id).await,
            };
            result.map_err(of_admin)
        })
    }

    fn status(&self, id: String) -> Soon<'_, Option<&'static str>> {
        Box::pin(async move {
            let sql =
                format!("SELECT status, completion_result FROM sys_invocation WHERE id = '{id}'");
            let rows = self.rows(&sql).await;
            let row = rows.first()?;
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
            let url = format!("{}/services/{service}/state", self.server.admin_url());
            let body = serde_json::json!({ "object_key": key, "new_state": state });
            let answer = self.client.post(url).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
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
                let kind = row["entry_type"].as_str().unwrap();
                match kind.split_once(": ").unwrap() {
                    ("Command", "Run") => format!("Run {}", row["name"].as_str().unwrap()),
                    ("Command", kind) => kind.to_owned(),
                    (_, kind) => format!("← {kind}"),
                }
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

    fn pass(&self, time: Duration) -> Soon<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
