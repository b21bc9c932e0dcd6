//! An engine whose past lies elsewhere: live invocations are in memory, those that have ended are fetched
//! when somebody asks for them, and let go again.

use std::{collections::HashMap, fmt::Debug};

use super::{
    Engine,
    catalog::HandlerType,
    invocation::{CallerId, Index, Invocation, Status, Waiter, What},
    keyed::{Keyed, KeyedId},
    submit::IdempotencyKey,
    timers::Timer,
};
use crate::{
    protocol::message::{NotificationId, NotificationResult},
    wire::CommandMessage,
};

/// What is not in memory.
pub(crate) trait Archive: Debug + Send + Sync {
    /// An invocation that has ended, without its records.
    fn invocation(&self, by: Lookup<'_>) -> Option<(Index, Invocation)>;
    /// What is kept of an object or workflow: state, promises, and the run.
    fn keyed(&self, id: &KeyedId) -> Keyed;
}

/// What may leave memory.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    invocations: Vec<Index>,
    /// Of objects and workflows.
    places: Vec<usize>,
}

impl Leaving {
    pub(crate) fn is_empty(&self) -> bool {
        self.invocations.is_empty() && self.places.is_empty()
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.invocations.append(&mut other.invocations);
        self.places.append(&mut other.places);
    }
}

/// By what an invocation is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup<'a> {
    Index(Index),
    Id(&'a str),
    IdempotencyKey(&'a IdempotencyKey),
}

impl Engine {
    /// From now on, what has ended is looked for there. Invocations are numbered from `next`. Of ids
    /// and random seeds as many count as drawn: there were never more invocations, so none comes twice.
    pub(crate) fn attach_archive(&mut self, archive: Box<dyn Archive>, next: Index) {
        self.archive = Some(archive);
        self.invocations.start_at(next);
        self.made = next as u64;
    }

    pub(crate) fn fetch(&mut self, by: Lookup<'_>) -> Option<Index> {
        let (index, invocation) = self.archive.as_ref()?.invocation(by)?;
        match self.invocations.get(index) {
            // The archive does not know it yet.
            Some(known) if known.forgotten => return None,
            Some(_) => {}
            None => {
                self.insert(index, invocation);
                self.leave(index);
            }
        }
        Some(index)
    }

    fn insert(&mut self, index: Index, mut invocation: Invocation) {
        // What has ended is of no interest to its object, and its state is not read for it; a workflow
        // goes with its run.
        let keyed = match invocation.is_over() {
            true => invocation.run_of(),
            false => invocation.keyed_id(),
        };
        invocation.place = keyed.map(|id| self.place_unchecked(&id));
        if let Some(place) = invocation.place {
            self.keyed[place].users += 1;
        }
        self.by_id.insert(invocation.id.clone(), index);
        self.by_raw.insert(invocation.raw, index);
        if let Some(key) = invocation.idempotent() {
            self.by_idempotency_key.insert(key, index);
        }
        self.invocations.insert(index, invocation);
    }

    pub(super) fn leave(&mut self, index: Index) {
        if self.archive.is_some() {
            self.leaving.invocations.push(index);
            *self.held.entry(index).or_default() += 1;
        }
    }

    /// The object or workflow may leave memory unless an invocation needs it, once what is known of it now is
    /// written.
    pub(super) fn leave_place(&mut self, place: usize) {
        if self.archive.is_some() {
            self.leaving.places.push(place);
            *self.held_places.entry(place).or_default() += 1;
        }
    }

    /// Nobody waits for this outcome any more.
    pub(crate) fn stop_waiting(&mut self, index: Index, caller: CallerId) {
        if let Some(invocation) = self.invocations.get_mut(index) {
            let gone = Waiter::Outside(caller);
            invocation.waiters.retain(|waiter| *waiter != gone);
        }
    }

    /// What may leave memory, once everything that is known of it is written.
    pub(crate) fn take_leaving(&mut self) -> Leaving {
        std::mem::take(&mut self.leaving)
    }

    /// Lets go of invocations that have ended, and of the objects that nobody else uses. Each must be
    /// evicted as often as it was told to be leaving: what is written of it later is not in the archive yet.
    pub(crate) fn evict(&mut self, leaving: Leaving) {
        if self.archive.is_none() {
            return;
        }
        let mut places = leaving.places;
        places.retain(|place| release(&mut self.held_places, *place));
        for index in leaving.invocations {
            if !release(&mut self.held, index) {
                continue;
            }
            let ended = self.invocations.get(index);
            if !ended.is_some_and(|one| one.is_over() || one.forgotten) {
                continue;
            }
            let Some(invocation) = self.invocations.remove(index) else {
                continue;
            };
            // Something made again meanwhile has the same id and keys.
            if self.by_id.get(&invocation.id) == Some(&index) {
                self.by_id.remove(&invocation.id);
            }
            if self.by_raw.get(&invocation.raw) == Some(&index) {
                self.by_raw.remove(&invocation.raw);
            }
            if let Some(key) = invocation.idempotent()
                && self.by_idempotency_key.get(&key) == Some(&index)
            {
                self.by_idempotency_key.remove(&key);
            }
            if let Some(place) = invocation.place {
                self.keyed[place].users -= 1;
                places.push(place);
            }
        }
        for place in places {
            if !self.held_places.contains_key(&place)
                && self.keyed.get(place).is_some_and(|keyed| keyed.users == 0)
                && let Some(keyed) = self.keyed.remove(place)
            {
                self.places.remove(&keyed.id);
            }
        }
    }

    /// Puts back invocations that are live, with their records, as they stood. Attempts that ran begin
    /// anew; what fell due meanwhile is due at once.
    pub(crate) fn restore(&mut self, live: Vec<(Index, Invocation)>) {
        let mut indices = Vec::with_capacity(live.len());
        for (index, invocation) in live {
            indices.push(index);
            self.insert(index, invocation);
        }
        self.restore_turns(&indices);
        for &index in &indices {
            self.restore_waits(index);
        }
        for index in indices {
            match self.invocations[index].status {
                Status::Scheduled(at) => self.timers.add(at, Timer::Begin(index)),
                Status::BackingOff(at) => self.timers.add(at, Timer::Retry(index)),
                // Its attempt ended with the process.
                Status::Running(_) => self.begin(index),
                _ => {}
            }
        }
    }

    /// Who has its turn at its key, and who waits for it.
    fn restore_turns(&mut self, indices: &[Index]) {
        let mut queued = Vec::new();
        for &index in indices {
            let invocation = &self.invocations[index];
            let (Some(place), HandlerType::Exclusive | HandlerType::Workflow) =
                (invocation.place, invocation.info.ty)
            else {
                continue;
            };
            match invocation.status {
                Status::Scheduled(_) => {}
                Status::Queued => queued.push((invocation.turn, place, index)),
                _ => self.keyed[place].running = Some(index),
            }
        }
        queued.sort_unstable();
        for (turn, place, index) in queued {
            self.turns = self.turns.max(turn + 1);
            self.keyed[place].queue.push_back(index);
        }
    }

    /// What the commands of an invocation still wait for.
    fn restore_waits(&mut self, index: Index) {
        let invocation = &self.invocations[index];
        let mut known = HashMap::new();
        let mut children = Vec::new();
        for record in &invocation.records {
            let What::Notification(_, notification) = &record.what else {
                continue;
            };
            if let Some(NotificationId::Completion(id)) = notification.id {
                known.insert(id, notification.result.clone());
            }
            if let Some(NotificationResult::InvocationId(id)) = &notification.result
                && let Ok(id) = std::str::from_utf8(id)
            {
                children.extend(self.by_id.get(id).copied());
            }
        }
        let commands = invocation.records.iter();
        let commands = commands.filter_map(|record| match &record.what {
            What::Command(_, command) => waits_of(command).map(|id| (id, command.clone())),
            _ => None,
        });
        let open: Vec<_> = commands.filter(|(id, _)| !known.contains_key(id)).collect();
        self.invocations[index].children = children;
        for (completion, command) in open {
            let target = match *command {
                CommandMessage::Sleep(sleep) => {
                    let timer = Timer::Sleep(index, completion);
                    self.timers.add(sleep.wake_up_time, timer);
                    continue;
                }
                CommandMessage::GetPromise(read) => {
                    if let Some(place) = self.invocations[index].place {
                        let promise = self.keyed[place].promises.entry(read.key).or_default();
                        promise.waiters.push((index, completion));
                    }
                    continue;
                }
                CommandMessage::Call(call) => match known.get(&call.invocation) {
                    Some(Some(NotificationResult::InvocationId(id))) => std::str::from_utf8(id)
                        .ok()
                        .and_then(|id| self.by_id.get(id).copied())
                        .map(|target| (target, true)),
                    _ => None,
                },
                CommandMessage::Attach(attach) => self.found(attach).map(|target| (target, false)),
                _ => None,
            };
            // One that has ended has told its waiters in the same commit.
            if let Some((target, is_call)) = target
                && !self.invocations[target].is_over()
            {
                self.invocations[target].waiters.push(Waiter::Invocation {
                    index,
                    completion,
                    is_call,
                });
            }
        }
    }
}

/// Counts a hold less, and says whether that was the last.
fn release(held: &mut HashMap<usize, u32>, number: usize) -> bool {
    if let Some(times) = held.get_mut(&number) {
        *times -= 1;
        if *times > 0 {
            return false;
        }
        held.remove(&number);
    }
    true
}

/// The completion of a command that may be long in coming.
fn waits_of(command: &CommandMessage) -> Option<u32> {
    match command {
        CommandMessage::Sleep(sleep) => Some(sleep.result),
        CommandMessage::GetPromise(read) => Some(read.result),
        CommandMessage::Call(call) => Some(call.result),
        CommandMessage::Attach(attach) => Some(attach.result),
        _ => None,
    }
}
