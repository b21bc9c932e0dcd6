//! Looking at invocations: those that are live, in memory, and those that have ended, on disk.

use super::{
    archive::{ReadError, Reader},
    handle::{Handle, Stopped},
};
use crate::engine::invocation::{Index, Invocation};

/// How many of those that have ended are looked at for one page, at most.
const LOOKED_AT: usize = 20_000;

/// How many are read at a time.
const CHUNK: usize = 500;

/// What a page shows.
pub(crate) struct Filter {
    /// Only invocations that are older than this one.
    pub(crate) before: Option<Index>,
    pub(crate) limit: usize,
    /// Which of them.
    pub(crate) matches: Box<dyn Fn(&Invocation) -> bool + Send + Sync>,
}

/// Invocations by their numbers, newest first.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Of those that have ended, without their records.
    pub(crate) invocations: Vec<(Index, Invocation)>,
    /// Where the next page begins, if there may be more.
    pub(crate) next: Option<Index>,
}

impl Handle {
    /// An invocation with all its records.
    pub(crate) async fn look(&self, id: &str) -> Result<Option<Invocation>, Stopped> {
        let id = id.to_owned();
        let found = self.ask_core(move |core| {
            let index = core.engine.find(&id)?;
            let invocation = core.engine.invocations[index].clone();
            let reader = invocation.is_over().then(|| core.reader.clone());
            Some((index, invocation, reader))
        });
        let Some((index, mut invocation, reader)) = found.await? else {
            return Ok(None);
        };
        if let Some(reader) = reader {
            invocation.records = read(move || reader.records(index)).await?;
        }
        Ok(Some(invocation))
    }

    /// Invocations, newest first.
    pub(crate) async fn page(&self, filter: Filter) -> Result<Page, Stopped> {
        let Filter {
            before,
            limit,
            matches,
        } = filter;
        let asked = self.ask_core(move |core| {
            let older = core.engine.invocations.iter().rev();
            let older = older.filter(|(index, _)| before.is_none_or(|before| *index < before));
            let live = older.filter(|(_, one)| !one.is_over() && matches(one));
            // One more than wanted, to know whether there are more.
            let live = live.take(limit + 1);
            let live: Vec<_> = live.map(|(index, one)| (index, one.clone())).collect();
            (live, core.reader.clone(), matches)
        });
        let (mut found, reader, matches) = asked.await?;
        let ended = read(move || ended(&reader, before, limit + 1, &*matches)).await?;
        let (ended, searched_to) = ended;
        // One that ended between the two looks is seen twice.
        found.retain(|(index, _)| ended.iter().all(|(other, _)| other != index));
        found.extend(ended);
        found.sort_unstable_by_key(|(index, _)| std::cmp::Reverse(*index));
        let mut next = searched_to;
        if let Some(to) = searched_to {
            // Beyond that it was not searched.
            found.retain(|(index, _)| *index >= to);
        }
        if found.len() > limit {
            found.truncate(limit);
            next = found.last().map(|(index, _)| *index);
        }
        Ok(Page {
            invocations: found,
            next,
        })
    }
}

/// Those that have ended, newest first; and where the search broke off.
#[allow(clippy::type_complexity, reason = "two things that belong together")]
fn ended(
    reader: &Reader,
    mut before: Option<Index>,
    wanted: usize,
    matches: &(dyn Fn(&Invocation) -> bool + Send + Sync),
) -> Result<(Vec<(Index, Invocation)>, Option<Index>), ReadError> {
    let mut found = Vec::new();
    for _ in 0..LOOKED_AT / CHUNK {
        let chunk = reader.newest_ended(before, CHUNK)?;
        let is_last = chunk.len() < CHUNK;
        for (index, status) in chunk {
            before = Some(index);
            if let Some(invocation) = reader.read(index, status, Vec::new())?
                && matches(&invocation)
            {
                found.push((index, invocation));
                if found.len() == wanted {
                    return Ok((found, None));
                }
            }
        }
        if is_last {
            return Ok((found, None));
        }
    }
    Ok((found, before))
}

/// Reads where it may take a while.
async fn read<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Stopped> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| Stopped(error.to_string().into()))?;
    read.map_err(|error| Stopped(error.to_string().into()))
}
