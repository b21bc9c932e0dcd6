//! The journal: a state machine without I/O, clock or async.
//!
//! Messages go in through [`Journal::handle_message`] and [`Journal::handle_input_closed`], the
//! handler's commands through [`Journal::issue`] and [`Journal::propose_run`]; bytes come out of
//! [`Journal::take_output`].
//!
//! ```text
//!          Start           the last known entry     the last recorded command
//!  Start ────────► Entries ────────────► Replaying ─────────► Processing
//!    │                │                     │                     │
//!    └────────────────┴── Error ────────────┴── Error, End, Suspension ──► Closed
//! ```
//!
//! While *replaying*, an issued command is compared with the next recorded one; while
//! *processing*, it is written out. In both, it takes the same completion ids. One of `End`,
//! `Error` and `Suspension` closes the journal, once: what comes later is ignored, and a command is
//! refused.

mod await_set;
mod command;
mod error;
mod input;
mod mismatch;
mod notifications;
mod output;
mod reads;
mod state_view;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

pub(crate) use self::{
    await_set::AwaitSet,
    command::{AttachTarget, CallFields, Command, Completion, SignalId},
    error::{AttemptError, CommandRef},
    notifications::{CANCEL, FIRST_AWAKEABLE, Notifications, Order, Source},
    state_view::Known,
};
use self::{error::JOURNAL_MISMATCH, state_view::StateView};
use crate::protocol::{
    MessageType, ProtocolVersion,
    encode::{Encoder, FrameStart},
    message::NotificationResult,
    start::Start,
};

/// A recorded command; its payload is dropped once it was issued again.
#[derive(Debug)]
struct Recorded {
    ty: MessageType,
    payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Start,
    /// Known entries are awaited.
    Entries {
        remaining: u32,
    },
    /// All known entries are in. Replaying while `next < recorded.len()`, else processing.
    Running,
    Closed,
}

/// What an input message changed.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    Nothing,
    /// All known entries are in: the handler may start.
    Ready,
    /// Something arrived for this source.
    Arrived(Source),
    /// The answer to an ephemeral state read (v8).
    EphemeralRead {
        id: u32,
        value: Option<Bytes>,
    },
}

/// What issuing a command gave: the completion ids from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) first: u32,
    /// The index of the command.
    pub(crate) index: u32,
    /// The command stood in the recorded journal.
    pub(crate) replayed: bool,
}

/// The journal of one attempt.
#[derive(Debug)]
pub(crate) struct Journal {
    version: ProtocolVersion,
    /// The largest message that may be sent, in bytes.
    max_outgoing: usize,
    phase: Phase,
    /// Until it is taken: it is large, and attempts last.
    start: Option<Box<Start>>,
    known_entries: u32,
    /// How often the runtime has tried since it last stored an entry, and for how long.
    retries: u32,
    retrying_for: Duration,
    recorded: Vec<Recorded>,
    /// Commands issued so far; the index of the next one. Input is command 0.
    next: usize,
    pub(crate) notifications: Notifications,
    state: StateView,
    next_completion: u32,
    /// For each completion id, from 1 on: the index and the type of its command.
    completed_by: Vec<(u32, MessageType)>,
    /// The highest completion id that the recorded commands allow.
    recorded_completions: u32,
    next_signal: u32,
    /// Completions that came among the known entries. They get their places when all entries are
    /// in and the ids can be checked against the commands.
    early: Vec<(u32, NotificationResult, Order)>,
    /// v7: proposed results whose ack will take the place of the completion.
    proposed: Option<BTreeMap<u32, NotificationResult>>,
    /// The last command, for reports.
    last: Option<MessageType>,
    last_name: String,
    encoder: Encoder,
    scratch: Encoder,
    output: VecDeque<Bytes>,
}

impl Journal {
    /// `max_outgoing` is the largest message that may be sent, in bytes of its payload.
    pub(crate) fn new(version: ProtocolVersion, max_outgoing: usize) -> Self {
        Self {
            version,
            max_outgoing,
            phase: Phase::Start,
            start: None,
            known_entries: 0,
            retries: 0,
            retrying_for: Duration::ZERO,
            recorded: Vec::new(),
            next: 0,
            notifications: Notifications::default(),
            state: StateView::default(),
            next_completion: 1,
            completed_by: Vec::new(),
            recorded_completions: 0,
            next_signal: FIRST_AWAKEABLE,
            early: Vec::new(),
            proposed: None,
            last: None,
            last_name: String::new(),
            encoder: Encoder::default(),
            scratch: Encoder::default(),
            output: VecDeque::new(),
        }
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// What the Start message told of the invocation; once.
    pub(crate) fn take_start(&mut self) -> Option<Start> {
        self.start.take().map(|start| *start)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether recorded commands remain that the handler has not issued again.
    pub(crate) fn is_replaying(&self) -> bool {
        self.next < self.recorded.len()
    }

    /// How many commands are recorded, Input among them.
    pub(crate) fn recorded_commands(&self) -> usize {
        self.recorded.len()
    }

    /// Whether this attempt has written a command that the runtime did not know.
    pub(crate) fn has_written_commands(&self) -> bool {
        self.next > self.recorded.len()
    }

    /// The last command that was issued.
    pub(crate) fn last_command(&self) -> Option<CommandRef> {
        Some(CommandRef {
            index: self.index().saturating_sub(1),
            ty: self.last?,
            name: self.last_name.clone(),
        })
    }

    /// The command that a completion id belongs to. Its name is known only if it is the last one.
    pub(crate) fn completed_command(&self, id: u32) -> Option<CommandRef> {
        let position = usize::try_from(id).ok()?.checked_sub(1)?;
        let (index, ty) = *self.completed_by.get(position)?;
        let last = self.last_command().filter(|last| last.index == index);
        Some(last.unwrap_or(CommandRef {
            index,
            ty,
            name: String::new(),
        }))
    }

    /// Issues a command: compares it with the recorded one, or writes it.
    pub(crate) fn issue(
        &mut self,
        command: Command<'_>,
        name: &str,
    ) -> Result<Issued, AttemptError> {
        let ty = command.ty();
        self.refuse_after_end(ty)?;
        if let Some(feature) = command.unsupported(self.version) {
            return Err(AttemptError::internal(format!(
                "{ty} with {feature} needs a later version of the service protocol than the negotiated {}: \
                 enable it on the server, or do without",
                self.version
            ))
            .about(Some(self.reference(ty, name))));
        }
        let first = self.next_completion;
        match &command {
            Command::SetState { key, value, .. } => self.state.set(key, Bytes::clone(value)),
            Command::ClearState { key } => self.state.clear(key),
            Command::ClearAllState => self.state.clear_all(),
            _ => {}
        }
        let replayed = self.is_replaying();
        if replayed {
            self.replay(&command, ty, name, first)?;
            self.forget_recorded();
        } else {
            let frame = self.encoder.begin(ty);
            command.encode(name, first, &mut self.encoder);
            self.end(frame, ty)
                .map_err(|error| error.about(Some(self.reference(ty, name))))?;
        }
        let index = self.index();
        self.advance(ty, name, ty.completion_ids());
        Ok(Issued {
            first,
            index,
            replayed,
        })
    }

    /// A command that comes after the end would be given an id, and an answer would be awaited.
    fn refuse_after_end(&self, ty: MessageType) -> Result<(), AttemptError> {
        if self.is_closed() {
            return Err(AttemptError::internal(format!(
                "a {ty} command came after the end of the attempt"
            )));
        }
        Ok(())
    }

    fn replay(
        &mut self,
        command: &Command<'_>,
        ty: MessageType,
        name: &str,
        first: u32,
    ) -> Result<(), AttemptError> {
        self.scratch.clear();
        command.encode(name, first, &mut self.scratch);
        self.compare_with_recorded(ty, name, command.is_stable())
    }

    /// Compares the command in the scratch space with the next recorded one.
    fn compare_with_recorded(
        &self,
        ty: MessageType,
        name: &str,
        stable: bool,
    ) -> Result<(), AttemptError> {
        let recorded = &self.recorded[self.next];
        if recorded.ty == ty && self.scratch.equals(&recorded.payload) {
            return Ok(());
        }
        let (index, issued) = (self.index(), self.scratch.to_bytes());
        let report = if recorded.ty == ty {
            mismatch::compare(index, ty, &recorded.payload, &issued, stable)
        } else {
            Err(mismatch::other_type(
                index,
                (recorded.ty, &recorded.payload),
                (ty, &issued),
            ))
        };
        report.map_err(|report| self.mismatch(report, ty, name))
    }

    /// The recorded command was issued again: it is not looked at any more, and what it lies in, with
    /// what was read together with it, need not be kept.
    fn forget_recorded(&mut self) {
        if let Some(recorded) = self.recorded.get_mut(self.next) {
            recorded.payload = Bytes::new();
        }
    }

    fn mismatch(&self, report: String, ty: MessageType, name: &str) -> AttemptError {
        AttemptError::new(JOURNAL_MISMATCH, report).about(Some(self.reference(ty, name)))
    }

    /// Takes the next signal id for an awakeable. No command is recorded.
    pub(crate) fn next_awakeable(&mut self) -> u32 {
        let id = self.next_signal;
        self.next_signal = self.next_signal.saturating_add(1);
        id
    }

    /// The mismatch of a handler that blocks although recorded commands remain.
    pub(crate) fn blocked_mismatch(&self, awaited: &AwaitSet) -> AttemptError {
        let recorded = &self.recorded[self.next];
        let report = mismatch::blocked(
            self.index(),
            (recorded.ty, &recorded.payload),
            &awaited.describe(),
        );
        self.mismatch(report, recorded.ty, "")
    }

    /// The index of the next command.
    pub(crate) fn index(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    fn reference(&self, ty: MessageType, name: &str) -> CommandRef {
        CommandRef {
            index: self.index(),
            ty,
            name: name.to_owned(),
        }
    }

    fn end(&mut self, frame: FrameStart, ty: MessageType) -> Result<(), AttemptError> {
        self.encoder.end(frame, self.max_outgoing).map_err(|length| {
            AttemptError::internal(format!(
                "a {ty} message of {length} bytes is not sent, since the runtime takes no more than {} bytes: \
                 keep large data elsewhere and pass a reference to it, or split it. If the runtime has \
                 another limit, set `EndpointBuilder::max_outgoing_message_size` to it",
                self.max_outgoing
            ))
        })
    }

    fn advance(&mut self, ty: MessageType, name: &str, ids: u32) {
        let index = self.index();
        self.completed_by.extend((0..ids).map(|_| (index, ty)));
        self.next += 1;
        self.next_completion = self.next_completion.saturating_add(ids);
        self.last = Some(ty);
        self.last_name.clear();
        self.last_name.push_str(name);
    }
}
