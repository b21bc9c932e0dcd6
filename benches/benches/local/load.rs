//! Clients: each has a connection of its own, and asks again as soon as it has its answer.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{Target, servers::Server, three::ANSWER};

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) count: usize,
    pub(crate) seconds: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Seconds of processor time that the server and the handlers took.
    pub(crate) processor: f64,
}

pub(crate) async fn measure(
    server: &Server,
    target: Target,
    clients: usize,
    warm: Duration,
    time: Duration,
) -> Measured {
    let begin = Instant::now() + warm;
    let end = begin + time;
    let mut all = JoinSet::new();
    for client in 0..clients {
        let path = target.path(client);
        all.spawn(ask(server.ingress(), path, begin, end));
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = server.processor();
    tokio::time::sleep_until(end.into()).await;
    let processor = server.processor() - before;
    let mut latencies: Vec<_> = all.join_all().await.into_iter().flatten().collect();
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        let at = latencies.len() * percent / 100;
        let latency = latencies.get(at.min(latencies.len().saturating_sub(1)));
        latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    };
    Measured {
        count: latencies.len(),
        seconds: time.as_secs_f64(),
        p50: percentile(50),
        p99: percentile(99),
        processor,
    }
}

/// Asks until the time is up; how long each answer took that came in time.
async fn ask(port: u16, path: String, begin: Instant, end: Instant) -> Vec<Duration> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let request = Request::post(&path)
            .header("host", format!("127.0.0.1:{port}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let asked = Instant::now();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let answered = Instant::now();
        assert_eq!((status, &body[..]), (StatusCode::OK, ANSWER), "{path}");
        if asked >= begin && answered <= end {
            latencies.push(answered - asked);
        }
    }
    latencies
}
