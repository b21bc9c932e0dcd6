//! Looking at invocations, services and state.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    filter::{Filter, MOST, Part},
    journal::Journal,
    row::Row,
};
use crate::{
    engine::{
        catalog::{Catalog, HandlerType, ServiceType},
        invocation::Index,
    },
    local::{
        handle::{Handle, Stopped},
        look,
    },
};

/// How much state one answer has, in bytes.
const STATE: usize = 4 << 20;

/// Some invocations.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    invocations: Vec<Row>,
    /// What `before` is for the rest, if there may be more.
    next: Option<Index>,
}

pub(super) async fn list(handle: &Handle, filter: Filter) -> Result<Listed, Stopped> {
    let filter = look::Filter {
        before: filter.before,
        limit: filter.limit,
        ended: filter.statuses.is_empty() || filter.statuses.contains(&"completed"),
        matches: Box::new(move |invocation| filter.admits(invocation)),
    };
    let page = handle.page(filter, Row::of).await?;
    Ok(Listed {
        invocations: page.invocations,
        next: page.next,
    })
}

/// An invocation with its journal.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    journal: Journal,
}

pub(super) async fn one(handle: &Handle, id: &str, part: Part) -> Result<Option<Whole>, Stopped> {
    let show = move |invocation: &_, catalog: &_| Whole {
        row: Row::of(invocation, catalog),
        journal: Journal::of(invocation, part),
    };
    handle.look(id, show).await
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
