//! AWS Lambda on loopback: the API that a function asks for events, and the one that invokes it.
//!
//! In: the payload of an invocation, from a test or over HTTP from a server that believes to talk to
//! AWS. Out: what the function makes of it. The function is this test binary again, in a process of its
//! own, told by the environment to serve.

use std::collections::HashMap;
use std::env;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Says to the process that it is the function.
const FUNCTION: &str = "LAMBDA_FUNCTION";

/// What AWS Lambda takes and gives, in bytes of JSON.
const MAX_PAYLOAD: usize = 6_291_556;

/// The payload of a response, or that of an error.
type Outcome = Result<Value, Value>;

/// Whoever waits for an invocation to end.
type Invoker = oneshot::Sender<Result<Bytes, Bytes>>;

struct Invocation {
    payload: Bytes,
    outcome: Invoker,
}

#[derive(Clone)]
struct Api {
    waiting: mpsc::UnboundedSender<Invocation>,
    next: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>>,
    open: Arc<Mutex<HashMap<String, Invoker>>>,
    ids: Arc<AtomicU64>,
    invocations: Arc<AtomicUsize>,
}

/// The emulation, with a function in it.
pub(crate) struct Lambda {
    api: Api,
    pub(crate) address: SocketAddr,
    function: Child,
}

impl Drop for Lambda {
    fn drop(&mut self) {
        let _ = self.function.kill();
        let _ = self.function.wait();
    }
}

/// Runs a test against a function. `name` is the path of the test.
pub(crate) fn test(name: &str, test: impl AsyncFnOnce(Lambda)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        if env::var_os(FUNCTION).is_some() {
            durably::lambda::run(crate::endpoint()).await.unwrap();
            return;
        }
        let limit = Duration::from_secs(120);
        let test = async { test(Lambda::start(name).await).await };
        tokio::time::timeout(limit, test)
            .await
            .expect("it ends in time");
    });
}

impl Lambda {
    async fn start(test: &str) -> Self {
        let (waiting, next) = mpsc::unbounded_channel();
        let api = Api {
            waiting,
            next: Arc::new(tokio::sync::Mutex::new(next)),
            open: Arc::default(),
            ids: Arc::default(),
            invocations: Arc::default(),
        };
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_event))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2015-03-31/functions/{name}/invocations", post(invoke))
            .layer(DefaultBodyLimit::disable())
            .with_state(api.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let function = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(FUNCTION, "1")
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "handlers")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            api,
            address,
            function,
        }
    }

    /// Invokes the function with this event.
    pub(crate) async fn invoke(&self, event: &Value) -> Outcome {
        let outcome = self
            .api
            .invoke(serde_json::to_vec(event).unwrap().into())
            .await;
        let json = |bytes: Bytes| serde_json::from_slice(&bytes).unwrap();
        outcome.map(json).map_err(json)
    }

    /// How often the function has been invoked.
    pub(crate) fn invocations(&self) -> usize {
        self.api.invocations.load(Ordering::Relaxed)
    }

    /// The most memory that the function has had so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = format!("/proc/{}/status", self.function.id());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.unwrap().trim_end_matches("kB").trim();
        kib.parse::<usize>().unwrap() * 1024
    }
}

impl Api {
    async fn invoke(&self, payload: Bytes) -> Result<Bytes, Bytes> {
        self.invocations.fetch_add(1, Ordering::Relaxed);
        let (outcome, ended) = oneshot::channel();
        let invocation = Invocation { payload, outcome };
        self.waiting.send(invocation).ok().unwrap();
        ended.await.unwrap()
    }

    fn end(&self, id: &str, outcome: Result<Bytes, Bytes>) -> StatusCode {
        let Some(open) = self.open.lock().unwrap().remove(id) else {
            return StatusCode::BAD_REQUEST;
        };
        // Whoever has invoked the function may have gone.
        let _ = open.send(outcome);
        StatusCode::ACCEPTED
    }
}

async fn next_event(State(api): State<Api>) -> Response {
    let invocation = api.next.lock().await.recv().await.unwrap();
    let id = format!("event-{}", api.ids.fetch_add(1, Ordering::Relaxed));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let deadline = now.unwrap().as_millis() + 30_000;
    api.open
        .lock()
        .unwrap()
        .insert(id.clone(), invocation.outcome);
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", crate::ARN.to_owned()),
        (
            "lambda-runtime-trace-id",
            "Root=1-5bef4de7-ad49b0e8".to_owned(),
        ),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, invocation.payload).into_response()
}

async fn response(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    if body.len() > MAX_PAYLOAD {
        let error = r#"{"errorType":"Function.ResponseSizeTooLarge"}"#;
        api.end(&id, Err(Bytes::from_static(error.as_bytes())));
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    api.end(&id, Ok(body))
}

async fn error(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    api.end(&id, Err(body))
}

/// What AWS answers to whoever invokes a function.
async fn invoke(State(api): State<Api>, Path(name): Path<String>, payload: Bytes) -> Response {
    if name != crate::ARN {
        return StatusCode::NOT_FOUND.into_response();
    }
    if payload.len() > MAX_PAYLOAD {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    match api.invoke(payload).await {
        Ok(response) => response.into_response(),
        Err(error) => ([("x-amz-function-error", "Unhandled")], error).into_response(),
    }
}
