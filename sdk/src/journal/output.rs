//! What goes out besides commands: proposals, await sets, and the one message that closes the journal.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use super::{AttemptError, AwaitSet, Journal, Phase};
use crate::{
    error::{Behavior, TerminalError},
    protocol::MessageType,
};

impl Journal {
    /// Proposes the result of a run's closure.
    pub(crate) fn propose_run(
        &mut self,
        id: u32,
        result: Result<Bytes, TerminalError>,
    ) -> Result<(), AttemptError> {
        if self.is_closed() {
            return Ok(());
        }
        if let Err(error) = &result
            && !self.version.has_failure_metadata()
            && !error.metadata().is_empty()
        {
            return Err(AttemptError::internal(format!(
                "a run failed with metadata, which needs a later version of the service protocol than \
                 the negotiated {}: enable it on the server, or leave the metadata out",
                self.version
            )));
        }
        let wants_ack = self.version.has_v7();
        let frame = self
            .encoder
            .begin_with(MessageType::PROPOSE_RUN_COMPLETION, wants_ack);
        self.encoder.uint(1, u64::from(id));
        match &result {
            Ok(value) => self.encoder.payload_always(14, value),
            Err(error) => self.encoder.failure(15, error),
        }
        self.end(frame, MessageType::PROPOSE_RUN_COMPLETION)?;
        if wants_ack {
            self.proposed
                .get_or_insert_default()
                .insert(id, result.into());
        }
        Ok(())
    }

    /// How often and how long this run was tried before this attempt. The runtime counts since its
    /// last stored entry, so the count holds only while this attempt has written no command, and
    /// only for a run that was itself replayed.
    pub(crate) fn previous_tries(&self, replayed: bool) -> (u32, Duration) {
        if !replayed || self.has_written_commands() || self.retries == 0 {
            return (0, Duration::ZERO);
        }
        (self.retries, self.retrying_for)
    }

    /// Tells the runtime what the handler waits for (v7).
    pub(crate) fn write_awaiting_on(&mut self, awaited: &AwaitSet) {
        if !self.is_closed() {
            awaited.encode_awaiting_on(&mut self.encoder);
        }
    }

    /// Closes the journal with a suspension.
    pub(crate) fn close_suspended(&mut self, awaited: &AwaitSet) {
        if self.close() {
            awaited.encode_suspension(self.version, &mut self.encoder);
        }
    }

    /// Closes the journal with `End`, after the Output command.
    pub(crate) fn close_ended(&mut self) {
        if self.close() {
            let frame = self.encoder.begin(MessageType::END);
            self.encoder.end_small(frame);
        }
    }

    /// Closes the journal with an error.
    pub(crate) fn close_failed(&mut self, error: &AttemptError) {
        if !self.close() {
            return;
        }
        let frame = self.encoder.begin(MessageType::ERROR);
        self.encoder.uint(1, u64::from(error.code));
        self.encoder.bytes(2, &*clip(&error.sent_message()));
        self.encoder.bytes(3, &*clip(&error.details));
        if let Some(command) = &error.command {
            self.encoder.uint_always(4, u64::from(command.index));
            if !command.name.is_empty() {
                self.encoder.bytes_always(5, &*clip(&command.name));
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
        self.encoder.end_small(frame);
    }

    /// The terminator is next. `false` if there was one.
    fn close(&mut self) -> bool {
        std::mem::replace(&mut self.phase, Phase::Closed) != Phase::Closed
    }

    /// Bytes written and not yet drained.
    pub(crate) fn buffered_output(&self) -> usize {
        self.encoder.len()
    }

    /// The next segment of the output: everything written since the last call, large payloads as
    /// segments of their own.
    pub(crate) fn take_output(&mut self) -> Option<Bytes> {
        // What waits was written before what the encoder holds.
        self.output.pop_front().or_else(|| {
            self.encoder
                .drain(&mut self.output, self.phase == Phase::Closed)
        })
    }
}

/// The most of a text that an `Error` carries, in bytes: the error must arrive, however long the text
/// that somebody made.
const MAX_ERROR_TEXT: usize = 64 * 1024;

/// As much of a text as an `Error` carries.
fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_ERROR_TEXT {
        return Cow::Borrowed(text);
    }
    let kept = text.floor_char_boundary(MAX_ERROR_TEXT);
    let (kept, cut) = text.split_at(kept);
    Cow::Owned(format!("{kept}… ({} more bytes)", cut.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(clip("short"), "short");
        let exact = "x".repeat(MAX_ERROR_TEXT);
        assert_eq!(clip(&exact), exact);
        let long = format!("x{}", "é".repeat(MAX_ERROR_TEXT));
        let clipped = clip(&long);
        let rest = long.len() - (MAX_ERROR_TEXT - 1);
        assert!(
            clipped.ends_with(&format!("é… ({rest} more bytes)")),
            "{}",
            &clipped[clipped.len() - 40..]
        );
        assert!(clipped.len() < MAX_ERROR_TEXT + 40);
    }
}
