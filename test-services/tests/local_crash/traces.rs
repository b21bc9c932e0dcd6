//! What must be found outside of the journal in the end, and in the diary.
//!
//! In: what the jobs have asked for and been told. Out: problems.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::services::now;
use crate::load::{Driver, decode};

/// How long an attempt may be at work after its end was told: a closure that executes is let come to its end.
const AFTERMATH: u64 = 1_000;

/// What the jobs expect.
#[derive(Default)]
pub(crate) struct Traces(Mutex<Expected>);

#[derive(Default)]
struct Expected {
    /// By token: all its steps in their order, and when its end was told.
    acknowledged: HashMap<String, (Vec<String>, u64)>,
    /// By token: when it was told that it goes on no longer.
    stopped: HashMap<String, u64>,
    tallies: BTreeMap<String, RangeInclusive<i64>>,
    accounts: BTreeMap<String, i64>,
    perhaps: u64,
    latest: u64,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) notes: usize,
    /// Closures that were executed again by a later process, as they must when their result was not stored.
    pub(crate) again: usize,
    pub(crate) tallies: usize,
    /// Requests without a key whose answer did not come.
    pub(crate) perhaps: u64,
    /// The longest that anybody overslept, in milliseconds.
    pub(crate) latest: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            notes,
            again,
            tallies,
            perhaps,
            latest,
        } = self;
        write!(
            f,
            "notes {notes} ({again} of what was executed again), tallies {tallies}, without a key and an answer {perhaps}, \
             overslept at most {latest} ms"
        )
    }
}

impl Traces {
    fn lock(&self) -> MutexGuard<'_, Expected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was told that this has ended well: by now its steps were carried out, and never will be again.
    pub(crate) fn acknowledged(&self, token: &str, steps: &[&str]) {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        let entry = (steps, now());
        self.lock().acknowledged.insert(token.to_owned(), entry);
    }

    pub(crate) fn stopped(&self, token: &str, at: u64) {
        self.lock().stopped.insert(token.to_owned(), at);
    }

    pub(crate) fn tally(&self, token: &str, sum: RangeInclusive<i64>) {
        self.lock().tallies.insert(token.to_owned(), sum);
    }

    pub(crate) fn moved(&self, account: &str, amount: i64) {
        *self.lock().accounts.entry(account.to_owned()).or_default() += amount;
    }

    pub(crate) fn perhaps(&self) {
        self.lock().perhaps += 1;
    }

    pub(crate) fn late(&self, millis: u64) {
        let mut expected = self.lock();
        expected.latest = expected.latest.max(millis);
    }

    /// Compares all that was expected with the diary, and with what the objects hold.
    pub(crate) async fn check(&self, driver: &Driver, diary: &str) -> (Vec<String>, Found) {
        let (mut problems, mut found) = self.read(diary);
        let (tallies, accounts) = {
            let expected = self.lock();
            (expected.tallies.clone(), expected.accounts.clone())
        };
        found.tallies = tallies.len();
        let exactly = |(name, sum)| (name, RangeInclusive::new(sum, sum));
        let accounts = accounts.into_iter().map(exactly);
        let tallies = tallies.into_iter().map(|due| ("Tally", due));
        for (service, (key, due)) in tallies.chain(accounts.map(|due| ("Account", due))) {
            let request = driver.ingress.object(service, &key, "get");
            match driver.answer(&request).await {
                Ok(answer) if decode(&answer).is_some_and(|sum| due.contains(&sum)) => {}
                other => problems.push(format!("{service}/{key} holds {other:?}, not {due:?}")),
            }
        }
        (problems, found)
    }

    /// What the diary says.
    fn read(&self, diary: &str) -> (Vec<String>, Found) {
        let expected = self.lock();
        let mut problems = Vec::new();
        let mut found = Found {
            perhaps: expected.perhaps,
            latest: expected.latest,
            ..Found::default()
        };
        let mut by_token: BTreeMap<&str, Vec<(&str, u64, &str)>> = BTreeMap::new();
        for line in diary.lines() {
            let mut parts = line.split(' ');
            let (Some(process), Some(at), Some(token), Some(step), None) = (
                parts.next(),
                parts.next().and_then(|at| at.parse().ok()),
                parts.next(),
                parts.next(),
                parts.next(),
            ) else {
                problems.push(format!("the diary has the line {line:?}"));
                continue;
            };
            found.notes += 1;
            by_token.entry(token).or_default().push((process, at, step));
        }
        for (token, notes) in &by_token {
            let mut executed = HashSet::new();
            let mut steps: Vec<&str> = Vec::new();
            for (process, _, step) in notes {
                if !executed.insert((process, step)) {
                    problems.push(format!("one process executed {step} of {token} twice"));
                }
                // What comes after a step was begun when that step's result was stored.
                match steps.iter().position(|known| known == step) {
                    None => steps.push(step),
                    Some(place) if place + 1 == steps.len() => found.again += 1,
                    Some(place) => problems.push(format!(
                        "{step} of {token} was executed again after {}",
                        steps[place + 1]
                    )),
                }
            }
            let last = notes.last().map_or(0, |(_, at, _)| *at);
            if let Some((due, told)) = expected.acknowledged.get(*token) {
                if steps != *due {
                    problems.push(format!("{token} executed {steps:?}, not {due:?}"));
                }
                if last > *told {
                    problems.push(format!("{token} went on after its end was told"));
                }
            }
            if let Some(stopped) = expected.stopped.get(*token)
                && last > stopped + AFTERMATH
            {
                problems.push(format!("{token} went on although it was stopped"));
            }
        }
        let silent = expected.acknowledged.keys();
        let silent = silent.filter(|token| !by_token.contains_key(token.as_str()));
        problems.extend(silent.map(|token| format!("{token} was acknowledged, and not executed")));
        (problems, found)
    }
}
