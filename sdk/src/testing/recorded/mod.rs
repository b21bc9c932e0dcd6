//! Recorded journals: what a real server stored of an invocation, replayed against today's code.
//!
//! In: a file, exported from a server's tables ([`AdminClient::export_journal`](crate::admin::AdminClient::export_journal)),
//! and an endpoint. Out: how far the code goes with it ([`Replayed`]), or why it would break invocations that are in
//! flight ([`ReplayFailure`]).

#[cfg(feature = "admin")]
mod export;
mod format;
mod id;
mod listing;
mod outcome;
mod replay;
#[cfg(test)]
mod tests;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use bytes::Bytes;

#[cfg(feature = "admin")]
pub use self::export::ExportError;
use self::listing::Listing;
pub use self::outcome::{ReplayFailure, ReplayFailureKind, Replayed};
use crate::{
    Endpoint, TerminalError,
    engine::invocation::RawId,
    protocol::ProtocolVersion,
    wire::{Awaited, CommandMessage, Msg},
};

/// What a server stored of one invocation, as a test fixture.
///
/// A change of a handler's code breaks the invocations that are in flight when it is deployed, if the handler
/// then issues other commands than their journals hold. So record the journals of some, keep them beside the tests,
/// and replay them against each new version of the code:
///
/// ```console
/// $ cargo run -p durably-examples --bin export-journal -- http://127.0.0.1:9070 inv_1… > tests/journals/checkout.json
/// ```
///
/// A file holds what the journal holds, payloads included: read it before you commit it.
///
/// # Examples
///
/// ```no_run
/// use durably::{prelude::*, testing::RecordedJournal};
///
/// # struct Checkout;
/// # #[durably::service]
/// # impl Checkout {
/// #     #[handler]
/// #     async fn pay(&self, _ctx: &Context) -> HandlerResult<()> { Ok(()) }
/// # }
/// #[test]
/// fn invocations_in_flight_survive() -> Result<(), Box<dyn std::error::Error>> {
///     let endpoint = Endpoint::builder().bind(Checkout).build()?;
///     for journal in RecordedJournal::read_all("tests/journals")? {
///         journal.replay(&endpoint)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq)]
pub struct RecordedJournal {
    /// The version of the server.
    server: Option<String>,
    id: String,
    raw_id: RawId,
    service: String,
    key: Option<String>,
    handler: String,
    version: ProtocolVersion,
    seed: u64,
    idempotency_key: Option<String>,
    scope: Option<String>,
    limit_key: Option<String>,
    status: String,
    /// What the handler waited for, as far as the server knew.
    awaits: Option<Awaited>,
    /// The state at the end of the record; none where it does not matter any more.
    state: Option<Vec<(String, Bytes)>>,
    entries: Vec<Msg>,
}

impl RecordedJournal {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it is no recorded journal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::testing::RecordedJournal;
    ///
    /// let journal = RecordedJournal::read("tests/journals/checkout.json")?;
    /// println!("{journal}");
    /// # Ok::<(), durably::testing::RecordedJournalError>(())
    /// ```
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordedJournalError> {
        let path = path.as_ref();
        let io = |source| RecordedJournalError::Io {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(io)?;
        text.parse().map_err(|source| RecordedJournalError::File {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads all files of a folder whose names end in `.json`, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); and when there is none, since a test over nothing shows nothing.
    ///
    /// # Examples
    ///
    /// See [`RecordedJournal`].
    pub fn read_all(folder: impl AsRef<Path>) -> Result<Vec<Self>, RecordedJournalError> {
        let folder = folder.as_ref();
        let io = |source| RecordedJournalError::Io {
            path: folder.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            let nothing = "there is no file that ends in .json";
            return Err(io(io::Error::new(io::ErrorKind::NotFound, nothing)));
        }
        paths.sort_unstable();
        paths.iter().map(Self::read).collect()
    }

    /// The text of the file: JSON with a line an entry, the same for the same journal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::testing::RecordedJournal;
    /// # fn example(journal: RecordedJournal) -> Result<(), Box<dyn std::error::Error>> {
    /// std::fs::write("tests/journals/checkout.json", journal.to_json())?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        format::write(self)
    }

    /// The invocation's id.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::testing::RecordedJournal;
    /// # fn example(journal: &RecordedJournal) {
    /// println!("{} was {}", journal.invocation_id(), journal.status());
    /// # }
    /// ```
    #[must_use]
    pub fn invocation_id(&self) -> &str {
        &self.id
    }

    /// How the invocation stood when it was recorded, in the server's words: `completed`, `suspended`,
    /// `running`, `backing-off`, `paused` …
    ///
    /// # Examples
    ///
    /// See [`invocation_id`](Self::invocation_id).
    #[must_use]
    pub fn status(&self) -> &str {
        &self.status
    }

    /// Replays the record against today's code: everything that was recorded goes in, and the handler runs until
    /// it ends, or waits for more.
    ///
    /// Nothing happens beyond that: no closure of a run is started, and commands that the code issues behind the
    /// recorded ones are only told. A journal whose invocation had ended must come to the same output. One that was in
    /// flight must come to the point where it stood, and wait for at least what it waited for, as far as the server
    /// knew that.
    ///
    /// The handler is polled on this thread. If its code needs a runtime of tokio, call this within one.
    ///
    /// # Errors
    ///
    /// When the code would break the invocation. The error shows what differs, and the journal.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{RecordedJournal, ReplayFailureKind}};
    ///
    /// // Usually a file: see `read`. Its two entries are the input and a run that had not ended.
    /// let journal: RecordedJournal = r#"{
    ///   "format": 1,
    ///   "invocation": {
    ///     "id": "inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT",
    ///     "service": "Checkout",
    ///     "handler": "pay",
    ///     "protocol_version": 6,
    ///     "random_seed": "0",
    ///     "status": "running"
    ///   },
    ///   "journal": [
    ///     {"entry": "Command: Input", "raw": "cgQKAjQy", "text": "→ input 42"},
    ///     {"entry": "Command: Run", "raw": "WAFiC2NoYXJnZSBjYXJk", "text": "→ run `charge card`"}
    ///   ]
    /// }"#.parse()?;
    ///
    /// struct Checkout {
    ///     step: &'static str,
    /// }
    ///
    /// #[durably::service]
    /// impl Checkout {
    ///     #[handler]
    ///     async fn pay(&self, ctx: &Context, amount: u64) -> HandlerResult<String> {
    ///         Ok(ctx.run(self.step, || charge(amount)).await?)
    ///     }
    /// }
    /// # async fn charge(amount: u64) -> Result<String, std::io::Error> { unreachable!("{amount}") }
    ///
    /// let replay = |step| -> Result<_, Box<dyn std::error::Error>> {
    ///     let endpoint = Endpoint::builder().bind(Checkout { step }).build()?;
    ///     Ok(journal.replay(&endpoint))
    /// };
    /// let replayed = replay("charge card")??;
    /// assert_eq!(replayed.awaits(), "run `charge card`");
    /// assert!(replayed.new_commands().is_empty() && !replayed.ended());
    ///
    /// let failure = replay("charge the card")?.unwrap_err();
    /// assert_eq!(failure.kind(), ReplayFailureKind::Mismatch);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay(&self, endpoint: &Endpoint) -> Result<Replayed, ReplayFailure> {
        replay::replay(self, endpoint)
    }

    /// What it is, in one line.
    fn title(&self) -> String {
        let target = match &self.key {
            Some(key) => format!("{}/{key}/{}", self.service, self.handler),
            None => format!("{}/{}", self.service, self.handler),
        };
        let Self {
            id,
            status,
            version,
            ..
        } = self;
        format!("{id} of {target} ({status}, protocol {version})")
    }

    /// What the invocation ended with, and which entry says so.
    fn recorded_output(&self) -> Option<(usize, Result<Bytes, TerminalError>)> {
        let at = self
            .entries
            .iter()
            .rposition(|entry| entry.ty.is_command())?;
        let last = self.entries.get(at)?;
        let command = CommandMessage::decode(last.ty, &last.payload).ok()?;
        Some((at, replay::output(&command)?))
    }
}

impl FromStr for RecordedJournal {
    type Err = RecordedJournalError;

    fn from_str(text: &str) -> Result<Self, RecordedJournalError> {
        format::read(text)
    }
}

/// The journal, told as a story: `→` is what the handler issued, `←` what came to it.
impl fmt::Display for RecordedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.title(), Listing::of(self))
    }
}

/// Without the payloads, which may be large and secret.
impl fmt::Debug for RecordedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedJournal")
            .field("invocation", &self.title())
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Why a file is no recorded journal.
///
/// # Examples
///
/// ```
/// use durably::testing::RecordedJournal;
///
/// let error = r#"{"format": 99}"#.parse::<RecordedJournal>().unwrap_err();
/// assert!(error.to_string().contains("format 99"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordedJournalError {
    /// The file, or the folder, cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What stands in the file is wrong.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: Box<RecordedJournalError>,
    },
    /// It is not JSON, or a field is missing or of another type.
    #[error("this is no recorded journal: {0}")]
    Malformed(#[source] serde_json::Error),
    /// It was written by another version of this crate.
    #[error(
        "this recorded journal has format {format}, which this version of durably does not read"
    )]
    Format {
        /// The number of its format.
        format: u32,
    },
    /// It was recorded at a protocol version that this crate does not speak.
    #[error(
        "this recorded journal has protocol version {version}, which this version of durably does not speak"
    )]
    Protocol {
        /// The number of the protocol version.
        version: u32,
    },
    /// A field holds what it cannot hold.
    #[error("this is no recorded journal: {what}")]
    Field {
        /// Which one, and what is wrong with it.
        what: String,
    },
}
