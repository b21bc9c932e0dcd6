//! A whole attempt: any bytes of a request, cut anywhere, against handlers of several kinds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use bytes::{BufMut as _, Bytes};
use prost::Message as _;

use super::{
    handlers::{EPHEMERAL, FOREIGN, HANDLERS, function},
    output::{Output, Written},
    plan::Plan,
};
use crate::{
    executor::{Attempt, AttemptRequest, Clock},
    protocol::{
        MessageType, ProtocolVersion,
        frame::{FrameDecoder, Limits},
        message::{Failure, Notification, NotificationId, NotificationResult, Start, Value},
    },
};

/// The messages that a framed stream is made of, by number.
pub(super) const TYPES: [MessageType; 32] = [
    MessageType::START,
    MessageType::INPUT,
    MessageType::SIGNAL,
    MessageType::CALL_COMPLETION,
    MessageType::RUN_ACK,
    MessageType::COMMAND_ACK,
    MessageType::STATE_EPHEMERAL,
    MessageType::OUTPUT,
    MessageType::GET_LAZY_STATE,
    MessageType::SET_STATE,
    MessageType::CLEAR_STATE,
    MessageType::CLEAR_ALL_STATE,
    MessageType::GET_LAZY_STATE_KEYS,
    MessageType::GET_EAGER_STATE,
    MessageType::GET_EAGER_STATE_KEYS,
    MessageType::GET_PROMISE,
    MessageType::PEEK_PROMISE,
    MessageType::COMPLETE_PROMISE,
    MessageType::SLEEP,
    MessageType::CALL,
    MessageType::ONE_WAY_CALL,
    MessageType::SEND_SIGNAL,
    MessageType::RUN,
    MessageType::ATTACH_INVOCATION,
    MessageType::GET_INVOCATION_OUTPUT,
    MessageType::COMPLETE_AWAKEABLE,
    MessageType::RUN_COMPLETION,
    MessageType::CALL_INVOCATION_ID,
    MessageType::END,
    MessageType::PROPOSE_RUN_COMPLETION,
    MessageType(0x7fff),
    MessageType(0xffff),
];

/// In the mode: the stream is made of messages (number, length, payload) instead of bytes.
pub(super) const FRAMED: u8 = 1;

/// In the mode: each message is a chunk, as the runtime sends them, whatever the cuts are. So the
/// handler has done what it could before the next one comes.
pub(super) const ONE_BY_ONE: u8 = 2;

/// `version, handler, mode, cuts (length first), stream…`
///
/// - What comes out are whole frames, each such as an SDK may send, in whatever pieces it is taken.
/// - One of End, Error and Suspension ends it, once; whatever comes later, nothing is behind it.
/// - When the input is closed the attempt ends, unless its handler waits for something foreign.
/// - Neither the handler nor the library panics.
/// - Replayed with what it has written and got, an attempt writes no other command and ends the same.
/// - Cut otherwise, the same bytes lead to the same commands and the same end, unless one of the two
///   fails (a message may come too early for one of them).
///
/// # Panics
///
/// If one of these does not hold.
pub fn attempt(data: &[u8]) {
    let script = Script::read(data);
    let whole = script.play(&[Bytes::copy_from_slice(&script.stream)]);
    let cut = script.play(&script.chunks);
    if script.mode & ONE_BY_ONE != 0 && !has_failed(&cut) {
        script.replay(&cut);
    }
    if !has_failed(&whole) && !has_failed(&cut) {
        assert_eq!(whole.commands(), cut.commands());
        assert_eq!(whole.end(), cut.end());
    }
}

fn has_failed(output: &Output) -> bool {
    let end = output.end();
    end.is_none_or(|end| end.ty == MessageType::ERROR)
}

/// What ends the script's attempt; nothing, if it waits for something foreign.
#[cfg(all(test, feature = "identity"))]
pub(super) fn end(data: &[u8]) -> String {
    let script = Script::read(data);
    let output = script.play(&script.chunks);
    let Some(end) = output.end() else {
        return String::new();
    };
    match end.ty {
        MessageType::ERROR => format!("Error {}", end.text(2)),
        ty => ty.to_string(),
    }
}

struct Script {
    version: ProtocolVersion,
    handler: usize,
    mode: u8,
    stream: Vec<u8>,
    chunks: Vec<Bytes>,
}

impl Script {
    fn read(data: &[u8]) -> Self {
        let mut plan = Plan::new(data);
        let version = plan.version();
        let handler = plan.below(HANDLERS.len());
        let mode = plan.byte();
        let cuts = plan.cuts();
        let stream = match mode & FRAMED {
            0 => plan.rest().to_vec(),
            _ => framed(&mut plan),
        };
        let chunks = match mode & ONE_BY_ONE {
            0 => cuts.chunks(&stream),
            _ => messages(&stream),
        };
        Self {
            version,
            handler,
            mode,
            stream,
            chunks,
        }
    }
}

/// The message in a chunk that is one.
fn message(chunk: &Bytes) -> Option<(MessageType, Bytes)> {
    let mut decoder = FrameDecoder::new(Limits::default());
    decoder.push(chunk.clone());
    let frame = decoder.next_frame().ok()??;
    Some((frame.ty, frame.payload))
}

/// A chunk of each message; one of what is left.
fn messages(mut stream: &[u8]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while !stream.is_empty() {
        let length = stream.first_chunk::<8>().map_or(usize::MAX, |head| {
            let length = u64::from_be_bytes(*head) & 0xffff_ffff;
            length as usize + head.len()
        });
        let (message, rest) = stream.split_at(length.min(stream.len()));
        chunks.push(Bytes::copy_from_slice(message));
        stream = rest;
    }
    chunks
}

fn framed(plan: &mut Plan<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !plan.is_empty() {
        let ty = *plan.choose(&TYPES);
        let payload = plan.bytes();
        put(&mut stream, ty, payload);
    }
    stream
}

#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Script {
    /// Plays the chunks, polls after each, and closes the input.
    fn play(&self, chunks: &[Bytes]) -> Output {
        let request = AttemptRequest {
            version: self.version,
            service: "Fuzz".into(),
            handler: "run".into(),
            attempt_headers: http::HeaderMap::new(),
            foreign: crate::executor::ForeignHook::default(),
            setting: crate::executor::Setting::default(),
            limits: Limits {
                incoming: 64 << 20,
                outgoing: 64 << 20,
                journal: 256 << 20,
            },
            clock: Clock::new(|| 1_000_000),
        };
        let mut attempt = Attempt::new(request, function(self.handler));
        let mut output = Output::default();
        for chunk in chunks {
            attempt.handle_input(chunk.clone());
            settle(&mut attempt, &mut output);
            output.mark();
        }
        attempt.handle_input_ended();
        settle(&mut attempt, &mut output);
        let may_wait = self.handler == FOREIGN;
        assert!(attempt.is_ended() || may_wait, "the attempt hangs");

        let frames = output.frames.len();
        for chunk in chunks {
            attempt.handle_input(chunk.clone());
        }
        attempt.handle_input_closed();
        settle(&mut attempt, &mut output);
        assert_eq!(output.frames.len(), frames, "written after the end");
        output
    }
}

/// A proposal of a run's result, and the notification that an ack makes of it.
#[derive(Clone, PartialEq, prost::Message)]
struct Proposal {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(bytes = "bytes", optional, tag = "14")]
    value: Option<Bytes>,
    #[prost(message, optional, tag = "15")]
    failure: Option<Failure>,
}

impl Proposal {
    fn accepted(self) -> Vec<u8> {
        let content = self.value.unwrap_or_default();
        let value = NotificationResult::Value(Value { content });
        let notification = Notification {
            id: Some(NotificationId::Completion(self.id)),
            result: Some(self.failure.map_or(value, |failure| {
                NotificationResult::Failure(Box::new(failure))
            })),
        };
        notification.encode_to_vec()
    }
}

impl Script {
    /// Plays what the runtime has stored of an attempt that took one message after the other.
    fn replay(&self, live: &Output) {
        if self.handler == EPHEMERAL {
            // Its run asks the runtime again, which has nothing to say.
            return;
        }
        let (mut known, mut stored) = (0, Vec::new());
        let mut start = None;
        let mut proposals = BTreeMap::new();
        for (chunk, written) in self.chunks.iter().zip(live.by_mark()) {
            let Some((ty, payload)) = message(chunk) else {
                // The input was closed within a message.
                break;
            };
            match ty {
                MessageType::START => start = Start::decode(payload).ok(),
                MessageType::RUN_ACK => {
                    let proposal: Option<Proposal> = Proposal::decode(payload)
                        .ok()
                        .and_then(|ack| proposals.remove(&ack.id));
                    let accepted = proposal.expect("an ack of a proposal").accepted();
                    put(&mut stored, MessageType::RUN_COMPLETION, &accepted);
                    known += 1;
                }
                _ if ty.is_command() || ty.is_notification() || ty == MessageType::SIGNAL => {
                    put(&mut stored, ty, &payload);
                    known += 1;
                }
                _ => {}
            }
            for frame in written {
                if frame.ty.is_command() {
                    put(&mut stored, frame.ty, &frame.payload);
                    known += 1;
                } else if let MessageType::PROPOSE_RUN_COMPLETION = frame.ty {
                    let proposal = Proposal::decode(frame.payload.clone()).expect("a proposal");
                    proposals.insert(proposal.id, proposal);
                }
            }
            if written.iter().any(Written::is_terminator) {
                break;
            }
        }
        let start = Start {
            known_entries: known,
            retry_count_since_last_stored_entry: 0,
            ..start.expect("a Start message")
        };
        let mut stream = Vec::new();
        put(&mut stream, MessageType::START, &start.encode_to_vec());
        stream.extend(stored);
        let replayed = self.play(&[stream.into()]);
        assert_eq!(replayed.commands(), Vec::<&Written>::new(), "of {live:?}");
        assert_eq!(replayed.end(), live.end(), "of {live:?}");
    }
}

fn put(stream: &mut Vec<u8>, ty: MessageType, payload: &[u8]) {
    stream.put_u16(ty.0);
    stream.put_u16(0);
    stream.put_u32(payload.len() as u32);
    stream.put_slice(payload);
}

/// Polls as long as the attempt wants to be polled.
fn settle(attempt: &mut Attempt, output: &mut Output) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..10_000 {
        let polled = attempt.poll(&mut Context::from_waker(&waker));
        assert_eq!(polled.is_ready(), attempt.is_ended());
        for frame in output.take(|| attempt.take_output()) {
            judge(frame);
        }
        assert_eq!(output.is_ended(), attempt.is_ended());
        if !woken.0.swap(false, Ordering::SeqCst) {
            return;
        }
    }
    panic!("the attempt keeps waking itself");
}

fn judge(frame: &Written) {
    if frame.ty == MessageType::ERROR {
        let message = frame.text(2);
        assert!(!message.contains("panicked"), "{message}");
        assert!([500, 570, 571].contains(&frame.number(1)), "{message}");
    }
}
