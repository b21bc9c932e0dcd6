//! Which invocations are listed: the query of `GET /invocations`, read.

use crate::engine::invocation::{Index, Invocation, Status};

/// The most rows, or journal entries, of one answer.
pub(crate) const MOST: usize = 1000;
const DEFAULT: usize = 100;

/// Which invocations, and how many; newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Any of them; none: all.
    pub(crate) statuses: Vec<&'static str>,
    pub(crate) service: Option<String>,
    pub(crate) handler: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) limit: usize,
    /// Only those that were made before this one.
    pub(crate) before: Option<Index>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            service: None,
            handler: None,
            key: None,
            scope: None,
            limit: DEFAULT,
            before: None,
        }
    }
}

const STATUSES: [&str; 7] = [
    "pending",
    "scheduled",
    "running",
    "suspended",
    "backing-off",
    "paused",
    "completed",
];

/// As the server's table `sys_invocation` writes it.
pub(crate) fn status_name(status: &Status) -> &'static str {
    match status {
        Status::Scheduled(_) => "scheduled",
        Status::Queued => "pending",
        Status::Running(_) => "running",
        Status::Suspended(_) => "suspended",
        Status::BackingOff(_) => "backing-off",
        Status::Paused => "paused",
        Status::Completed(_) => "completed",
    }
}

impl Filter {
    pub(crate) fn read(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, value) in pairs(query)? {
            match &*name {
                "status" => {
                    for wanted in value.split(',').filter(|wanted| !wanted.is_empty()) {
                        let known = STATUSES.iter().find(|known| **known == wanted);
                        let known = known.ok_or_else(|| {
                            format!(
                                "status: there is no {:?}, only {}",
                                shortened(wanted),
                                STATUSES.join(", ")
                            )
                        })?;
                        filter.statuses.push(known);
                    }
                }
                "service" => filter.service = Some(value),
                "handler" => filter.handler = Some(value),
                "key" => filter.key = Some(value),
                "scope" => filter.scope = Some(value),
                "limit" => filter.limit = number(&name, &value, 1, MOST)?,
                "before" => filter.before = Some(number(&name, &value, 0, usize::MAX)?),
                _ => return Err(unknown(&name)),
            }
        }
        Ok(filter)
    }

    pub(crate) fn admits(&self, invocation: &Invocation) -> bool {
        let is =
            |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
        is(&self.service, Some(&invocation.service))
            && is(&self.handler, Some(&invocation.handler))
            && is(&self.key, invocation.key.as_deref())
            && is(&self.scope, invocation.scope.as_deref())
            && (self.statuses.is_empty()
                || self.statuses.contains(&status_name(&invocation.status)))
    }
}

/// Which part of a journal is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: usize,
    pub(super) limit: usize,
}

impl Part {
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let mut part = Self {
            from: 0,
            limit: MOST,
        };
        for (name, value) in pairs(query)? {
            match &*name {
                "from" => part.from = number(&name, &value, 0, usize::MAX)?,
                "limit" => part.limit = number(&name, &value, 0, MOST)?,
                _ => return Err(unknown(&name)),
            }
        }
        Ok(part)
    }
}

pub(super) fn unknown(name: &str) -> String {
    format!("there is no parameter {:?}", shortened(name))
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn number(name: &str, value: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| value.parse().ok());
    match number.flatten() {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ if most == usize::MAX => Err(format!("{name}: {:?} is no number", shortened(value))),
        _ => Err(format!(
            "{name}: {:?} is no number from {least} to {most}",
            shortened(value)
        )),
    }
}

/// The names and values of a query.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                unescape(&text.replace('+', " "))
                    .ok_or_else(|| format!("{:?} is wrongly encoded", shortened(pair)))
            };
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Text without its `%` escapes.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let digit = |byte: Option<u8>| {
                char::from(byte?)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            digit(bytes.next())? << 4 | digit(bytes.next())?
        } else {
            byte
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        assert_eq!(Filter::read(""), Ok(Filter::default()));
        assert_eq!(
            Filter::read(
                "status=running,paused&service=S&handler=h&key=a%2Fb+%C3%A4&scope=s&limit=1000&before=7&status="
            ),
            Ok(Filter {
                statuses: vec!["running", "paused"],
                service: Some("S".into()),
                handler: Some("h".into()),
                key: Some("a/b ä".into()),
                scope: Some("s".into()),
                limit: 1000,
                before: Some(7),
            })
        );
        assert_eq!(Part::read("from=3&limit=0"), Ok(Part { from: 3, limit: 0 }));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (query, says) in [
            (
                "status=done",
                "status: there is no \"done\", only pending, scheduled, running, suspended, backing-off, paused, completed",
            ),
            ("limit=0", "limit: \"0\" is no number from 1 to 1000"),
            ("limit=1001", "limit: \"1001\" is no number from 1 to 1000"),
            ("limit=+5", "limit: \" 5\" is no number from 1 to 1000"),
            ("limit", "limit: \"\" is no number from 1 to 1000"),
            ("before=-1", "before: \"-1\" is no number"),
            (
                "before=99999999999999999999999",
                "before: \"99999999999999999999999\" is no number",
            ),
            ("key=%zz", "\"key=%zz\" is wrongly encoded"),
            ("key=%f", "\"key=%f\" is wrongly encoded"),
            ("key=%ff", "\"key=%ff\" is wrongly encoded"),
            ("sort=up", "there is no parameter \"sort\""),
        ] {
            assert_eq!(Filter::read(query).unwrap_err(), says, "{query}");
        }
        assert!(Part::read("from=x").is_err());
        assert!(Part::read("limit=1001").is_err());
    }
}
