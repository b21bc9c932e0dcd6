//! Looking at invocations: those that are live, in memory, and those that have ended, on disk.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    archive::{ReadError, Reader},
    core::Core,
    handle::{Handle, Stopped},
};
use crate::engine::{
    catalog::Catalog,
    invocation::{Index, Invocation},
};

/// How many invocations are looked at for one page, at most: in memory, where the engine waits meanwhile, and on disk.
const IN_MEMORY: usize = 10_000;
const ON_DISK: usize = 20_000;

/// How many are read at a time.
const CHUNK: usize = 500;

/// What a page shows.
pub(crate) struct Filter {
    /// Only invocations that are older than this one.
    pub(crate) before: Option<Index>,
    pub(crate) limit: usize,
    /// Whether those that have ended are of interest at all.
    pub(crate) ended: bool,
    /// Which of them.
    pub(crate) matches: Box<dyn Fn(&Invocation) -> bool + Send + Sync>,
}

/// What is shown of invocations, newest first.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) invocations: Vec<T>,
    /// Where the next page begins, if there may be more.
    pub(crate) next: Option<Index>,
}

/// Some invocations, and down to where was searched, if not to the end.
struct Found<T> {
    shown: BTreeMap<Index, T>,
    searched_to: Option<Index>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self {
            shown: BTreeMap::new(),
            searched_to: None,
        }
    }
}

impl Handle {
    /// What `show` makes of an invocation with all its records.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        id: &str,
        show: impl Fn(&Invocation, &Catalog) -> T + Send + Sync + 'static,
    ) -> Result<Option<T>, Stopped> {
        enum One<T> {
            Shown(T),
            Ended(Index, Reader),
        }
        let (id, show) = (id.to_owned(), Arc::new(show));
        let live = show.clone();
        let found = self.ask_core(move |core| {
            let index = core.engine.find(&id)?;
            let invocation = &core.engine.invocations[index];
            Some(if invocation.is_over() {
                One::Ended(index, core.reader.clone())
            } else {
                One::Shown(live(invocation, &core.engine.catalog))
            })
        });
        let (index, reader) = match found.await? {
            None => return Ok(None),
            Some(One::Shown(shown)) => return Ok(Some(shown)),
            Some(One::Ended(index, reader)) => (index, reader),
        };
        read(move || {
            let invocation = reader.ended(index, reader.records(index)?)?;
            Ok(invocation.map(|invocation| show(&invocation, reader.catalog())))
        })
        .await
    }

    /// What `show` makes of invocations, newest first; those that have ended come without their records.
    pub(crate) async fn page<T: Send + 'static>(
        &self,
        filter: Filter,
        show: impl Fn(&Invocation, &Catalog) -> T + Send + Sync + 'static,
    ) -> Result<Page<T>, Stopped> {
        let limit = filter.limit;
        let asked = self.ask_core(move |core| {
            let live = live(core, &filter, &show);
            (live, core.reader.clone(), core.engine.now(), filter, show)
        });
        let (mut found, reader, now, filter, show) = asked.await?;
        if filter.ended {
            let ended = read(move || ended(&reader, &filter, now, &show)).await?;
            // What ended between the two looks is seen twice.
            found.shown.extend(ended.shown);
            found.searched_to = found.searched_to.max(ended.searched_to);
        }
        // Below where one of them was not searched, something may be missing.
        let mut next = found.searched_to;
        let known = found.shown.split_off(&next.unwrap_or(0));
        let (mut invocations, mut last) = (Vec::new(), None);
        for (index, shown) in known.into_iter().rev() {
            if invocations.len() == limit {
                next = last;
                break;
            }
            invocations.push(shown);
            last = Some(index);
        }
        Ok(Page { invocations, next })
    }
}

/// Those that are live.
fn live<T>(core: &Core, filter: &Filter, show: &impl Fn(&Invocation, &Catalog) -> T) -> Found<T> {
    let mut found = Found::default();
    let before = filter.before.unwrap_or(Index::MAX);
    for (looked, (index, one)) in core.engine.invocations.before(before).enumerate() {
        // One more than wanted, to know whether there are more.
        if looked == IN_MEMORY || found.shown.len() > filter.limit {
            return found;
        }
        found.searched_to = Some(index);
        if !one.is_over() && (filter.matches)(one) {
            found.shown.insert(index, show(one, &core.engine.catalog));
        }
    }
    found.searched_to = None;
    found
}

/// Those that have ended.
fn ended<T>(
    reader: &Reader,
    filter: &Filter,
    now: u64,
    show: &impl Fn(&Invocation, &Catalog) -> T,
) -> Result<Found<T>, ReadError> {
    let mut found = Found::default();
    let mut before = filter.before;
    let mut left = ON_DISK;
    while left > 0 {
        let chunk = reader.newest_ended(before, CHUNK.min(left))?;
        if chunk.is_empty() {
            return Ok(found);
        }
        left -= chunk.len();
        for (index, status) in chunk {
            before = Some(index);
            if let Some(one) = reader.read(index, status, Vec::new())?
                && !one.is_expired(now)
                && (filter.matches)(&one)
            {
                found.shown.insert(index, show(&one, reader.catalog()));
            }
            if found.shown.len() > filter.limit {
                found.searched_to = before;
                return Ok(found);
            }
        }
    }
    found.searched_to = before;
    Ok(found)
}

/// Reads where it may take a while.
async fn read<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Stopped> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| Stopped(error.to_string().into()))?;
    read.map_err(|error| Stopped(error.to_string().into()))
}
