//! What the services say afterwards, compared with the ledger.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use durably::test_server::IngressRequest;
use futures::future::BoxFuture;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::task::JoinSet;

use super::{Answer, Asked, Ledger, Submitted};
use crate::{
    load::{Driver, decode},
    random::Random,
};

/// How many requests of each sort are made once more.
const ASKED_AGAIN: usize = 1_000;

/// How many questions are open at the same time.
const AT_ONCE: usize = 24;

/// Compares what the services hold now with the ledger, and asks again what was asked before. Gives
/// the problems, and how many requests were made again.
pub(crate) async fn check(
    driver: &Arc<Driver>,
    ledger: &mut Ledger,
    random: &mut Random,
) -> (Vec<String>, usize) {
    let mut problems = std::mem::take(&mut ledger.problems);
    chains(ledger, &mut problems);
    problems.extend(put(questions(driver, ledger)).await);

    // Each key gives the answer that it gave before.
    let mut again: Vec<Question> = Vec::new();
    for Asked { request, answer } in some(&mut ledger.asked, random) {
        again.push(question(driver, request, move |now| {
            (*now != answer).then(|| format!("gave {answer:?} before, and now {now:?}"))
        }));
    }
    for Submitted { request, id } in some(&mut ledger.submitted, random) {
        let driver = Arc::clone(driver);
        again.push(Box::pin(async move {
            match driver.send_again(&request).await {
                Ok((now, true)) if now == id => None,
                now => Some(format!("{request:?} was {id}, and again {now:?}")),
            }
        }));
    }
    for (id, answer) in some(&mut ledger.attached, random) {
        let driver = Arc::clone(driver);
        again.push(Box::pin(async move {
            match driver.attach(&id).await {
                Ok(now) if now == answer => None,
                now => Some(format!("{id} was {answer:?}, and again {now:?}")),
            }
        }));
    }
    let asked_again = again.len();
    problems.extend(put(again).await);
    (problems, asked_again)
}

/// As many of them as there is time for.
fn some<T>(all: &mut Vec<T>, random: &mut Random) -> Vec<T> {
    while all.len() > ASKED_AGAIN {
        let place = random.index(all.len());
        all.swap_remove(place);
    }
    std::mem::take(all)
}

/// The additions to a counter, each from an old value to a new one, must form one chain from 0 to the
/// sum: then each took effect once, and each answer was true.
fn chains(ledger: &mut Ledger, problems: &mut Vec<String>) {
    for (counter, additions) in &mut ledger.additions {
        additions.sort_unstable();
        let mut value = 0;
        for (old, new) in additions {
            if *old != value {
                problems.push(format!(
                    "{counter}: an addition starts at {old}, not at {value}"
                ));
            }
            value = *new;
        }
        let due = ledger.counters.get(counter).copied().unwrap_or_default();
        if value != due {
            problems.push(format!(
                "{counter}: the additions end at {value}, not at {due}"
            ));
        }
    }
}

/// Finds out something, and gives what is wrong with it.
type Question = BoxFuture<'static, Option<String>>;

fn question(
    driver: &Arc<Driver>,
    request: IngressRequest,
    judge: impl FnOnce(&Answer) -> Option<String> + Send + 'static,
) -> Question {
    let driver = Arc::clone(driver);
    Box::pin(async move {
        match driver.answer(&request).await {
            Ok(answer) => judge(&answer).map(|wrong| format!("{request:?} {wrong}")),
            Err(stuck) => Some(format!("{stuck:?}")),
        }
    })
}

/// A question whose answer must be this value, put in some form.
fn due<T, U>(
    driver: &Arc<Driver>,
    request: IngressRequest,
    form: impl FnOnce(T) -> U + Send + 'static,
    due: U,
) -> Question
where
    T: DeserializeOwned,
    U: PartialEq + Debug + Send + 'static,
{
    question(driver, request, move |answer| {
        match decode(answer).map(form) {
            Some(found) if found == due => None,
            Some(found) => Some(format!("gave {found:?}, not {due:?}")),
            None => Some(format!("gave {answer:?}, not {due:?}")),
        }
    })
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    value: String,
}

/// All that the services hold. (Nothing that is asked here is counted in the ledger.)
fn questions(driver: &Arc<Driver>, ledger: &Ledger) -> Vec<Question> {
    let object =
        |service: &str, key: &str, handler: &str| driver.ingress.object(service, key, handler);
    let mut questions = Vec::new();
    for (counter, sum) in &ledger.counters {
        let request = object("Counter", counter, "get");
        questions.push(due(driver, request, |sum: i64| sum, *sum));
    }
    for (list, items) in &ledger.lists {
        let sorted = |mut items: Vec<String>| {
            items.sort_unstable();
            items
        };
        let request = object("ListObject", list, "get");
        questions.push(due(driver, request, sorted, sorted(items.clone())));
    }
    for (list, items) in &ledger.ordered_lists {
        let request = object("ListObject", list, "get");
        let as_it_is = |items: Vec<String>| items;
        questions.push(due(driver, request, as_it_is, items.clone()));
    }
    for (map, entries) in &ledger.maps {
        let collected = |entries: Vec<Entry>| -> BTreeMap<_, _> {
            let entries = entries.into_iter();
            entries.map(|entry| (entry.key, entry.value)).collect()
        };
        // It empties the map: if it has to be asked twice, it must give the same.
        let request = object("MapObject", map, "clearAll").idempotency_key(&format!("clear-{map}"));
        questions.push(due(driver, request, collected, entries.clone()));
    }
    for (program, results) in &ledger.programs {
        let request = object("VirtualObjectCommandInterpreter", program, "getResults");
        let as_it_is = |results: Vec<String>| results;
        questions.push(due(driver, request, as_it_is, results.clone()));
    }
    for (workflow, input) in &ledger.workflows {
        let request = object("BlockAndWaitWorkflow", workflow, "getState");
        let as_it_is = |state: Option<String>| state;
        questions.push(due(driver, request, as_it_is, Some(input.clone())));
    }
    questions
}

/// Puts questions, some at a time, and gives what is wrong.
async fn put(questions: Vec<Question>) -> Vec<String> {
    let mut open = JoinSet::new();
    let mut wrong = Vec::new();
    for question in questions {
        while open.len() >= AT_ONCE {
            let answered = open.join_next().await.unwrap();
            wrong.extend(answered.unwrap());
        }
        open.spawn(question);
    }
    wrong.extend(open.join_all().await.into_iter().flatten());
    wrong
}
