//! Why the windows are as they are: thousands of small frames that nobody has read yet.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use tokio::sync::watch;

use super::*;

/// Many streams of one connection send small frames that nobody reads for so long, unless it ends before.
/// Gives the number of bytes that arrived on each stream, if the connection lived.
async fn small_frames_storm(settings: Settings, unread: Duration) -> hyper::Result<Vec<usize>> {
    const STREAMS: usize = 12;
    const FRAMES: usize = 2_700;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gate, gated) = watch::channel(false);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut gated = gated.clone();
        async move {
            gated.wait_for(|open| *open).await.unwrap();
            let bytes = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(
                bytes.len().to_string(),
            ))))
        }
    });
    let drain = Drain::default();
    let triggers = shutdown::Triggers {
        signals: false,
        shutdown: None,
    };
    let server = tokio::spawn(serve(listener, service, drain, settings, triggers));

    let (client, connection) = h2(address).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let sent = Arc::clone(&sent);
        let frames = futures::stream::iter(0..FRAMES).map(move |_| {
            sent.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"twelve bytes")))
        });
        let mut client = client.clone();
        streams.push(tokio::spawn(async move {
            let body = StreamBody::new(Box::pin(frames));
            let response = client.send_request(invoke("/any", body)).await?;
            let length = response.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8(length.to_vec()).unwrap().parse().unwrap())
        }));
    }
    while sent.load(Ordering::Relaxed) < STREAMS * FRAMES && !connection.is_finished() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Time for the last of it to arrive unread.
    let begin = Instant::now();
    while begin.elapsed() < unread && !connection.is_finished() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gate.send(true).unwrap();
    let mut lengths = Vec::new();
    let mut failed = None;
    for stream in streams {
        match stream.await.unwrap() {
            Ok(length) => lengths.push(length),
            Err(error) => failed = Some(error),
        }
    }
    server.abort();
    connection.abort();
    assert!(failed.is_some() || lengths == [FRAMES * 12; STREAMS]);
    failed.map_or(Ok(lengths), Err)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_unread_frames_do_not_close_the_connection() {
    let unread = Duration::from_millis(200);
    small_frames_storm(Settings::default(), unread)
        .await
        .unwrap();
    // The test is worth something: hyper's own windows fail it.
    let small = Settings {
        connection_window: 1024 * 1024,
        stream_window: 1024 * 1024,
        ..Settings::default()
    };
    let unread = Duration::from_secs(30);
    assert!(small_frames_storm(small, unread).await.is_err());
}
