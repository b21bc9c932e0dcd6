//! For the tests of the endpoint and the server: a journal's bytes, and a service that echoes.

use std::sync::Arc;
#[cfg(feature = "http-server")]
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

#[cfg(feature = "http-server")]
use crate::context::{Context, FromAttempt as _};
use crate::service::{HandlerDefinition, HandlerKind, ServiceDefinition, ServiceKind};

/// The type of the service protocol's End message.
pub(crate) const END: u16 = 0x0003;

/// The type of the service protocol's Suspension message.
#[cfg(feature = "http-server")]
pub(crate) const SUSPENSION: u16 = 0x0001;

/// A service whose handler `echo` returns the bytes of its input.
pub(crate) fn echo(name: &str) -> ServiceDefinition {
    let echo = HandlerDefinition::new(
        HandlerKind::Service,
        "echo",
        Arc::new(|_, input| Box::pin(async move { Ok(input.body().clone()) })),
    );
    ServiceDefinition::new(ServiceKind::Service, name).handler(echo)
}

/// A service whose handler `wait` never ends.
#[cfg(feature = "http-server")]
pub(crate) fn stuck(name: &str) -> ServiceDefinition {
    let wait = HandlerDefinition::new(
        HandlerKind::Service,
        "wait",
        Arc::new(|_, _| Box::pin(std::future::pending())),
    );
    ServiceDefinition::new(ServiceKind::Service, name).handler(wait)
}

/// A service whose handler `sleep` sleeps durably for a day.
#[cfg(feature = "http-server")]
pub(crate) fn sleeper(name: &str) -> ServiceDefinition {
    let sleep = HandlerDefinition::new(
        HandlerKind::Service,
        "sleep",
        Arc::new(|attempt, _| {
            let context = Context::from_attempt(attempt);
            Box::pin(async move {
                context.sleep(Duration::from_secs(86_400)).await?;
                Ok(Bytes::new())
            })
        }),
    );
    ServiceDefinition::new(ServiceKind::Service, name).handler(sleep)
}

/// The journal of a new invocation: Start (known_entries 1, an id) and Input with `value`.
pub(crate) fn journal(value: &str) -> Bytes {
    let mut start = BytesMut::new();
    start.put_slice(&[0x0a, 24]);
    start.put_slice(&[7; 24]);
    start.put_slice(&[0x12, 3]);
    start.put_slice(b"inv");
    start.put_slice(&[0x18, 1]);
    let length = u8::try_from(value.len()).unwrap();
    assert!(length < 120, "lengths are one byte here");
    let mut input = BytesMut::new();
    input.put_slice(&[0x72, length + 2, 0x0a, length]);
    input.put_slice(value.as_bytes());

    let mut journal = BytesMut::new();
    for (ty, payload) in [(0x0000, start), (0x0400, input)] {
        journal.put_u64((ty << 48) | payload.len() as u64);
        journal.put_slice(&payload);
    }
    journal.freeze()
}

/// The type of the last message.
pub(crate) fn terminator(mut body: &[u8]) -> Option<u16> {
    let mut last = None;
    while let Some((header, rest)) = body.split_first_chunk::<8>() {
        let header = u64::from_be_bytes(*header);
        last = Some((header >> 48) as u16);
        body = &rest[(header & 0xffff_ffff) as usize..];
    }
    last
}
