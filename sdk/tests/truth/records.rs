//! The scenarios' backend for records on the embedded runtime: one for each scenario, as what it subscribes
//! to is known to it from its start on. So each subscription is a restart, too.

use std::collections::BTreeMap;
use std::sync::Mutex;

use durably::local::{KafkaSource, LocalRuntime, OffsetReset};
use durably::test_server::KafkaBroker;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::http::{Http, OverHttp};
use crate::local::{self, Look as _};
use crate::services::services;
use crate::suite_local::Looks;
use crate::world::Soon;

/// A runtime with the subscriptions so far.
pub(crate) struct Records {
    suspend: bool,
    /// How the runtime that goes on is asked.
    doors: Mutex<Option<&'static Doors>>,
    sources: Mutex<Vec<KafkaSource>>,
    runtime: AsyncMutex<Option<LocalRuntime>>,
    folder: TempDir,
}

/// The ingress and the admin API of one start. Each takes free ports anew: somebody else could have those of
/// the one before by now.
struct Doors {
    http: Http,
    looks: Looks,
}

/// The one of all scenarios.
async fn broker() -> &'static KafkaBroker {
    static BROKER: OnceCell<KafkaBroker> = OnceCell::const_new();
    let start = async || KafkaBroker::start().await.unwrap();
    BROKER.get_or_init(start).await
}

impl Records {
    pub(crate) async fn start(suspend: bool) -> Self {
        let records = Self {
            suspend,
            doors: Mutex::default(),
            sources: Mutex::default(),
            runtime: AsyncMutex::default(),
            folder: local::folder(),
        };
        records.restart().await;
        records
    }

    async fn restart(&self) {
        let mut runtime = self.runtime.lock().await;
        if let Some(runtime) = runtime.take() {
            runtime.shutdown().await.unwrap();
        }
        let any_port = ([127, 0, 0, 1], 0);
        let mut builder = LocalRuntime::builder(services())
            .path(self.folder.path())
            .ingress(any_port)
            .admin(any_port);
        if self.suspend {
            builder = builder.always_suspend();
        }
        let sources = self.sources.lock().unwrap().clone();
        builder = sources
            .into_iter()
            .fold(builder, |builder, source| builder.subscribe(source));
        let started = builder.start().await.unwrap();
        let admin_url = started.admin_url();
        // They are few, and lent out for as long as this lives.
        let doors: &'static Doors = Box::leak(Box::new(Doors {
            http: Http::new(started.ingress_url(), &admin_url),
            looks: Looks::at(&admin_url),
        }));
        *self.doors.lock().unwrap() = Some(doors);
        *runtime = Some(started);
    }

    fn doors(&self) -> &'static Doors {
        let doors = *self.doors.lock().unwrap();
        doors.unwrap()
    }
}

impl OverHttp for Records {
    fn http(&self) -> &Http {
        &self.doors().http
    }

    fn row(&self, id: &str) -> Soon<'_, Option<Value>> {
        self.doors().looks.row(id)
    }

    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>> {
        self.doors().looks.state(service, key)
    }

    fn journal(&self, id: String) -> Soon<'_, Vec<String>> {
        self.doors().looks.entries(id)
    }

    fn subscribe(&self, topic: String, handler: String) -> Soon<'_, ()> {
        Box::pin(async move {
            let broker = broker().await;
            // One that is there is subscribed to once more.
            let _ = broker.create_topic(&topic, 1).await;
            let source = KafkaSource::new(broker.bootstrap_servers(), topic, handler);
            let source = source.offset_reset(OffsetReset::Earliest);
            self.sources.lock().unwrap().push(source);
            self.restart().await;
        })
    }

    fn produce(&self, topic: String, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Soon<'_, ()> {
        Box::pin(async move {
            let (key, value) = (key.as_deref(), value.as_deref());
            let produced = broker().await.produce(&topic, None, key, value);
            produced.await.unwrap();
        })
    }
}
