//! A recorded journal as a file: JSON with one line an entry, bytes in base64, and words beside them that only
//! people read.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{RecordedJournal, RecordedJournalError as Error, id::raw_id, listing::Listing};
use crate::{
    engine::words::show,
    protocol::{MessageType, ProtocolVersion},
    wire::{Awaited, Msg},
};

/// The version of this format.
const FORMAT: u32 = 1;

/// Looked at before anything else.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    server: Option<String>,
    invocation: Invocation,
    #[serde(default)]
    state: Option<Vec<StateEntry>>,
    journal: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
struct Invocation {
    id: String,
    service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    handler: String,
    protocol_version: u32,
    /// As text, since many tools lose the last digits of a large number.
    random_seed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit_key: Option<String>,
    status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    awaits: Option<Awaits>,
}

#[derive(Deserialize, Serialize)]
struct Awaits {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    completions: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named_signals: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct StateEntry {
    key: String,
    value: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    entry: String,
    raw: String,
    #[serde(default)]
    text: String,
}

pub(super) fn read(text: &str) -> Result<RecordedJournal, Error> {
    let Version { format } = serde_json::from_str(text).map_err(Error::Malformed)?;
    if format != FORMAT {
        return Err(Error::Format { format });
    }
    let document: Document = serde_json::from_str(text).map_err(Error::Malformed)?;
    let invocation = document.invocation;
    let wrong = |what: String| Error::Field { what };
    let raw_id = raw_id(&invocation.id)
        .ok_or_else(|| wrong(format!("`{}` is no invocation id", invocation.id)))?;
    let number = invocation.protocol_version;
    let version = version(number).ok_or(Error::Protocol { version: number })?;
    let seed = invocation.random_seed.parse();
    let seed = seed.map_err(|error| wrong(format!("random_seed: {error}")))?;
    let bytes = |what: &dyn Fn() -> String, text: &str| match BASE64_STANDARD.decode(text) {
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) => Err(wrong(format!("{}: {error}", what()))),
    };
    let state = document.state.map(|entries| {
        let entries = entries.into_iter().map(|entry| {
            let value = bytes(&|| format!("state `{}`", entry.key), &entry.value)?;
            Ok((entry.key, value))
        });
        entries.collect::<Result<Vec<_>, Error>>()
    });
    let entries = document.journal.iter().enumerate().map(|(at, entry)| {
        let ty = entry_type(&entry.entry);
        let ty = ty.ok_or_else(|| wrong(format!("entry {at}: no `{}` is known", entry.entry)))?;
        Ok(Msg::raw(ty, bytes(&|| format!("entry {at}"), &entry.raw)?))
    });
    let entries = entries.collect::<Result<Vec<_>, Error>>()?;
    if entries
        .first()
        .is_none_or(|first| first.ty != MessageType::INPUT)
    {
        return Err(wrong("a journal begins with `Command: Input`".to_owned()));
    }
    Ok(RecordedJournal {
        server: document.server,
        id: invocation.id,
        raw_id,
        service: invocation.service,
        key: invocation.key,
        handler: invocation.handler,
        version,
        seed,
        idempotency_key: invocation.idempotency_key,
        scope: invocation.scope,
        limit_key: invocation.limit_key,
        status: invocation.status,
        awaits: invocation.awaits.map(|awaits| Awaited {
            completions: awaits.completions,
            signals: awaits.signals,
            named: awaits.named_signals,
        }),
        state: state.transpose()?,
        entries,
    })
}

pub(super) fn write(journal: &RecordedJournal) -> String {
    let invocation = Invocation {
        id: journal.id.clone(),
        service: journal.service.clone(),
        key: journal.key.clone(),
        handler: journal.handler.clone(),
        protocol_version: journal.version.number(),
        random_seed: journal.seed.to_string(),
        idempotency_key: journal.idempotency_key.clone(),
        scope: journal.scope.clone(),
        limit_key: journal.limit_key.clone(),
        status: journal.status.clone(),
        awaits: journal.awaits.as_ref().map(|awaited| Awaits {
            completions: awaited.completions.clone(),
            signals: awaited.signals.clone(),
            named_signals: awaited.named.clone(),
        }),
    };
    let mut out = format!("{{\n  \"format\": {FORMAT},\n");
    if let Some(server) = &journal.server {
        let _ = writeln!(out, "  \"server\": {},", json(server));
    }
    let _ = writeln!(out, "  \"invocation\": {},", pretty(&invocation));
    if let Some(state) = &journal.state {
        let lines = state.iter().map(|(key, value)| {
            json(&StateEntry {
                key: key.clone(),
                value: BASE64_STANDARD.encode(value),
                text: show(value),
            })
        });
        let _ = writeln!(out, "  \"state\": {},", list(lines));
    }
    let listing = Listing::of(journal);
    let lines = journal
        .entries
        .iter()
        .zip(listing.lines())
        .map(|(entry, line)| {
            json(&Entry {
                entry: entry_name(entry.ty),
                raw: BASE64_STANDARD.encode(&entry.payload),
                text: line.text.clone(),
            })
        });
    let _ = writeln!(out, "  \"journal\": {}\n}}", list(lines));
    out
}

/// What is serialized here is text and numbers, which always works.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Indented as a field; text in JSON has no line breaks of its own.
fn pretty(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.replace('\n', "\n  ")
}

/// An array with a line an element.
fn list(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<_> = lines.map(|line| format!("\n    {line}")).collect();
    if lines.is_empty() {
        return "[]".to_owned();
    }
    format!("[{}\n  ]", lines.join(","))
}

pub(super) fn version(number: u32) -> Option<ProtocolVersion> {
    let mut known = ProtocolVersion::ALL.into_iter();
    known.find(|version| version.number() == number)
}

/// The name of an entry, as the server's table `sys_journal` has it in `entry_type`.
fn entry_name(ty: MessageType) -> String {
    let name = ty.name().unwrap_or_default();
    if ty.is_command() {
        return format!("Command: {name}");
    }
    let bare = name.strip_suffix("Completion");
    let bare = bare.or_else(|| name.strip_suffix("Notification"));
    format!("Notification: {}", bare.unwrap_or(name))
}

/// The type of an entry by that name.
pub(super) fn entry_type(name: &str) -> Option<MessageType> {
    let commands = MessageType::INPUT.0..=MessageType::COMPLETE_AWAKEABLE.0;
    let completions = MessageType::LAZY_STATE_COMPLETION.0..=MessageType::OUTPUT_COMPLETION.0;
    let mut all = commands
        .chain(completions)
        .chain([MessageType::SIGNAL.0])
        .map(MessageType);
    all.find(|ty| ty.name().is_some() && entry_name(*ty) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_names_of_the_servers_table() {
        for (ty, name) in [
            (MessageType::INPUT, "Command: Input"),
            (
                MessageType::GET_EAGER_STATE_KEYS,
                "Command: GetEagerStateKeys",
            ),
            (MessageType::ONE_WAY_CALL, "Command: OneWayCall"),
            (
                MessageType::LAZY_STATE_COMPLETION,
                "Notification: GetLazyState",
            ),
            (
                MessageType::CALL_INVOCATION_ID,
                "Notification: CallInvocationId",
            ),
            (MessageType::CALL_COMPLETION, "Notification: Call"),
            (
                MessageType::OUTPUT_COMPLETION,
                "Notification: GetInvocationOutput",
            ),
            (MessageType::SIGNAL, "Notification: Signal"),
        ] {
            assert_eq!(entry_name(ty), name);
            assert_eq!(entry_type(name), Some(ty));
        }
        assert_eq!(entry_type("Notification: "), None);
        assert_eq!(entry_type("Command: Start"), None);
    }
}
