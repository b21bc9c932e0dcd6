//! Looking at invocations, services and state. What is live is asked of the engine, what has ended is read from disk.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    filter::{Filter, MOST, Part},
    journal::Journal,
    row::{Row, Types},
};
use crate::engine::{
    Engine,
    catalog::{Catalog, HandlerType, ServiceType},
    invocation::{Index, Invocation},
};

/// How many invocations one request looks at, here and there.
const LOOKS: usize = 10_000;
/// How many are read from disk at once.
const CHUNK: usize = 500;
/// How much state one answer has, in bytes.
const STATE: usize = 4 << 20;

/// The runtime does not run any more, for this reason.
#[derive(Clone, Debug)]
pub(crate) struct Stopped(pub(crate) Arc<str>);

/// What is looked at.
pub(crate) trait Runtime: Send + Sync {
    /// Runs `ask` on the engine; its answer comes once all that it changed is on disk.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Stopped>> + Send;

    /// At most so many that have ended and were made before one, newest first, without their records.
    fn ended(
        &self,
        before: Option<Index>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Index, Invocation)>, Stopped>> + Send;

    /// One that has ended, with its records.
    fn whole(
        &self,
        index: Index,
    ) -> impl Future<Output = Result<Option<Invocation>, Stopped>> + Send;
}

/// Some invocations.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    invocations: Vec<Row>,
    /// What `before` is for the rest, if there may be more.
    next: Option<Index>,
}

/// Rows, newest first, and down to where was looked, if not to the end.
#[derive(Default)]
struct Found {
    rows: BTreeMap<Index, Row>,
    reached: Option<Index>,
}

impl Found {
    /// One more than is asked for, to know whether there are more.
    fn is_enough(&self, filter: &Filter) -> bool {
        self.rows.len() > filter.limit
    }
}

pub(super) async fn list(runtime: &impl Runtime, filter: Filter) -> Result<Listed, Stopped> {
    let wanted = filter.clone();
    let (mut found, types) = runtime.ask(move |engine| live(engine, &wanted)).await?;
    let mut reached = found.reached;
    if filter.statuses.is_empty() || filter.statuses.contains(&"completed") {
        let ended = ended(runtime, &filter, &types).await?;
        // What was live a moment ago and has ended since is in both.
        found.rows.extend(ended.rows);
        reached = reached.max(ended.reached);
    }
    // Below the place that one of them has reached, there may be more.
    let mut rows = found.rows.into_iter().rev();
    let mut listed = Vec::new();
    let mut last = None;
    let mut next = None;
    for (index, row) in rows.by_ref() {
        if listed.len() == filter.limit {
            next = last;
            break;
        }
        if reached.is_some_and(|reached| index < reached) {
            break;
        }
        last = Some(index);
        listed.push(row);
    }
    Ok(Listed {
        invocations: listed,
        next: next.or(reached),
    })
}

/// What is in memory.
fn live(engine: &mut Engine, filter: &Filter) -> (Found, Types) {
    let services = engine.catalog.services();
    let types: Types = services
        .map(|(name, info)| (name.to_owned(), info.ty))
        .collect();
    let mut found = Found::default();
    let now = engine.now();
    let before = filter.before.unwrap_or(Index::MAX);
    let all = engine.invocations.before(before);
    for (looks, (index, invocation)) in all.enumerate() {
        if looks == LOOKS || found.is_enough(filter) {
            break;
        }
        found.reached = Some(index);
        let kept = !invocation.forgotten && !invocation.is_expired(now);
        if kept && filter.admits(invocation) {
            found.rows.insert(index, Row::of(invocation, &types));
        }
    }
    let first = engine.invocations.iter().next().map(|(index, _)| index);
    if found.reached == first {
        found.reached = None;
    }
    (found, types)
}

/// What is on disk.
async fn ended(runtime: &impl Runtime, filter: &Filter, types: &Types) -> Result<Found, Stopped> {
    let mut found = Found::default();
    let mut before = filter.before;
    for _ in 0..LOOKS / CHUNK {
        let some = runtime.ended(before, CHUNK).await?;
        let is_all = some.len() < CHUNK;
        for (index, invocation) in &some {
            before = Some(*index);
            if filter.admits(invocation) {
                found.rows.insert(*index, Row::of(invocation, types));
            }
            if found.is_enough(filter) {
                break;
            }
        }
        if found.is_enough(filter) {
            break;
        }
        if is_all {
            return Ok(found);
        }
    }
    found.reached = before;
    Ok(found)
}

/// An invocation with its journal.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    journal: Journal,
}

/// Who was found by an id.
enum One {
    Live(Box<Whole>),
    Ended(Index, Types),
}

pub(super) async fn one(
    runtime: &impl Runtime,
    id: String,
    part: Part,
) -> Result<Option<Whole>, Stopped> {
    let found = runtime.ask(move |engine| {
        let index = engine.find(&id)?;
        let services = engine.catalog.services();
        let types = services.map(|(name, info)| (name.to_owned(), info.ty));
        let types = types.collect();
        let invocation = &engine.invocations[index];
        Some(if invocation.is_over() && invocation.records.is_empty() {
            One::Ended(index, types)
        } else {
            One::Live(Box::new(whole(invocation, &types, part)))
        })
    });
    Ok(match found.await? {
        Some(One::Live(whole)) => Some(*whole),
        Some(One::Ended(index, types)) => {
            let invocation = runtime.whole(index).await?;
            invocation.map(|invocation| whole(&invocation, &types, part))
        }
        None => None,
    })
}

fn whole(invocation: &Invocation, types: &Types, part: Part) -> Whole {
    Whole {
        row: Row::of(invocation, types),
        journal: Journal::of(invocation, part),
    }
}

/// All services, as the server writes them, as far as it makes sense here.
pub(super) fn services(catalog: &Catalog) -> Vec<Value> {
    let all = catalog.services().map(|(name, service)| {
        let handlers = service.handlers.iter().map(|(name, handler)| {
            let mut entry = json!({"name": name, "public": !handler.private});
            let ty = match handler.ty {
                HandlerType::Free => None,
                HandlerType::Exclusive => Some("Exclusive"),
                HandlerType::Shared => Some("Shared"),
                HandlerType::Workflow => Some("Workflow"),
            };
            if let Some(ty) = ty {
                entry["ty"] = ty.into();
            }
            entry
        });
        let handlers: Vec<_> = handlers.collect();
        let ty = match service.ty {
            ServiceType::Service => "Service",
            ServiceType::Object => "VirtualObject",
            ServiceType::Workflow => "Workflow",
        };
        json!({"name": name, "ty": ty, "handlers": handlers})
    });
    all.collect()
}

/// State by its names: what is JSON as such, all else as base64.
pub(super) fn state(state: &BTreeMap<Bytes, Bytes>) -> Value {
    let (mut readable, mut opaque) = (Map::new(), Map::new());
    let mut size = 0;
    let mut left = state.iter();
    for (name, value) in left.by_ref().take(MOST) {
        let name = String::from_utf8_lossy(name).into_owned();
        match serde_json::from_slice(value) {
            Ok(value) => readable.insert(name, value),
            Err(_) => opaque.insert(name, BASE64_STANDARD.encode(value).into()),
        };
        size += value.len();
        if size > STATE {
            break;
        }
    }
    json!({"state": readable, "base64": opaque, "more": left.next().is_some()})
}
