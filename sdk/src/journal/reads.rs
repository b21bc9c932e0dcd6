//! Reads of the state: answered from the record, from the local view, or by the runtime.

use super::{AttemptError, Issued, Journal, Known};
use crate::protocol::{
    MessageType,
    message::{GetEagerState, GetEagerStateKeys, NotificationResult, StateKeys, Value, Void},
};

/// What is read.
#[derive(Clone, Copy)]
enum Read<'a> {
    Key(&'a str),
    Keys,
}

impl Read<'_> {
    /// The command of a read that is answered at once, and of one that the runtime answers.
    fn types(self) -> (MessageType, MessageType) {
        match self {
            Self::Key(_) => (MessageType::GET_EAGER_STATE, MessageType::GET_LAZY_STATE),
            Self::Keys => (
                MessageType::GET_EAGER_STATE_KEYS,
                MessageType::GET_LAZY_STATE_KEYS,
            ),
        }
    }
}

impl Journal {
    /// Reads a state key: from the record, from the local view, or from the runtime.
    pub(crate) fn issue_get_state(&mut self, key: &str) -> Result<Issued, AttemptError> {
        self.issue_read(Read::Key(key))
    }

    /// Reads the keys of the state, in the same way.
    pub(crate) fn issue_get_state_keys(&mut self) -> Result<Issued, AttemptError> {
        self.issue_read(Read::Keys)
    }

    fn issue_read(&mut self, read: Read<'_>) -> Result<Issued, AttemptError> {
        self.refuse_after_end(read.types().1)?;
        let replayed = self.is_replaying();
        let (ty, answer) = if replayed {
            let read = self.replay_read(read)?;
            self.forget_recorded();
            read
        } else {
            self.write_read(read)?
        };
        Ok(self.read_issued(ty, answer, replayed))
    }

    /// Compares the read with the recorded one, which may be of either type; the recorded answer.
    fn replay_read(
        &mut self,
        read: Read<'_>,
    ) -> Result<(MessageType, Option<NotificationResult>), AttemptError> {
        let (eager, lazy) = read.types();
        let ty = if self.recorded[self.next].ty == eager {
            eager
        } else {
            lazy
        };
        self.scratch.clear();
        if let Read::Key(key) = read {
            self.scratch.bytes(1, key);
        }
        if ty == lazy {
            self.scratch.uint(11, u64::from(self.next_completion));
        }
        self.compare_with_recorded(ty, "", true)?;
        if ty == lazy {
            return Ok((ty, None));
        }
        let answer = match read {
            Read::Key(_) => match self.recorded_message::<GetEagerState>()?.value {
                Some(value) => NotificationResult::Value(value),
                None => NotificationResult::Void(Void {}),
            },
            Read::Keys => {
                let read = self.recorded_message::<GetEagerStateKeys>()?;
                NotificationResult::StateKeys(read.keys.unwrap_or_default())
            }
        };
        Ok((ty, Some(answer)))
    }

    /// Writes the read; the answer, if the local view knows it.
    fn write_read(
        &mut self,
        read: Read<'_>,
    ) -> Result<(MessageType, Option<NotificationResult>), AttemptError> {
        let answer = match read {
            Read::Key(key) => match self.state.get(key) {
                Known::Unknown => None,
                Known::Absent => Some(NotificationResult::Void(Void {})),
                Known::Value(content) => Some(NotificationResult::Value(Value { content })),
            },
            Read::Keys => {
                let keys = self.state.keys();
                keys.map(|keys| NotificationResult::StateKeys(StateKeys { keys }))
            }
        };
        let (eager, lazy) = read.types();
        let ty = if answer.is_some() { eager } else { lazy };
        let frame = self.encoder.begin(ty);
        if let Read::Key(key) = read {
            self.encoder.bytes(1, key);
        }
        match &answer {
            None => self.encoder.uint(11, u64::from(self.next_completion)),
            Some(NotificationResult::Value(value)) => self.encoder.value(14, &value.content),
            Some(NotificationResult::StateKeys(keys)) => self.encoder.nested(14, |encoder| {
                for key in &keys.keys {
                    encoder.bytes_always(1, key);
                }
            }),
            Some(_) => self.encoder.void(13),
        }
        self.end(frame, ty)
            .map_err(|error| error.about(Some(self.reference(ty, ""))))?;
        Ok((ty, answer))
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
    pub(crate) fn known_state(&mut self, key: &str) -> Known {
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
        self.refuse_after_end(MessageType::GET_STATE_EPHEMERAL)?;
        let frame = self.encoder.begin(MessageType::GET_STATE_EPHEMERAL);
        self.encoder.uint(1, u64::from(id));
        self.encoder.bytes(2, key);
        self.end(frame, MessageType::GET_STATE_EPHEMERAL)
    }
}
