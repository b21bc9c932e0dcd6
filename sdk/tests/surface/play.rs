//! A case as it plays on one backend: it asks, and what it sees is written down.
//!
//! In: requests. Out: lines that must be the same on every backend. All of an answer is in them, status,
//! headers and body, except what differs by nature: ids are numbered in the order in which they are seen,
//! times become distances from now, the date is left out.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::exchange::{Answer, Ask, Http, raw, raw_unanswered, shown};
use crate::services::noted;

/// Where the two may differ, and why.
pub(crate) const EXCEPTIONS: [(&str, &str); 4] = [
    (
        "the order of services",
        "the server lists them in the order of a hash table, which is another one at each start",
    ),
    (
        "scopes need no setting",
        "the server takes scopes only if they are enabled, and is compared with them enabled; the local \
         runtime always takes them",
    ),
    (
        "backtraces",
        "with RUST_BACKTRACE set, the server puts its own into what it says of bodies that it cannot read",
    ),
    (
        "idempotency keys that nobody gave",
        "the server makes one up for each request without one, which handlers see from version 7 of the \
         protocol on; no case asks handlers for theirs",
    ),
];

/// One case on one backend.
pub(crate) struct Play {
    pub(crate) address: SocketAddr,
    pub(crate) http: Http,
    /// The case and the version of HTTP: keys of cases are their own.
    tag: String,
    /// The same for each backend, for what handlers note in this process.
    backend: &'static str,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ids: Vec<String>,
}

impl Play {
    pub(crate) fn new(address: SocketAddr, http: Http, tag: String, backend: &'static str) -> Self {
        Self {
            address,
            http,
            tag,
            backend,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        let seen = self.seen.into_inner();
        seen.unwrap_or_else(PoisonError::into_inner).lines
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock(|seen| seen.lines.clone())
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key that no other case has.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// What a handler noted that was asked with [`Self::note`].
    pub(crate) async fn noted(&self, name: &str) -> String {
        let id = noted(&self.note(name)).await;
        self.lock(|seen| seen.ids.push(id.clone()));
        id
    }

    /// The name under which a handler shall note something.
    pub(crate) fn note(&self, name: &str) -> String {
        format!("{}-{}-{name}", self.tag, self.backend)
    }

    /// Makes a request, and sees the answer.
    pub(crate) async fn see(&self, ask: Ask) -> Answer {
        let label = ask.to_string();
        let mut answer = ask.send(self.address, self.http).await;
        between_seconds(&mut answer);
        self.saw(&label, &answer);
        answer
    }

    /// Makes a request in each millisecond around the turn of a second, and again around later ones, until the
    /// moment in an answer is a whole second, and sees that answer.
    pub(crate) async fn see_whole_second(&self, ask: Ask) {
        const SENDS: u64 = 100;
        // So long before the turn the first one goes out: nobody knows how long they take to arrive.
        for before in [50_u64, 120, 250].into_iter().cycle() {
            let millis = Timestamp::now().subsec_millisecond().clamp(0, 999) as u64;
            let first = Instant::now() + Duration::from_millis((2_000 - before - millis) % 1_000);
            let sends: Vec<_> = (0..SENDS)
                .map(|n| {
                    let (ask, address, http) = (ask.clone(), self.address, self.http);
                    tokio::spawn(async move {
                        tokio::time::sleep_until(first + Duration::from_millis(n)).await;
                        ask.send(address, http).await
                    })
                })
                .collect();
            let mut whole = None;
            for answer in sends {
                let answer = answer.await.unwrap();
                let body = shown(&answer.body);
                let (_, time, _) = around_moment(&body).unwrap();
                if time.parse::<Timestamp>().unwrap().subsec_nanosecond() == 0 {
                    whole = Some(answer);
                }
            }
            if let Some(answer) = whole {
                return self.saw(&ask.to_string(), &answer);
            }
        }
    }

    /// Makes a request whose answer is seen later, or never.
    pub(crate) fn begin(&self, ask: Ask) -> JoinHandle<Answer> {
        tokio::spawn(ask.send(self.address, self.http))
    }

    /// Sees what those are told who wait for the end of an invocation: `begin` lets them ask, and gives the request
    /// that brings the end about.
    ///
    /// Nobody tells when all of them have come in. But who comes after the end is told when the result expires: then
    /// it is all done anew, with more time, and at last what came is seen, whatever it is.
    pub(crate) async fn see_waiting(
        &self,
        begin: impl AsyncFn(u32) -> (Vec<JoinHandle<Answer>>, Ask),
    ) {
        const ROUNDS: u32 = 6;
        for round in 1..=ROUNDS {
            let (waiting, end) = begin(round).await;
            tokio::time::sleep(Duration::from_millis(150_u64 << round)).await;
            end.send(self.address, self.http).await;
            let mut answers = Vec::new();
            for answer in waiting {
                answers.push(answer.await.unwrap());
            }
            let is_late = |answer: &Answer| answer.headers.contains_key("idempotency-expires");
            if round == ROUNDS || !answers.iter().any(is_late) {
                for (n, answer) in answers.iter().enumerate() {
                    self.saw(&format!("waiting {n}"), answer);
                }
                return;
            }
        }
    }

    /// Makes a request, and sees the answer after a change that an exception allows.
    pub(crate) async fn see_but(
        &self,
        exception: &str,
        ask: Ask,
        same: impl FnOnce(&str) -> String,
    ) {
        assert!(EXCEPTIONS.iter().any(|(name, _)| *name == exception));
        let label = ask.to_string();
        let mut answer = ask.send(self.address, self.http).await;
        answer.body = same(&shown(&answer.body)).into();
        self.saw(&label, &answer);
    }

    /// Waits until an invocation has ended: what is told of its result depends on that.
    pub(crate) async fn ended(&self, id: &str) {
        for _ in 0..3000 {
            let ask = Ask::get(format!("/restate/output/{id}"));
            if ask.send(self.address, self.http).await.status != 470 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} does not end");
    }

    /// Sees bytes over HTTP/1.1 as they are, but for the date.
    pub(crate) async fn see_raw(&self, bytes: &[u8]) {
        let answer = raw(self.address, bytes).await;
        self.write_raw(&bytes.escape_ascii().to_string(), &shown(&answer));
    }

    /// Sees that such bytes are not answered, as there are more to come.
    pub(crate) async fn see_unanswered(&self, bytes: &[u8]) {
        let answer = raw_unanswered(self.address, bytes).await;
        self.write_raw(&bytes.escape_ascii().to_string(), &shown(&answer));
    }

    /// Writes down an answer of HTTP/1.1 as it came.
    pub(crate) fn write_raw(&self, asked: &str, text: &str) {
        let (head, body) = text.rsplit_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines: Vec<_> = (head.lines())
            .filter(|line| !line.starts_with("date: "))
            .collect();
        lines.sort_unstable();
        let head = lines.join(" | ");
        self.write(&format!("{asked} → {head} | {body}"));
    }

    /// Writes an answer down.
    pub(crate) fn saw(&self, label: &str, answer: &Answer) {
        let mut headers: Vec<_> = (answer.headers.iter())
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| {
                let value = shown(value.as_bytes());
                match name.as_str() {
                    "idempotency-expires" => format!("{name}: {}", distance(&value)),
                    _ => format!("{name}: {value}"),
                }
            })
            .collect();
        headers.sort_unstable();
        let (headers, body) = (headers.join("; "), with_distance(&shown(&answer.body)));
        self.write(&format!("{label} → {} [{headers}] {body}", answer.status));
    }

    fn write(&self, line: &str) {
        self.lock(|seen| {
            let line = numbered(&mut seen.ids, line);
            let line = line.replace(self.backend, "BACKEND");
            seen.lines.push(line);
        });
    }
}

/// Invocations' and awakeables' ids as numbers.
fn numbered(ids: &mut Vec<String>, line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest
        .find("inv_1")
        .into_iter()
        .chain(rest.find("sign_1"))
        .min()
    {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        let id = &rest[..end.unwrap_or(rest.len())];
        rest = &rest[id.len()..];
        let known = ids.iter().position(|known| id.starts_with(known));
        // Those that a case made up are the same everywhere, and too short or long.
        if known.is_none() && id.len() != 38 && id.len() != 44 {
            text.push_str(id);
            continue;
        }
        let number = known.unwrap_or_else(|| {
            ids.push(id.to_owned());
            ids.len() - 1
        });
        let kind = id.split('_').next().unwrap_or_default();
        // What a case puts behind an id is the same everywhere, too.
        let behind = &id[ids[number].len()..];
        text.push_str(&format!("{kind}#{number}{behind}"));
    }
    text + rest
}

/// How far away a moment is, and how it is written: to the minute, as the machine may be slow.
fn distance(text: &str) -> String {
    let Ok(moment) = text.parse::<Timestamp>() else {
        return format!("no moment: {text}");
    };
    let seconds = moment.as_second() - Timestamp::now().as_second();
    let minutes = (seconds + 30).div_euclid(60);
    let mut form: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect();
    // Whole seconds are written without a fraction.
    if let Some(at) = form.find(".###+") {
        form.replace_range(at..at + 4, "");
    }
    format!("in {minutes} min, as {form}")
}

/// What stands before the moment in the answer to a send.
const MOMENT: &str = "\"executionTime\":\"";

/// The moment in the answer to a send, and what stands before and behind it.
fn around_moment(body: &str) -> Option<(&str, &str, &str)> {
    let (before, after) = body.split_once(MOMENT)?;
    let (time, after) = after.split_once('"').unwrap_or((after, ""));
    Some((before, time, after))
}

/// A whole second is shorter than all others, and comes by chance: it is made one of them.
fn between_seconds(answer: &mut Answer) {
    let body = shown(&answer.body);
    let Some((before, time, after)) = around_moment(&body) else {
        return;
    };
    if time.contains('.') {
        return;
    }
    let time = time.replace('Z', ".000000000Z");
    let body = format!("{before}{MOMENT}{time}\"{after}");
    answer.headers.insert("content-length", body.len().into());
    answer.body = body.into();
}

/// The same for the moment in the answer to a send.
fn with_distance(body: &str) -> String {
    let Some((before, time, after)) = around_moment(body) else {
        return body.to_owned();
    };
    format!("{before}{MOMENT}{}\"{after}", distance(time))
}
