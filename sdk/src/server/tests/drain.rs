//! Connections of a server that drains: when their streams end, and when they go away.

use std::collections::VecDeque;

use super::*;
use crate::endpoint::body::{AttemptBody, Drive};

/// An attempt that is blocked, and suspends when its input is closed.
#[derive(Default)]
struct Blocked {
    output: VecDeque<Bytes>,
    ended: bool,
}

impl Drive for Blocked {
    fn is_ready(&self) -> bool {
        true
    }

    fn handle_input(&mut self, _: Bytes) {}

    fn handle_input_closed(&mut self) {
        self.output.push_back(Bytes::from_static(b"suspended"));
        self.ended = true;
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn take_output(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    fn is_ended(&self) -> bool {
        self.ended
    }
}

struct BlockedBody(Pin<Box<AttemptBody<Incoming, Blocked>>>);

impl Body for BlockedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .as_mut()
            .poll_output(cx)
            .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// A server of attempts that are blocked, and the task that serves them.
async fn serve_blocked(
    drain_deadline: Duration,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(async { drop(stopped.await) });
    let drain = Drain::default();
    let watch = drain.watch();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let watch = watch.clone();
        async move {
            let request = request.into_body();
            let body = AttemptBody::new(Blocked::default(), request, Some(watch));
            Ok::<_, Infallible>(Response::new(BlockedBody(Box::pin(body))))
        }
    });
    let triggers = shutdown::Triggers {
        signals: false,
        shutdown: Some(shutdown),
    };
    let settings = Settings {
        drain_deadline,
        ..Settings::default()
    };
    let serving = tokio::spawn(serve(listener, service, drain, settings, triggers));
    (address, stop, serving)
}

/// Else a refusal, or the end of its patience, would cut off what drains.
#[cfg(feature = "admin")]
#[tokio::test]
async fn a_server_that_drains_stops_registering() {
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", admin.local_addr().unwrap());
    let registration = crate::admin::Registration::at(url).advertise("http://127.0.0.1:1");
    let rig = Rig::start(|server| {
        server
            .drain_deadline(Duration::from_secs(60))
            .register(registration)
    })
    .await;
    // The registration has begun, and gets no answer.
    let (mut asked, _) = admin.accept().await.unwrap();
    let (mut client, _connection) = h2(rig.address).await;
    let (sender, body) = fed();
    feed(&sender, journal("1"));
    let response = client
        .send_request(invoke("/invoke/Stuck/wait", body))
        .await
        .unwrap();
    drop(rig.stop);
    let hangs_up = async {
        let mut bytes = [0; 1024];
        while asked.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    let hung_up = tokio::time::timeout(Duration::from_secs(30), hangs_up).await;
    assert!(hung_up.is_ok() && !rig.serving.is_finished());
    drop((response, sender));
    rig.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn blocked_attempts_suspend_when_the_server_drains() {
    let (address, stop, serving) = serve_blocked(Duration::from_secs(60)).await;
    let (mut client, connection) = h2(address).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let (sender, body) = fed();
        feed(&sender, "journal");
        let response = client.send_request(invoke("/any", body)).await.unwrap();
        open.push((sender, response.into_body()));
    }
    drop(stop);
    for (sender, mut body) in open {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "suspended");
        drop(sender);
        assert_ends(body).await;
    }
    serving.await.unwrap();
    connection.await.unwrap().unwrap();
}

/// The runtime would drop the connection with what is open on it if it could open no more streams.
#[tokio::test]
async fn a_connection_serves_on_until_no_stream_is_open() {
    let (address, stop, serving) = serve_blocked(Duration::from_secs(60)).await;
    let (mut client, connection) = h2(address).await;
    let attempt = async |client: &mut SendRequest<Fed>| {
        let (sender, body) = fed();
        feed(&sender, "journal");
        let response = client.send_request(invoke("/any", body)).await.unwrap();
        (sender, response.into_body())
    };
    let (first, mut first_body) = attempt(&mut client).await;
    drop(stop);
    let frame = first_body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "suspended");
    // The first stream is still open.
    let (second, mut second_body) = attempt(&mut client).await;
    let frame = second_body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "suspended");
    drop(first);
    assert_ends(first_body).await;
    drop(second);
    assert_ends(second_body).await;
    // Now there is none.
    serving.await.unwrap();
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_is_never_quiet_goes_away_all_the_same() {
    // Half of this is over when the connection goes away. On a busy machine the other half may be too
    // little for the first stream: then it is cut off, and another one is left more time.
    for deadline in [6, 60] {
        let (address, stop, serving) = serve_blocked(Duration::from_secs(deadline)).await;
        let (mut client, connection) = h2(address).await;
        let (sender, body) = fed();
        feed(&sender, "journal");
        let response = client.send_request(invoke("/any", body)).await.unwrap();
        drop(stop);
        // No stream can be opened any more, while the first is open.
        let refused = async {
            loop {
                let (other, body) = fed();
                feed(&other, "journal");
                if client.send_request(invoke("/any", body)).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let limit = Duration::from_secs(120);
        tokio::time::timeout(limit, refused).await.unwrap();
        drop(sender);
        match response.into_body().collect().await {
            Err(_) if deadline < 60 => continue,
            body => assert_eq!(body.unwrap().to_bytes(), "suspended"),
        }
        serving.await.unwrap();
        connection.await.unwrap().unwrap();
        break;
    }
}
