//! What the echo answers: bytes that are due once so many messages have come.
//!
//! The driver makes a script of each attempt and lays it down at the echo (`PUT`, at the path of the attempt),
//! so that the echo knows nothing of handlers.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::conversation::{Attempt, Due};

/// The count of messages that stands for the end of the request.
pub const AT_END: u32 = u32::MAX;

/// The answers of one attempt, in order.
///
/// # Examples
///
/// ```
/// use durably_benches::{conversation::{self, Framing}, script::Script};
///
/// let hello = conversation::hello(7, Framing::Single);
/// let script = Script::of(&hello.attempts[0], 7);
/// assert_eq!(script.answers.len(), 1);
/// assert_eq!(script.answers[0].0, 2); // Start and Input
/// assert_eq!(Script::decode(script.encode()), Some(script));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// After how many messages which bytes are due.
    pub answers: Vec<(u32, Bytes)>,
}

impl Script {
    /// The script of an attempt.
    #[must_use]
    pub fn of(attempt: &Attempt, version: u32) -> Self {
        let mut messages = 0;
        let mut answers = Vec::new();
        for step in &attempt.steps {
            messages += step.messages;
            let frames: Vec<Bytes> = step
                .due
                .iter()
                .map(|due: &Due| due.frame(version))
                .collect();
            if !frames.is_empty() {
                let at = if step.close { AT_END } else { messages };
                answers.push((at, frames.concat().into()));
            }
        }
        Self { answers }
    }

    /// The script as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        for (messages, answer) in &self.answers {
            bytes.put_u32(*messages);
            bytes.put_u64(answer.len() as u64);
            bytes.extend_from_slice(answer);
        }
        bytes.freeze()
    }

    /// The script in these bytes, if they hold one.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let mut answers = Vec::new();
        while bytes.has_remaining() {
            let messages = bytes.try_get_u32().ok()?;
            let length = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
            if length > bytes.len() {
                return None;
            }
            answers.push((messages, bytes.split_to(length)));
        }
        Some(Self { answers })
    }
}
