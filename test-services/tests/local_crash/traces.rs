//! What must be found outside of the journal in the end, and in the diary.
//!
//! In: what the jobs have asked for and been told. Out: problems.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt, fs,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    ledger::CUT_OFF,
    load::{Driver, decode},
    world::World,
};

/// How many closures of what was stopped may still note something after that was told: the one that executes is let
/// come to its end, and for the next its result would have to be stored.
const AFTERMATH: usize = 1;

/// What the jobs expect. When something was told is how long the diary was then: it only grows, and all processes
/// have the same.
pub(crate) struct Traces {
    expected: Mutex<Expected>,
    diary: PathBuf,
}

#[derive(Default)]
struct Expected {
    /// By token: all its steps in their order, and when its end was told.
    acknowledged: HashMap<String, (Vec<String>, usize)>,
    /// By token: when it was told that it goes on no longer.
    stopped: HashMap<String, usize>,
    tallies: BTreeMap<String, RangeInclusive<i64>>,
    accounts: BTreeMap<String, i64>,
    perhaps: u64,
    latest: i64,
}

/// A line of the diary.
struct Note<'a> {
    /// Its place in the diary.
    at: usize,
    process: &'a str,
    step: &'a str,
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
    pub(crate) latest: i64,
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
    pub(crate) fn of(world: &World) -> Self {
        Self {
            expected: Mutex::default(),
            diary: world.diary_path(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> usize {
        let length = fs::metadata(&self.diary).unwrap().len();
        length.try_into().unwrap()
    }

    /// It was told that this has ended well: by now its steps were carried out, and never will be again.
    pub(crate) fn acknowledged(&self, token: &str, steps: &[&str]) {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        let entry = (steps, self.now());
        self.lock().acknowledged.insert(token.to_owned(), entry);
    }

    /// It was told that this goes on no longer.
    pub(crate) fn stopped(&self, token: &str) {
        let now = self.now();
        self.lock().stopped.insert(token.to_owned(), now);
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

    pub(crate) fn late(&self, millis: i64) {
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
        let mut by_token: BTreeMap<&str, Vec<Note<'_>>> = BTreeMap::new();
        let mut end = 0;
        for line in diary.split_inclusive('\n') {
            let at = end;
            end += line.len();
            let line = line.trim_end_matches('\n');
            // Its closure did not return: it counts as not executed.
            if line.ends_with(CUT_OFF) {
                continue;
            }
            let mut parts = line.split(' ');
            let (Some(process), Some(Ok(_)), Some(token), Some(step), None) = (
                parts.next(),
                parts.next().map(str::parse::<u64>),
                parts.next(),
                parts.next(),
                parts.next(),
            ) else {
                problems.push(format!("the diary has the line {line:?}"));
                continue;
            };
            found.notes += 1;
            let note = Note { at, process, step };
            by_token.entry(token).or_default().push(note);
        }
        for (token, notes) in &by_token {
            let mut executed = HashSet::new();
            let mut steps: Vec<&str> = Vec::new();
            for Note { process, step, .. } in notes {
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
            let after = |told: usize| notes.iter().filter(|note| note.at >= told).count();
            if let Some((due, told)) = expected.acknowledged.get(*token) {
                if steps != *due {
                    problems.push(format!("{token} executed {steps:?}, not {due:?}"));
                }
                if after(*told) > 0 {
                    problems.push(format!("{token} went on after its end was told"));
                }
            }
            if let Some(told) = expected.stopped.get(*token)
                && after(*told) > AFTERMATH
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
