//! Reads of the state: answered from the record, from the local view, or by the runtime.

use bytes::Bytes;

use super::{AttemptError, Issued, Journal, Known, error::JOURNAL_MISMATCH, mismatch};
use crate::protocol::{
    MessageType,
    message::{GetEagerState, GetEagerStateKeys, NotificationResult, StateKeys, Value, Void},
};

impl Journal {
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
}
