//! The operations of a handler, as a script of the `journal` target names them.

use std::time::Duration;

use bytes::Bytes;

use super::plan::Plan;
use crate::{
    error::TerminalError,
    journal::{
        AttachTarget, AttemptError, CallFields, Command, Completion, Issued, Journal, SignalId,
    },
    protocol::{MessageType, encode::Encoder},
};

/// Every payload begins with it, so that a report can be searched for one.
pub(super) const MARK: &str = "PAYLOAD";

const TEXTS: [&str; 6] = [
    "",
    "k",
    "l",
    "é",
    "go",
    "a text that is longer than the others are",
];
const NAMES: [&str; 4] = ["", "", "n", "name"];
/// Lengths of what follows the mark; the last two are on both sides of being sent as a segment.
const FILLERS: [usize; 5] = [0, 1, 100, 4000, 5000];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Output,
    SetState,
    ClearState,
    ClearAllState,
    GetPromise,
    PeekPromise,
    CompletePromise,
    Sleep,
    Call,
    OneWayCall,
    SendSignal,
    Run,
    Attach,
    GetOutput,
    CompleteAwakeable,
    GetState,
    GetStateKeys,
}

impl Kind {
    pub(super) const ALL: [Self; 17] = [
        Self::Output,
        Self::SetState,
        Self::ClearState,
        Self::ClearAllState,
        Self::GetPromise,
        Self::PeekPromise,
        Self::CompletePromise,
        Self::Sleep,
        Self::Call,
        Self::OneWayCall,
        Self::SendSignal,
        Self::Run,
        Self::Attach,
        Self::GetOutput,
        Self::CompleteAwakeable,
        Self::GetState,
        Self::GetStateKeys,
    ];
}

/// One operation with all that it may carry.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    text: String,
    other: &'static str,
    name: String,
    payload: Bytes,
    headers: Vec<(String, String)>,
    error: TerminalError,
    flags: u8,
    time: u64,
}

impl Operation {
    /// `kind, text, other text, payload, name, flags`
    pub(super) fn read(plan: &mut Plan<'_>) -> Self {
        let kind = *plan.choose(&Kind::ALL);
        let text = (*plan.choose(&TEXTS)).to_owned();
        let other = *plan.choose(&TEXTS);
        let payload = match plan.byte() {
            0 => Bytes::new(),
            n => payload(FILLERS[usize::from(n) % FILLERS.len()], n),
        };
        let name = (*plan.choose(&NAMES)).to_owned();
        let flags = plan.byte();
        let mut error = TerminalError::new(other).with_code(u16::from(flags));
        let mut headers = Vec::new();
        if flags & 0x20 != 0 {
            headers.push((text.clone(), MARK.to_owned()));
            headers.push(("x".to_owned(), String::new()));
        }
        if flags & 0x40 != 0 {
            error = error.with_metadata(text.clone(), MARK);
        }
        Self {
            kind,
            text,
            other,
            name,
            payload,
            headers,
            error,
            flags,
            time: u64::from(flags),
        }
    }

    /// The same operation in a later attempt: the time has gone on, and what has no stable
    /// serialization is serialized otherwise.
    pub(super) fn later(&self) -> Self {
        let mut later = self.clone();
        later.time += 1_000;
        if !self.is_stable() {
            later.payload = payload(7, 7);
        }
        later
    }

    /// Other operations, which no replay may take for this one.
    pub(super) fn others(&self) -> Vec<Self> {
        let mut renamed = self.clone();
        match self.kind {
            Kind::GetState => renamed.text.push('x'),
            Kind::GetStateKeys => renamed.kind = Kind::GetState,
            _ => renamed.name.push('x'),
        }
        let mut others = vec![renamed];
        let is_call = matches!(self.kind, Kind::Call | Kind::OneWayCall);
        let completes = matches!(
            self.kind,
            Kind::CompletePromise | Kind::SendSignal | Kind::CompleteAwakeable
        );
        let carries = is_call || self.kind == Kind::SetState;
        if (carries && self.is_stable()) || (completes && self.flags & 3 == 1) {
            let mut other = self.clone();
            other.payload = payload(3, b'!');
            others.push(other);
        }
        if is_call && !self.headers.is_empty() {
            let mut other = self.clone();
            other.headers[0].1.push('!');
            others.push(other);
        }
        others
    }

    pub(super) fn issue(&self, journal: &mut Journal) -> Result<Issued, AttemptError> {
        match self.command() {
            Some(command) => journal.issue(command, &self.name),
            None if self.kind == Kind::GetState => journal.issue_get_state(&self.text),
            None => journal.issue_get_state_keys(),
        }
    }

    /// The operation as a journal has it, with completion ids from `first` on.
    pub(super) fn record(&self, first: u32) -> (MessageType, Bytes) {
        let mut encoder = Encoder::default();
        let Some(command) = self.command() else {
            return self.record_read(first, encoder);
        };
        command.encode(&self.name, first, &mut encoder);
        (command.ty(), encoder.to_bytes())
    }

    fn record_read(&self, first: u32, mut encoder: Encoder) -> (MessageType, Bytes) {
        let (is_eager, is_set) = (self.flags & 1 != 0, self.flags & 2 != 0);
        if self.kind == Kind::GetState {
            encoder.bytes(1, &self.text);
        }
        match (is_eager, is_set) {
            (false, _) => encoder.uint(11, u64::from(first)),
            (true, true) => encoder.value(14, &self.payload),
            (true, false) if self.kind == Kind::GetState => encoder.void(13),
            (true, false) => encoder.nested(14, |keys| keys.bytes_always(1, &self.text)),
        }
        let ty = match (self.kind, is_eager) {
            (Kind::GetState, true) => MessageType::GET_EAGER_STATE,
            (Kind::GetState, false) => MessageType::GET_LAZY_STATE,
            (_, true) => MessageType::GET_EAGER_STATE_KEYS,
            (_, false) => MessageType::GET_LAZY_STATE_KEYS,
        };
        (ty, encoder.to_bytes())
    }

    pub(super) fn result(&self) -> Result<Bytes, TerminalError> {
        match self.flags & 1 {
            0 => Ok(self.payload.clone()),
            _ => Err(self.error.clone()),
        }
    }

    pub(super) fn attempt_error(&self) -> AttemptError {
        let mut error = AttemptError::internal(self.other);
        error.delay = (self.flags & 2 != 0).then(|| Duration::from_millis(self.time));
        error
    }

    /// Whether replay compares the payload: that of a state write or a call is stable or not by the
    /// second flag, that of a completion by its kind.
    fn is_stable(&self) -> bool {
        self.flags & 3 != 2
    }

    fn command(&self) -> Option<Command<'_>> {
        let stable = self.is_stable();
        let completion = match self.flags & 3 {
            0 => Completion::Void,
            3 => Completion::Failure(&self.error),
            _ => Completion::Value {
                payload: &self.payload,
                stable,
            },
        };
        let call = CallFields {
            service: "S",
            handler: self.other,
            key: &self.text,
            parameter: &self.payload,
            headers: &self.headers,
            idempotency_key: self.optional(0x04),
            scope: self.optional(0x08),
            limit_key: self.optional(0x10),
            stable,
        };
        let target = match self.flags & 3 {
            0 => AttachTarget::Invocation(&self.text),
            1 => AttachTarget::Workflow {
                name: "W",
                key: &self.text,
                scope: self.optional(0x08),
            },
            _ => AttachTarget::Idempotent {
                service: "S",
                key: self.optional(0x04),
                handler: "h",
                idempotency_key: &self.text,
                scope: self.optional(0x08),
            },
        };
        Some(match self.kind {
            Kind::Output => Command::Output(completion),
            Kind::SetState => Command::SetState {
                key: &self.text,
                value: &self.payload,
                stable,
            },
            Kind::ClearState => Command::ClearState { key: &self.text },
            Kind::ClearAllState => Command::ClearAllState,
            Kind::GetPromise => Command::GetPromise { key: &self.text },
            Kind::PeekPromise => Command::PeekPromise { key: &self.text },
            Kind::CompletePromise => Command::CompletePromise {
                key: &self.text,
                completion,
            },
            Kind::Sleep => Command::Sleep {
                wake_up_time: self.time,
            },
            Kind::Call => Command::Call(call),
            Kind::OneWayCall => Command::OneWayCall {
                call,
                invoke_time: self.time,
            },
            Kind::SendSignal => Command::SendSignal {
                target: "inv_1",
                signal: match self.flags & 4 {
                    0 => SignalId::Name(&self.text),
                    _ => SignalId::Index(u32::from(self.flags)),
                },
                completion,
            },
            Kind::Run => Command::Run,
            Kind::Attach => Command::Attach(target),
            Kind::GetOutput => Command::GetOutput(target),
            Kind::CompleteAwakeable => Command::CompleteAwakeable {
                id: &self.text,
                completion,
            },
            Kind::GetState | Kind::GetStateKeys => return None,
        })
    }

    fn optional(&self, flag: u8) -> Option<&str> {
        (self.flags & flag != 0).then_some(self.other)
    }
}

fn payload(filler: usize, byte: u8) -> Bytes {
    let mut payload = MARK.as_bytes().to_vec();
    payload.resize(payload.len() + filler, byte);
    payload.into()
}
