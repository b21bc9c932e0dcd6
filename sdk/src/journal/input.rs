//! What comes in: messages of the runtime, and the end of the request.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;

use super::{AttemptError, Change, Journal, Order, Phase, Recorded, Source, state_view::StateView};
use crate::protocol::{
    MessageType,
    frame::Frame,
    message::{Header, Incoming, InputCommand, Notification, NotificationId, NotificationResult},
    start::Start,
};

/// For how many commands there is space from the start. What Start announces is only believed so far.
const RESERVED_COMMANDS: usize = 16;

impl Journal {
    /// Takes the next frame of the runtime.
    pub(crate) fn handle_frame(&mut self, frame: Frame) -> Result<Change, AttemptError> {
        if let Phase::Entries { remaining } = self.phase
            && frame.ty.is_command()
        {
            return self.record(frame.ty, frame.payload, remaining);
        }
        self.handle_message(Incoming::decode(frame).map_err(AttemptError::violation)?)
    }

    /// A command of the recorded journal.
    fn record(
        &mut self,
        ty: MessageType,
        payload: Bytes,
        remaining: u32,
    ) -> Result<Change, AttemptError> {
        self.recorded_completions = self
            .recorded_completions
            .saturating_add(ty.completion_ids());
        self.recorded.push(Recorded { ty, payload });
        self.entry(remaining)
    }

    /// Takes the next message of the runtime.
    pub(crate) fn handle_message(&mut self, message: Incoming) -> Result<Change, AttemptError> {
        match (self.phase, message) {
            (Phase::Closed, _) => Ok(Change::Nothing),
            (Phase::Start, Incoming::Start(start)) => self.handle_start(start),
            (Phase::Start, other) => Err(AttemptError::violation(format!(
                "the first message must be Start, but {} came",
                kind(&other)
            ))),
            (_, Incoming::Start(_)) => Err(AttemptError::violation("a second Start message came")),
            (Phase::Entries { remaining }, Incoming::Command(ty, payload)) => {
                self.record(ty, payload, remaining)
            }
            (
                Phase::Entries { remaining },
                Incoming::Notification(Notification {
                    id: Some(NotificationId::Completion(id)),
                    result: Some(result),
                }),
            ) => {
                let order = self.notifications.number();
                if id <= self.recorded_completions {
                    self.handle_completion(id, result, order, self.recorded_completions)?;
                } else {
                    // It may come before its command.
                    self.early.push((id, result, order));
                }
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
                self.known_entries
            ))),
            (Phase::Running, Incoming::Notification(notification)) => {
                let bound = self.recorded_completions.max(self.next_completion - 1);
                self.handle_notification(notification, bound)
                    .map(Change::Arrived)
            }
            (Phase::Running, Incoming::RunAck(id)) => {
                let Some(result) = self.take_proposed(id) else {
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
                self.known_entries
            ))),
            Phase::Running | Phase::Closed => Ok(()),
        }
    }

    fn handle_start(&mut self, start: Bytes) -> Result<Change, AttemptError> {
        let mut start = Start::decode(start).map_err(|error| {
            AttemptError::violation(format!("a Start message cannot be decoded: {error}"))
        })?;
        if start.known_entries == 0 {
            return Err(AttemptError::violation(
                "Start says that 0 entries are known, but the Input command is always there",
            ));
        }
        self.state = StateView::new(std::mem::take(&mut start.state), start.partial_state);
        self.phase = Phase::Entries {
            remaining: start.known_entries,
        };
        self.retries = start.retry_count_since_last_stored_entry;
        self.retrying_for = Duration::from_millis(start.duration_since_last_stored_entry);
        self.known_entries = start.known_entries;
        self.recorded
            .reserve_exact((start.known_entries as usize).min(RESERVED_COMMANDS));
        self.start = Some(Box::new(start));
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
        self.take_proposed(id);
        Ok(())
    }

    fn take_proposed(&mut self, id: u32) -> Option<NotificationResult> {
        self.proposed.as_mut()?.remove(&id)
    }

    /// The input of the invocation, once: its headers in order, and its body.
    pub(crate) fn take_input(&mut self) -> Result<(Vec<(String, String)>, Bytes), AttemptError> {
        let payload = self
            .recorded
            .first_mut()
            .map(|input| std::mem::take(&mut input.payload))
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
