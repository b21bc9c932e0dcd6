//! A journal out of a real server's tables.
//!
//! `sys_journal` holds the entries as they travel: `entry_type` names the message, `raw` are its bytes, `index` is the
//! order in which the runtime sends them. What Start says stands in `sys_invocation` and `state`, but for the random
//! seed, which follows from the invocation's id. Seen on server 1.7.12.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{RecordedJournal, format, id};
use crate::{
    admin::{AdminClient, AdminError, literal},
    engine::invocation::RawId,
    protocol::message::NotificationId,
    wire::{Awaited, Msg},
};

/// How often the tables are read until nothing has changed meanwhile.
const LOOKS: u32 = 8;

/// The version of the journal's tables whose entries are messages of the protocol.
const JOURNAL_VERSION: u32 = 2;

/// Why a journal cannot be exported.
///
/// # Examples
///
/// ```no_run
/// use durably::{admin::AdminClient, testing::ExportError};
///
/// # async fn example(admin: AdminClient) {
/// match admin.export_journal("inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT").await {
///     Err(ExportError::NoJournal { .. }) => println!("too late: set a journal retention"),
///     Err(error) => println!("{error}"),
///     Ok(journal) => println!("{journal}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The server does not answer, or refuses.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The server knows no invocation of this id.
    #[error("the server knows no invocation `{id}`")]
    NoSuchInvocation {
        /// The id.
        id: String,
    },
    /// The server holds no journal of the invocation: it has not begun, or has ended and is past its journal
    /// retention.
    #[error("the server holds no journal of {id}, which is {status}")]
    NoJournal {
        /// The id.
        id: String,
        /// How the invocation stands, in the server's words.
        status: String,
    },
    /// The invocation goes on faster than its tables can be read.
    #[error("the journal of {id} changes while it is read: pause the invocation")]
    Restless {
        /// The id.
        id: String,
    },
    /// The server holds something that this version of the crate cannot read.
    #[error("the journal of {id} cannot be exported: {what}")]
    Unreadable {
        /// The id.
        id: String,
        /// What cannot be read.
        what: String,
    },
}

/// What is read of a row of `sys_invocation`.
#[derive(Deserialize)]
struct InvocationRow {
    status: String,
    target_service_name: String,
    target_service_key: Option<String>,
    target_handler_name: String,
    pinned_service_protocol_version: Option<u32>,
    journal_size: Option<usize>,
    idempotency_key: Option<String>,
    scope: Option<String>,
    limit_key: Option<String>,
    suspended_waiting_future_json: Option<String>,
    last_awaiting_on_future_json: Option<String>,
}

#[derive(Deserialize)]
struct JournalRow {
    entry_type: String,
    /// Left out if it is empty.
    #[serde(default)]
    raw: String,
    version: u32,
}

#[derive(Deserialize)]
struct StateRow {
    scope: Option<String>,
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Server {
    version: String,
    #[serde(default)]
    features: BTreeMap<String, bool>,
}

impl Server {
    /// Whether seeds do not follow from ids any more; an experimental option of the server's.
    fn hides_seeds(&self) -> bool {
        self.features.get("unique_random_seeds") == Some(&true)
    }
}

impl AdminClient {
    /// Exports the journal of an invocation, to be replayed by tests of its code; with the feature `testing`.
    ///
    /// The invocation may be in flight, or have ended as long as the server keeps its journal: a day, by default.
    ///
    /// # Errors
    ///
    /// When the server has no such invocation, or no journal of it; and when the journal changes too quickly to be
    /// read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::admin::AdminClient;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let admin = AdminClient::new("http://127.0.0.1:9070");
    /// let journal = admin.export_journal("inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT").await?;
    /// std::fs::write("tests/journals/checkout.json", journal.to_json())?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn export_journal(&self, id: &str) -> Result<RecordedJournal, ExportError> {
        for _ in 0..LOOKS {
            let row = self.invocation_row(id).await?;
            let sql = format!(
                "SELECT entry_type, raw, version FROM sys_journal WHERE id = {} ORDER BY index",
                literal(id)
            );
            let entries: Vec<JournalRow> = self.query(&sql).await?;
            let state = self.state_rows(&row).await?;
            let again = self.invocation_row(id).await?;
            if (&row.status, row.journal_size) != (&again.status, again.journal_size) {
                continue;
            }
            // One that has not begun may have its input there, and no more.
            let begun = row.pinned_service_protocol_version.is_some();
            if entries.is_empty() || !begun {
                return Err(ExportError::NoJournal {
                    id: id.to_owned(),
                    status: row.status,
                });
            }
            if row.journal_size.is_some_and(|size| size != entries.len()) {
                continue;
            }
            let server: Server = self.get("/version").await?;
            return journal(id, row, entries, state, server).map_err(|what| {
                let id = id.to_owned();
                ExportError::Unreadable { id, what }
            });
        }
        Err(ExportError::Restless { id: id.to_owned() })
    }

    async fn invocation_row(&self, id: &str) -> Result<InvocationRow, ExportError> {
        let sql = format!("SELECT * FROM sys_invocation WHERE id = {}", literal(id));
        let mut rows = self.query(&sql).await?;
        let id = id.to_owned();
        rows.pop().ok_or(ExportError::NoSuchInvocation { id })
    }

    /// The state of its object or workflow, if it may still be read: the recorded reads have their answers.
    async fn state_rows(&self, row: &InvocationRow) -> Result<Option<Vec<StateRow>>, ExportError> {
        let Some(key) = row.target_service_key.as_ref().filter(|_| !row.is_over()) else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT * FROM state WHERE service_name = {} AND service_key = {} ORDER BY key",
            literal(&row.target_service_name),
            literal(key)
        );
        let mut rows: Vec<StateRow> = self.query(&sql).await?;
        rows.retain(|entry| entry.scope == row.scope);
        Ok(Some(rows))
    }
}

impl InvocationRow {
    fn is_over(&self) -> bool {
        self.status == "completed"
    }

    /// What the handler waits for, as far as the server knows it for sure.
    fn awaits(&self, entries: &[Msg]) -> Option<Awaited> {
        match self.status.as_str() {
            "suspended" => read_future(self.suspended_waiting_future_json.as_ref()?),
            // The handler said so at some time: if something of it has come since, it has gone on.
            "running" => read_future(self.last_awaiting_on_future_json.as_ref()?)
                .filter(|awaited| !any_came(awaited, entries)),
            _ => None,
        }
    }
}

/// The ids anywhere in a tree of futures, as the server writes it.
fn read_future(json: &str) -> Option<Awaited> {
    fn collect(tree: &Value, awaited: &mut Awaited) {
        match tree {
            Value::Array(parts) => parts.iter().for_each(|part| collect(part, awaited)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
                    match (name.as_str(), id, value.as_str()) {
                        ("CompletionId", Some(id), _) => awaited.completions.push(id),
                        ("SignalIndex", Some(id), _) => awaited.signals.push(id),
                        ("SignalName", _, Some(name)) => awaited.named.push(name.to_owned()),
                        _ => collect(value, awaited),
                    }
                }
            }
            _ => {}
        }
    }
    let mut awaited = Awaited::default();
    collect(&serde_json::from_str(json).ok()?, &mut awaited);
    awaited.signals.sort_unstable();
    Some(awaited)
}

fn any_came(awaited: &Awaited, entries: &[Msg]) -> bool {
    let mut ids = entries
        .iter()
        .filter_map(|entry| entry.as_notification()?.id);
    ids.any(|id| match id {
        NotificationId::Completion(id) => awaited.completions.contains(&id),
        NotificationId::Signal(id) => awaited.signals.contains(&id),
        NotificationId::NamedSignal(name) => awaited.named.contains(&name),
    })
}

fn journal(
    id: &str,
    row: InvocationRow,
    entries: Vec<JournalRow>,
    state: Option<Vec<StateRow>>,
    server: Server,
) -> Result<RecordedJournal, String> {
    let raw_id = id::raw_id(id).ok_or_else(|| format!("`{id}` has not the form of an id"))?;
    if server.hides_seeds() {
        return Err(
            "the server has `unique_random_seeds`, which its tables do not show".to_owned(),
        );
    }
    let number = row.pinned_service_protocol_version;
    let number = number.ok_or("it has not begun")?;
    let version = format::version(number);
    let version = version.ok_or_else(|| format!("its protocol version is {number}"))?;
    let entries = entries.into_iter().map(|entry| {
        if entry.version != JOURNAL_VERSION {
            return Err(format!("its journal has version {}", entry.version));
        }
        let ty = format::entry_type(&entry.entry_type);
        let ty = ty.ok_or_else(|| format!("no entry `{}` is known", entry.entry_type))?;
        Ok(Msg::raw(ty, from_hex(&entry.raw)?))
    });
    let entries = entries.collect::<Result<Vec<_>, String>>()?;
    let state = state.map(|rows| {
        let entries = rows.into_iter();
        let entries = entries.map(|row| Ok((row.key, from_hex(&row.value)?)));
        entries.collect::<Result<Vec<_>, String>>()
    });
    Ok(RecordedJournal {
        server: Some(server.version),
        id: id.to_owned(),
        raw_id,
        awaits: row.awaits(&entries),
        service: row.target_service_name,
        key: row.target_service_key,
        handler: row.target_handler_name,
        version,
        seed: seed(&raw_id),
        idempotency_key: row.idempotency_key,
        scope: row.scope,
        limit_key: row.limit_key,
        status: row.status,
        state: state.transpose()?,
        entries,
    })
}

/// The seed that the server gives an invocation of this id: its tables do not show it. The standard library's
/// hash of the bytes; seen on server 1.7.12, and watched by a test against it. (There an invocation that is restarted
/// from a later entry of another one gets a seed of its own as well, so its copied entries do not replay if they depend
/// on random numbers.)
fn seed(raw: &RawId) -> u64 {
    let mut hasher = DefaultHasher::new();
    raw.hash(&mut hasher);
    hasher.finish()
}

/// Bytes as the server's tables write them in JSON.
fn from_hex(text: &str) -> Result<Bytes, String> {
    let wrong = || "its bytes are not hexadecimal".to_owned();
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    bytes
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        MessageType,
        message::{NotificationResult, Void},
    };

    #[test]
    fn trees_of_futures_are_read_to_their_leaves() {
        let tree = r#"{"FirstCompleted":[{"Single":{"SignalIndex":1}},{"AllCompleted":[
            {"Single":{"CompletionId":20}},{"Single":{"SignalIndex":18}},{"Single":{"SignalName":"bell"}}]}]}"#;
        let awaited = read_future(tree).unwrap();
        assert_eq!(awaited.completions, [20]);
        assert_eq!(awaited.signals, [1, 18]);
        assert_eq!(awaited.named, ["bell"]);
        assert_eq!(read_future("no tree"), None);
    }

    #[test]
    fn what_was_awaited_before_something_of_it_came_is_not_known() {
        let signal = Msg::notification(
            MessageType::SIGNAL,
            NotificationId::Signal(18),
            NotificationResult::Void(Void {}),
        );
        let awaited = |signals: &[u32]| Awaited {
            signals: signals.to_vec(),
            ..Awaited::default()
        };
        let entries = [signal];
        assert!(any_came(&awaited(&[1, 18]), &entries));
        assert!(!any_came(&awaited(&[1, 17]), &entries));
    }

    #[test]
    fn bytes_are_hexadecimal() {
        assert_eq!(from_hex("00fF7a").unwrap()[..], [0, 255, 122]);
        assert!(from_hex("").unwrap().is_empty());
        for wrong in ["0", "0g", "é"] {
            assert!(from_hex(wrong).is_err(), "{wrong}");
        }
    }
}
