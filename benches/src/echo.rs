//! The transport alone: hyper with the settings of our server, splitting each request into messages and
//! answering with the bytes that its script says are due. What an SDK on this stack can approach, and
//! not beat.
//!
//! Serves on `127.0.0.1:PORT` (default 9080) with `THREADS` threads (default 1) until SIGTERM.

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use durably_benches::script::{AT_END, Script};
use http::{Method, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};

/// Bytes of a message's header; its last four are the length of the rest.
const HEADER_LEN: usize = 8;

type Scripts = Mutex<HashMap<String, Arc<Script>>>;

fn main() -> anyhow::Result<()> {
    let number = |variable, default| env::var(variable).map_or(Ok(default), |value| value.parse());
    let port = number("PORT", 9080)?;
    let mut runtime = match number("THREADS", 1)? {
        1 => runtime::Builder::new_current_thread(),
        threads => {
            let mut runtime = runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads.max(1).into());
            runtime
        }
    };
    runtime.enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminated.recv() => Ok(()),
            failed = serve(listener) => failed,
        }
    })
}

async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let scripts = Arc::new(Scripts::default());
    // As `durably::HttpServer` has them.
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024 * 1024)
        .max_concurrent_streams(8192)
        .max_header_list_size(256 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let scripts = Arc::clone(&scripts);
        let service = service_fn(move |request| answer(Arc::clone(&scripts), request));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // It fails when the driver goes away, which is how each one ends.
            let _ = connection.await;
        });
    }
}

async fn answer(
    scripts: Arc<Scripts>,
    request: Request<Incoming>,
) -> Result<Response<Echo>, hyper::Error> {
    let (head, body) = request.into_parts();
    let lock = || scripts.lock().unwrap_or_else(PoisonError::into_inner);
    if head.method == Method::PUT {
        let script = Script::decode(body.collect().await?.to_bytes());
        let mut response = Response::new(Echo::nothing());
        match script {
            Some(script) => {
                lock().insert(head.uri.path().to_owned(), Arc::new(script));
            }
            None => *response.status_mut() = http::StatusCode::BAD_REQUEST,
        }
        return Ok(response);
    }
    let Some(script) = lock().get(head.uri.path()).cloned() else {
        let mut response = Response::new(Echo::nothing());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        return Ok(response);
    };
    let mut response = Response::new(Echo {
        request: Some(body),
        script,
        splitter: Splitter::default(),
        messages: 0,
        answered: 0,
    });
    if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, content_type.clone());
    }
    Ok(response)
}

/// A response that reads its request and answers as its script says.
struct Echo {
    request: Option<Incoming>,
    script: Arc<Script>,
    splitter: Splitter,
    messages: u32,
    answered: usize,
}

impl Echo {
    fn nothing() -> Self {
        Self {
            request: None,
            script: Arc::default(),
            splitter: Splitter::default(),
            messages: AT_END,
            answered: 0,
        }
    }
}

impl Body for Echo {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some((messages, answer)) = this.script.answers.get(this.answered)
                && *messages <= this.messages
            {
                this.answered += 1;
                return Poll::Ready(Some(Ok(Frame::data(answer.clone()))));
            }
            let Some(request) = &mut this.request else {
                return Poll::Ready(None);
            };
            match Pin::new(request).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        this.messages += this.splitter.push(data);
                    }
                }
                // A request that broke off ends as well: nobody hears the rest.
                Poll::Ready(None | Some(Err(_))) => {
                    this.request = None;
                    this.messages = AT_END;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.request.is_none() && self.answered == self.script.answers.len()
    }
}

/// Finds where messages end.
#[derive(Default)]
struct Splitter {
    header: [u8; HEADER_LEN],
    /// How much of the header is there.
    gathered: usize,
    /// How much of the payload is missing.
    missing: usize,
}

impl Splitter {
    /// How many messages end in this chunk.
    fn push(&mut self, mut chunk: Bytes) -> u32 {
        let mut messages = 0;
        while chunk.has_remaining() {
            if self.gathered < HEADER_LEN {
                let part = chunk.len().min(HEADER_LEN - self.gathered);
                chunk.copy_to_slice(&mut self.header[self.gathered..self.gathered + part]);
                self.gathered += part;
                if self.gathered < HEADER_LEN {
                    break;
                }
                let [.., a, b, c, d] = self.header;
                self.missing = u32::from_be_bytes([a, b, c, d]) as usize;
            }
            let part = chunk.len().min(self.missing);
            chunk.advance(part);
            self.missing -= part;
            if self.missing == 0 {
                self.gathered = 0;
                messages += 1;
            }
        }
        messages
    }
}
