//! Bodies of requests, within bounds: of one, and of all together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::answer::Refusal;

/// What one body may have, as on the real server.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// What all bodies that are being read may have together.
const MAX_BODIES: usize = 1024 * 1024 * 1024;

/// How long a body may pause, and how long it may take in all: the longest at 28 KiB a second.
const MAX_PAUSE: Duration = Duration::from_secs(120);
const MAX_TIME: Duration = Duration::from_secs(1200);

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
    pub(super) async fn read(&self, mut body: Incoming) -> Result<(Bytes, Held), Refusal> {
        let mut held = Held {
            bytes: 0,
            all: Arc::clone(&self.0),
        };
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        let end = Instant::now() + MAX_TIME;
        loop {
            let limit = end.min(Instant::now() + MAX_PAUSE);
            let frame = tokio::time::timeout_at(limit, body.frame()).await;
            let frame = match frame {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let message = format!("cannot read body: {error:?}");
                    return Err(Refusal::new(500, message));
                }
                Err(_) => {
                    return Err(Refusal::new(
                        408,
                        "cannot read body: it is too slow in coming",
                    ));
                }
            };
            // Trailers are of no interest.
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if held.bytes.saturating_add(chunk.len()) > MAX_BODY {
                return Err(Refusal::new(413, "cannot read body: LengthLimitError"));
            }
            held.add(chunk.len())?;
            if held.bytes == chunk.len() {
                first = chunk;
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
