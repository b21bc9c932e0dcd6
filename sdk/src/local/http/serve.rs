//! Connections of the embedded runtime's ports: bounded in number and in what their heads may hold, gone soon when the
//! runtime stops.

use std::{convert::Infallible, future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::error::BoxError;

/// How many connections are open at once; further ones wait.
const CONNECTIONS: usize = 4096;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(30);

/// The largest head.
const HEAD_SIZE: usize = 64 * 1024;

/// How long open requests are waited for when the runtime stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves connections until `stop` says so.
pub(super) async fn serve<A, F, B>(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_SIZE as u32)
        .keep_alive_interval(HEAD);
    let mut tasks = JoinSet::new();
    loop {
        let stream = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            stream = crate::server::accept(&listener), if tasks.len() < CONNECTIONS => stream,
        };
        // Answers are short: without this they would wait for acknowledgements.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let (http, answer, mut stop) = (http.clone(), answer.clone(), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection ended with an error");
            }
        });
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tasks.shutdown().await;
    }
}
