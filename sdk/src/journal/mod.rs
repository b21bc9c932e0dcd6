//! The journal: a state machine without I/O, clock or async.
//!
//! Messages go in through [`Journal::handle_message`] and [`Journal::handle_input_closed`], the
//! handler's commands through [`Journal::issue`] and [`Journal::propose_run`]; bytes come out of
//! [`Journal::drain_output`].
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
//! `Error` and `Suspension` closes the journal, once; what comes later is ignored.

mod await_set;
mod command;
mod error;
mod mismatch;
mod notifications;
mod state_view;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;

pub(crate) use self::state_view::Known;
pub(crate) use self::{
    await_set::AwaitSet,
    command::{AttachTarget, CallFields, Command, Completion, SignalId},
    error::{AttemptError, CommandRef},
    notifications::{CANCEL, FIRST_AWAKEABLE, Notifications, Order, Source},
};
use self::{error::JOURNAL_MISMATCH, state_view::StateView};
use crate::error::{Behavior, TerminalError};
use crate::protocol::{
    MessageType, ProtocolVersion,
    encode::Encoder,
    message::{
        Failure, GetEagerState, GetEagerStateKeys, Header, Incoming, InputCommand, Notification,
        NotificationId, NotificationResult, Start, StateKeys, Value, Void,
    },
};

/// A recorded command.
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
    phase: Phase,
    start: Start,
    recorded: Vec<Recorded>,
    /// Commands issued so far; the index of the next one. Input is command 0.
    next: usize,
    pub(crate) notifications: Notifications,
    state: StateView,
    next_completion: u32,
    /// The highest completion id that the recorded commands allow.
    recorded_completions: u32,
    next_signal: u32,
    /// Completions that came among the known entries. They get their places when all entries are
    /// in and the ids can be checked against the commands.
    early: Vec<(u32, NotificationResult, Order)>,
    /// v7: proposed results whose ack will take the place of the completion.
    proposed: BTreeMap<u32, NotificationResult>,
    /// The last command, for reports.
    last: Option<MessageType>,
    last_name: String,
    encoder: Encoder,
    scratch: Encoder,
    output: VecDeque<Bytes>,
}

impl Journal {
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            phase: Phase::Start,
            start: Start::default(),
            recorded: Vec::new(),
            next: 0,
            notifications: Notifications::default(),
            state: StateView::default(),
            next_completion: 1,
            recorded_completions: 0,
            next_signal: FIRST_AWAKEABLE,
            early: Vec::new(),
            proposed: BTreeMap::new(),
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

    /// The Start message; empty before it came.
    pub(crate) fn start(&self) -> &Start {
        &self.start
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether recorded commands remain that the handler has not issued again.
    pub(crate) fn is_replaying(&self) -> bool {
        self.next < self.recorded.len()
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

    // ---- input -------------------------------------------------------------------------------

    /// Takes the next message of the runtime.
    pub(crate) fn handle_message(&mut self, message: Incoming) -> Result<Change, AttemptError> {
        match (self.phase, message) {
            (Phase::Closed, _) => Ok(Change::Nothing),
            (Phase::Start, Incoming::Start(start)) => self.handle_start(*start),
            (Phase::Start, other) => Err(AttemptError::violation(format!(
                "the first message must be Start, but {} came",
                kind(&other)
            ))),
            (_, Incoming::Start(_)) => Err(AttemptError::violation("a second Start message came")),
            (Phase::Entries { remaining }, Incoming::Command(ty, payload)) => {
                self.recorded_completions = self
                    .recorded_completions
                    .saturating_add(ty.completion_ids());
                self.recorded.push(Recorded { ty, payload });
                self.entry(remaining)
            }
            (
                Phase::Entries { remaining },
                Incoming::Notification(Notification {
                    id: Some(NotificationId::Completion(id)),
                    result: Some(result),
                }),
            ) => {
                // It may come before its command.
                let order = self.notifications.number();
                self.early.push((id, result, order));
                self.entry(remaining)
            }
            (Phase::Entries { remaining }, Incoming::Notification(notification)) => {
                self.handle_notification(notification, 0)?;
                self.entry(remaining)
            }
            (Phase::Entries { .. }, other) => Err(AttemptError::violation(format!(
                "{} came while known entries of the journal were awaited",
                kind(&other)
            ))),
            (Phase::Running, Incoming::Command(ty, _)) => Err(AttemptError::violation(format!(
                "a {ty} command came after the {} known entries of the journal",
                self.start.known_entries
            ))),
            (Phase::Running, Incoming::Notification(notification)) => {
                let bound = self.recorded_completions.max(self.next_completion - 1);
                self.handle_notification(notification, bound)
                    .map(Change::Arrived)
            }
            (Phase::Running, Incoming::RunAck(id)) => {
                let Some(result) = self.proposed.remove(&id) else {
                    return Err(AttemptError::violation(format!(
                        "an ack came for completion {id}, which this attempt has not proposed or which is \
                         completed"
                    )));
                };
                let order = self.notifications.number();
                self.handle_completion(id, result, order, id)?;
                Ok(Change::Arrived(Source::Completion(id)))
            }
            (Phase::Running, Incoming::EphemeralState(read)) => Ok(Change::EphemeralRead {
                id: read.id,
                value: read.value.map(|value| value.content),
            }),
            (Phase::Running, Incoming::CommandAck) => Ok(Change::Nothing),
        }
    }

    /// The request has ended. An error if known entries are missing.
    pub(crate) fn handle_input_closed(&mut self) -> Result<(), AttemptError> {
        match self.phase {
            Phase::Start => Err(AttemptError::violation(
                "the request ended before a Start message came",
            )),
            Phase::Entries { remaining } => Err(AttemptError::violation(format!(
                "the request ended while {remaining} of {} known entries of the journal were missing",
                self.start.known_entries
            ))),
            Phase::Running | Phase::Closed => Ok(()),
        }
    }

    fn handle_start(&mut self, mut start: Start) -> Result<Change, AttemptError> {
        if start.known_entries == 0 {
            return Err(AttemptError::violation(
                "Start says that 0 entries are known, but the Input command is always there",
            ));
        }
        self.state = StateView::new(std::mem::take(&mut start.state_map), start.partial_state);
        self.phase = Phase::Entries {
            remaining: start.known_entries,
        };
        self.start = start;
        Ok(Change::Nothing)
    }

    fn entry(&mut self, remaining: u32) -> Result<Change, AttemptError> {
        if remaining > 1 {
            self.phase = Phase::Entries {
                remaining: remaining - 1,
            };
            return Ok(Change::Nothing);
        }
        match self.recorded.first() {
            Some(first) if first.ty == MessageType::INPUT => {}
            first => {
                return Err(AttemptError::violation(format!(
                    "the first command of the journal must be Input, but it is {}",
                    first.map_or_else(|| "missing".to_owned(), |first| first.ty.to_string())
                )));
            }
        }
        for (id, result, order) in std::mem::take(&mut self.early) {
            self.handle_completion(id, result, order, self.recorded_completions)?;
        }
        self.phase = Phase::Running;
        self.next = 1;
        self.last = Some(MessageType::INPUT);
        Ok(Change::Ready)
    }

    fn handle_notification(
        &mut self,
        notification: Notification,
        bound: u32,
    ) -> Result<Source, AttemptError> {
        let Some(result) = notification.result else {
            return Err(AttemptError::violation(
                "a notification without a result came",
            ));
        };
        match notification.id {
            Some(NotificationId::Completion(id)) => {
                let order = self.notifications.number();
                self.handle_completion(id, result, order, bound)?;
                Ok(Source::Completion(id))
            }
            Some(NotificationId::Signal(id)) => {
                self.notifications.signal(id, result);
                Ok(Source::Signal(id))
            }
            Some(NotificationId::NamedSignal(name)) => {
                let name: Arc<str> = name.into();
                self.notifications.named_signal(Arc::clone(&name), result);
                Ok(Source::NamedSignal(name))
            }
            None => Err(AttemptError::violation("a notification without an id came")),
        }
    }

    /// Puts a completion into its place; ids from 1 to `bound` are allowed.
    fn handle_completion(
        &mut self,
        id: u32,
        result: NotificationResult,
        order: Order,
        bound: u32,
    ) -> Result<(), AttemptError> {
        if id == 0 || id > bound {
            return Err(AttemptError::violation(format!(
                "completion {id} came, but the commands of the journal allow completions 1 to {bound}"
            )));
        }
        if !self.notifications.complete(id, result, order) {
            return Err(AttemptError::violation(format!(
                "completion {id} came twice"
            )));
        }
        self.proposed.remove(&id);
        Ok(())
    }

    /// The input of the invocation: its headers in order, and its body.
    pub(crate) fn input(&self) -> Result<(Vec<(String, String)>, Bytes), AttemptError> {
        let payload = self
            .recorded
            .first()
            .map(|input| input.payload.clone())
            .unwrap_or_default();
        let input = InputCommand::decode(payload).map_err(|error| {
            AttemptError::violation(format!("the Input command cannot be decoded: {error}"))
        })?;
        let headers = input
            .headers
            .into_iter()
            .map(|Header { key, value }| (key, value))
            .collect();
        Ok((
            headers,
            input.value.map(|value| value.content).unwrap_or_default(),
        ))
    }

    // ---- the handler's side ------------------------------------------------------------------

    /// Issues a command: compares it with the recorded one, or writes it.
    pub(crate) fn issue(
        &mut self,
        command: Command<'_>,
        name: &str,
    ) -> Result<Issued, AttemptError> {
        let ty = command.ty();
        if let Some(feature) = command.unsupported(self.version) {
            return Err(AttemptError::internal(format!(
                "{ty} with {feature} needs a later version of the service protocol than the negotiated {}: \
                 enable it on the server, or leave {feature} out",
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
        } else {
            let frame = self.encoder.begin(ty);
            command.encode(name, first, &mut self.encoder);
            self.end(frame, ty, name)?;
        }
        let index = self.index();
        self.advance(ty, name, ty.completion_ids());
        Ok(Issued {
            first,
            index,
            replayed,
        })
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
        let recorded = &self.recorded[self.next];
        if recorded.ty == ty && self.scratch.equals(&recorded.payload) {
            return Ok(());
        }
        let (index, issued) = (self.index(), self.scratch.to_bytes());
        let report = if recorded.ty == ty {
            mismatch::compare(index, ty, &recorded.payload, &issued, command.is_stable())
        } else {
            Err(mismatch::other_type(
                index,
                (recorded.ty, &recorded.payload),
                (ty, &issued),
            ))
        };
        report.map_err(|report| {
            AttemptError::new(JOURNAL_MISMATCH, report).about(Some(self.reference(ty, name)))
        })
    }

    /// Reads a state key: from the record, from the local view, or from the runtime.
    pub(crate) fn issue_get_state(&mut self, key: &str) -> Result<Issued, AttemptError> {
        let id = self.next_completion;
        let mut inline = None;
        let ty;
        let replayed = self.is_replaying();
        if replayed {
            let recorded = &self.recorded[self.next];
            ty = recorded.ty;
            self.scratch.clear();
            self.scratch.bytes(1, key);
            match ty {
                MessageType::GET_EAGER_STATE => {
                    let issued = self.scratch.to_bytes();
                    self.compare_read(ty, &issued)?;
                    let read = self.recorded_message::<GetEagerState>()?;
                    inline = Some(match read.value {
                        Some(value) => NotificationResult::Value(value),
                        None => NotificationResult::Void(Void {}),
                    });
                }
                MessageType::GET_LAZY_STATE => {
                    self.scratch.uint(11, u64::from(id));
                    let issued = self.scratch.to_bytes();
                    self.compare_read(ty, &issued)?;
                }
                _ => return Err(self.read_mismatch(MessageType::GET_LAZY_STATE)),
            }
        } else {
            let known = self.state.get(key);
            ty = if known == Known::Unknown {
                MessageType::GET_LAZY_STATE
            } else {
                MessageType::GET_EAGER_STATE
            };
            let frame = self.encoder.begin(ty);
            self.encoder.bytes(1, key);
            match known {
                Known::Unknown => self.encoder.uint(11, u64::from(id)),
                Known::Absent => {
                    self.encoder.void(13);
                    inline = Some(NotificationResult::Void(Void {}));
                }
                Known::Value(content) => {
                    self.encoder.value(14, &content);
                    inline = Some(NotificationResult::Value(Value { content }));
                }
            }
            self.end(frame, ty, "")?;
        }
        Ok(self.read_issued(ty, inline, replayed))
    }

    /// Reads the keys of the state, like [`Journal::issue_get_state`].
    pub(crate) fn issue_get_state_keys(&mut self) -> Result<Issued, AttemptError> {
        let id = self.next_completion;
        let mut inline = None;
        let ty;
        let replayed = self.is_replaying();
        if replayed {
            let recorded = &self.recorded[self.next];
            ty = recorded.ty;
            self.scratch.clear();
            match ty {
                MessageType::GET_EAGER_STATE_KEYS => {
                    self.compare_read(ty, &Bytes::new())?;
                    let read = self.recorded_message::<GetEagerStateKeys>()?;
                    inline = Some(read.keys.unwrap_or_default());
                }
                MessageType::GET_LAZY_STATE_KEYS => {
                    self.scratch.uint(11, u64::from(id));
                    let issued = self.scratch.to_bytes();
                    self.compare_read(ty, &issued)?;
                }
                _ => return Err(self.read_mismatch(MessageType::GET_LAZY_STATE_KEYS)),
            }
        } else {
            let keys = self.state.keys();
            ty = if keys.is_none() {
                MessageType::GET_LAZY_STATE_KEYS
            } else {
                MessageType::GET_EAGER_STATE_KEYS
            };
            let frame = self.encoder.begin(ty);
            match keys {
                None => self.encoder.uint(11, u64::from(id)),
                Some(keys) => {
                    self.encoder.nested(14, |encoder| {
                        for key in &keys {
                            encoder.bytes_always(1, key);
                        }
                    });
                    inline = Some(StateKeys { keys });
                }
            }
            self.end(frame, ty, "")?;
        }
        Ok(self.read_issued(ty, inline.map(NotificationResult::StateKeys), replayed))
    }

    fn compare_read(&self, ty: MessageType, issued: &Bytes) -> Result<(), AttemptError> {
        let recorded = &self.recorded[self.next].payload;
        if recorded == issued {
            return Ok(());
        }
        mismatch::compare(self.index(), ty, recorded, issued, true).map_err(|report| {
            AttemptError::new(JOURNAL_MISMATCH, report).about(Some(self.reference(ty, "")))
        })
    }

    fn read_mismatch(&self, ty: MessageType) -> AttemptError {
        let recorded = &self.recorded[self.next];
        let report = mismatch::other_type(
            self.index(),
            (recorded.ty, &recorded.payload),
            (ty, &self.scratch.to_bytes()),
        );
        AttemptError::new(JOURNAL_MISMATCH, report).about(Some(self.reference(ty, "")))
    }

    fn recorded_message<M: prost::Message + Default>(&self) -> Result<M, AttemptError> {
        M::decode(self.recorded[self.next].payload.clone()).map_err(|error| {
            AttemptError::violation(format!(
                "command {} of the journal cannot be decoded: {error}",
                self.next
            ))
        })
    }

    fn read_issued(
        &mut self,
        ty: MessageType,
        inline: Option<NotificationResult>,
        replayed: bool,
    ) -> Issued {
        let (first, index) = (self.next_completion, self.index());
        if let Some(result) = inline {
            self.notifications.complete_inline(first, index, result);
        }
        self.advance(ty, "", 1);
        Issued {
            first,
            index,
            replayed,
        }
    }

    /// What the local view knows of a key, for an ephemeral read.
    pub(crate) fn known_state(&self, key: &str) -> Known {
        self.state.get(key)
    }

    /// Asks the runtime for a key, outside of the journal (v8).
    pub(crate) fn write_ephemeral_read(&mut self, id: u32, key: &str) -> Result<(), AttemptError> {
        if !self.version.has_v8() {
            return Err(AttemptError::internal(format!(
                "reading state key `{key}` within a run needs service protocol v8, but {} was negotiated: read it \
                 before the run",
                self.version
            )));
        }
        let frame = self.encoder.begin(MessageType::GET_STATE_EPHEMERAL);
        self.encoder.uint(1, u64::from(id));
        self.encoder.bytes(2, key);
        self.end(frame, MessageType::GET_STATE_EPHEMERAL, "")
    }

    /// Takes the next signal id for an awakeable. No command is recorded.
    pub(crate) fn next_awakeable(&mut self) -> u32 {
        let id = self.next_signal;
        self.next_signal = self.next_signal.saturating_add(1);
        id
    }

    /// Proposes the result of a run's closure.
    pub(crate) fn propose_run(
        &mut self,
        id: u32,
        result: Result<Bytes, TerminalError>,
    ) -> Result<(), AttemptError> {
        let wants_ack = self.version.has_v7();
        let frame = self
            .encoder
            .begin_with(MessageType::PROPOSE_RUN_COMPLETION, wants_ack);
        self.encoder.uint(1, u64::from(id));
        match &result {
            Ok(value) => self.encoder.payload_always(14, value),
            Err(error) => {
                if !self.version.has_failure_metadata() && !error.metadata().is_empty() {
                    // Taken back, not sent without what it should carry.
                    self.encoder.abandon(frame);
                    return Err(AttemptError::internal(format!(
                        "a run failed with metadata, which needs a later version of the service protocol than \
                         the negotiated {}: enable it on the server, or leave the metadata out",
                        self.version
                    )));
                }
                self.encoder.failure(15, error);
            }
        }
        self.end(frame, MessageType::PROPOSE_RUN_COMPLETION, "")?;
        if wants_ack {
            let kept = match result {
                Ok(content) => NotificationResult::Value(Value { content }),
                Err(error) => NotificationResult::Failure(Failure {
                    code: error.code().into(),
                    message: error.message().to_owned(),
                    metadata: error
                        .metadata()
                        .iter()
                        .map(|(key, value)| Header {
                            key: key.clone(),
                            value: value.clone(),
                        })
                        .collect(),
                }),
            };
            self.proposed.insert(id, kept);
        }
        Ok(())
    }

    /// How often and how long this run was tried before this attempt. The runtime counts since its
    /// last stored entry, so the count holds only while this attempt has written no command, and
    /// only for a run that was itself replayed.
    pub(crate) fn previous_tries(&self, replayed: bool) -> (u32, Duration) {
        if !replayed
            || self.has_written_commands()
            || self.start.retry_count_since_last_stored_entry == 0
        {
            return (0, Duration::ZERO);
        }
        (
            self.start.retry_count_since_last_stored_entry,
            Duration::from_millis(self.start.duration_since_last_stored_entry),
        )
    }

    /// The mismatch of a handler that blocks although recorded commands remain.
    pub(crate) fn blocked_mismatch(&self, awaited: &AwaitSet) -> AttemptError {
        let recorded = &self.recorded[self.next];
        let report = mismatch::blocked(
            self.index(),
            (recorded.ty, &recorded.payload),
            &awaited.describe(),
        );
        AttemptError::new(JOURNAL_MISMATCH, report).about(Some(self.reference(recorded.ty, "")))
    }

    // ---- output ------------------------------------------------------------------------------

    /// Tells the runtime what the handler waits for (v7).
    pub(crate) fn write_awaiting_on(&mut self, awaited: &AwaitSet) {
        awaited.encode_awaiting_on(&mut self.encoder);
    }

    /// Closes the journal with a suspension.
    pub(crate) fn close_suspended(&mut self, awaited: &AwaitSet) {
        awaited.encode_suspension(self.version, &mut self.encoder);
        self.phase = Phase::Closed;
    }

    /// Closes the journal with `End`, after the Output command.
    pub(crate) fn close_ended(&mut self) {
        let frame = self.encoder.begin(MessageType::END);
        self.encoder.end(frame);
        self.phase = Phase::Closed;
    }

    /// Closes the journal with an error.
    pub(crate) fn close_failed(&mut self, error: &AttemptError) {
        let frame = self.encoder.begin(MessageType::ERROR);
        self.encoder.uint(1, u64::from(error.code));
        self.encoder.bytes(2, &error.message);
        self.encoder.bytes(3, &error.details);
        if let Some(command) = &error.command {
            self.encoder.uint_always(4, u64::from(command.index));
            if !command.name.is_empty() {
                self.encoder.bytes_always(5, &command.name);
            }
            self.encoder.uint_always(6, u64::from(command.ty.0));
        }
        if let Some(delay) = error.delay {
            self.encoder
                .uint_always(8, u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        }
        if self.version.has_v7() {
            self.encoder.uint(
                9,
                match error.behavior {
                    Behavior::Retry => 0,
                    Behavior::Pause => 1,
                    Behavior::Fail => 2,
                },
            );
        }
        self.encoder.end(frame);
        self.phase = Phase::Closed;
    }

    /// Bytes written and not yet drained.
    pub(crate) fn buffered_output(&self) -> usize {
        self.encoder.len()
    }

    /// The next segment of the output: everything written since the last call, large payloads as
    /// segments of their own.
    pub(crate) fn take_output(&mut self) -> Option<Bytes> {
        if !self.encoder.is_empty() {
            self.encoder.drain_into(&mut self.output);
        }
        self.output.pop_front()
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn index(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    fn reference(&self, ty: MessageType, name: &str) -> CommandRef {
        CommandRef {
            index: self.index(),
            ty,
            name: name.to_owned(),
        }
    }

    fn end(
        &mut self,
        frame: crate::protocol::encode::FrameStart,
        ty: MessageType,
        name: &str,
    ) -> Result<(), AttemptError> {
        if self.encoder.end(frame) {
            return Ok(());
        }
        Err(
            AttemptError::internal(format!("a {ty} message above 4 GiB cannot be sent"))
                .about(Some(self.reference(ty, name))),
        )
    }

    fn advance(&mut self, ty: MessageType, name: &str, ids: u32) {
        self.next += 1;
        self.next_completion = self.next_completion.saturating_add(ids);
        self.last = Some(ty);
        self.last_name.clear();
        self.last_name.push_str(name);
    }
}

fn kind(message: &Incoming) -> String {
    match message {
        Incoming::Start(_) => "Start".into(),
        Incoming::Command(ty, _) => ty.to_string(),
        Incoming::Notification(_) => "a notification".into(),
        Incoming::RunAck(_) => "ProposeRunCompletionAck".into(),
        Incoming::EphemeralState(_) => "GetStateEphemeralNotification".into(),
        Incoming::CommandAck => "CommandAck".into(),
    }
}
