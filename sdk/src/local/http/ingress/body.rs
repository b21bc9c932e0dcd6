//! Bodies of requests, within bounds: of one, and of all together.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::answer::Refusal;

/// What one body may have, as on the real server.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// What all bodies that are being read may have together.
const MAX_BODIES: usize = 1024 * 1024 * 1024;

/// How long a body may pause, and how long it may take in all: the longest at 28 KiB a second.
const MAX_PAUSE: Duration = Duration::from_secs(120);
const MAX_TIME: Duration = Duration::from_secs(1200);

/// Beyond so many bytes of all bodies together, who is slow gives way: after a first while at least so many bytes
/// must have come each second. Else some clients that send nearly all of a body could keep all others out.
const CROWDED: usize = MAX_BODIES / 2;
const FIRST_WHILE: Duration = Duration::from_secs(10);
const HASTE: u32 = 1024 * 1024;

/// How often it is looked whether it is crowded, while nothing comes.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a request says that its body is too long.
pub(super) fn is_too_long(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length > MAX_BODY)
}

/// How many bytes of bodies are held.
#[derive(Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Held {
    /// Until when a body may come that has begun then.
    fn limit(&self, began: Instant) -> Instant {
        if self.all.load(Ordering::Relaxed) <= CROWDED {
            return began + MAX_TIME;
        }
        // No body is as long as that.
        let bytes = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        began + FIRST_WHILE + Duration::from_secs(bytes.into()) / HASTE
    }

    fn add(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > MAX_BODIES {
            return Err(Refusal::new(429, "too many requests are being read"));
        }
        Ok(())
    }
}

impl Budget {
    /// Reads a body to its end.
    pub(super) async fn read<B>(&self, mut body: B) -> Result<(Bytes, Held), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Debug,
    {
        let mut held = Held {
            bytes: 0,
            all: Arc::clone(&self.0),
        };
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        let began = Instant::now();
        let mut last = began;
        loop {
            let limit = held.limit(began).min(last + MAX_PAUSE);
            let look = limit.min(Instant::now() + LOOK);
            let frame = tokio::time::timeout_at(look, body.frame()).await;
            let frame = match frame {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let message = format!("cannot read body: {error:?}");
                    return Err(Refusal::new(500, message));
                }
                // It may have become crowded meanwhile.
                Err(_) if Instant::now() < limit => continue,
                Err(_) => {
                    return Err(Refusal::new(
                        408,
                        "cannot read body: it is too slow in coming",
                    ));
                }
            };
            last = Instant::now();
            // Trailers are of no interest.
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if held.bytes.saturating_add(chunk.len()) > MAX_BODY {
                return Err(Refusal::new(413, "cannot read body: LengthLimitError"));
            }
            held.add(chunk.len())?;
            if held.bytes == chunk.len() {
                // A copy: the chunk is a part of what the connection reads into, many times as large perhaps, and
                // would keep that for as long as the invocation is in memory.
                first = Bytes::copy_from_slice(&chunk);
                continue;
            }
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
        let body = if whole.is_empty() {
            first
        } else {
            whole.freeze()
        };
        Ok((body, held))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// So many bytes at once, and then one each half second, without end.
    fn trickle(bytes: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames = stream::unfold((bytes, Duration::ZERO), |(bytes, pause)| async move {
            tokio::time::sleep(pause).await;
            let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; bytes])));
            Some((frame, (1, Duration::from_millis(500))))
        });
        StreamBody::new(Box::pin(frames))
    }

    /// After how many seconds a body was refused for being slow.
    async fn refused(
        budget: &Budget,
        body: impl Body<Data = Bytes, Error = Infallible> + Unpin,
    ) -> u64 {
        let began = Instant::now();
        let refusal = budget.read(body).await.unwrap_err();
        let slow = "cannot read body: it is too slow in coming";
        assert_eq!(refusal, Refusal::new(408, slow));
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_gives_way_when_it_is_crowded() {
        let budget = Budget::default();
        assert_eq!(refused(&budget, trickle(4 * MIB)).await, 1200);

        budget.0.fetch_add(CROWDED, Ordering::Relaxed);
        assert_eq!(refused(&budget, trickle(4 * MIB)).await, 14);
        assert_eq!(refused(&budget, trickle(MAX_BODY - MIB)).await, 41);
        // Nothing of them is held any more.
        assert_eq!(budget.0.load(Ordering::Relaxed), CROWDED);
        let whole = Full::new(Bytes::from(vec![7; MAX_BODY]));
        assert_eq!(budget.read(whole).await.unwrap().0.len(), MAX_BODY);
    }

    #[tokio::test(start_paused = true)]
    async fn who_pauses_hears_of_it_when_it_becomes_crowded() {
        let silence = || StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let budget = Budget::default();
        assert_eq!(refused(&budget, silence()).await, 120);

        let others = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            budget.0.fetch_add(CROWDED + 1, Ordering::Relaxed);
        };
        let (after, ()) = tokio::join!(refused(&budget, silence()), others);
        assert!((60..=61).contains(&after), "{after}");
    }

    #[tokio::test]
    async fn a_short_body_does_not_keep_what_it_was_read_into() {
        let buffer = Bytes::from(vec![7; 8192]);
        let body = Full::new(buffer.slice(..3));
        let (read, held) = Budget::default().read(body).await.unwrap();
        assert_eq!((&*read, held.bytes), (&[7; 3][..], 3));
        assert!(buffer.is_unique());
    }
}
