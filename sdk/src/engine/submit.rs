//! Requests for invocations: checked, found to be one that is known, or stored and put in line.

use bytes::Bytes;

use super::{
    Engine,
    catalog::{HandlerInfo, HandlerType, ServiceType},
    changes::Change,
    failure,
    ids::invocation_id,
    invocation::{Index, Invocation, Status, Waiter},
    keyed::KeyedId,
    paging::Lookup,
    timers::Timer,
};
use crate::protocol::message::Failure;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client: private handlers are out of bounds, and the body must be what the handler takes.
    Outside,
    /// A record.
    Kafka,
    Handler(Index),
}

/// A request for an invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Submission {
    pub(crate) service: String,
    pub(crate) handler: String,
    pub(crate) key: Option<String>,
    pub(crate) input: Bytes,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) limit_key: Option<String>,
    /// Not before this time; 0: now.
    pub(crate) invoke_time: u64,
    /// The subscription that it came by.
    pub(crate) source: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) index: Index,
    /// It is one that was there: of the same idempotency key, or the run of the same workflow.
    pub(crate) already: bool,
}

/// Service, key, handler, idempotency key, scope.
pub(crate) type IdempotencyKey = (String, Option<String>, String, String, Option<String>);

/// What an invocation is found by, if it was requested with an idempotency key.
pub(super) fn idempotent(
    service: &str,
    key: Option<&str>,
    handler: &str,
    idempotency_key: Option<&str>,
    scope: Option<&str>,
) -> Option<IdempotencyKey> {
    Some((
        service.to_owned(),
        key.map(str::to_owned),
        handler.to_owned(),
        idempotency_key?.to_owned(),
        scope.map(str::to_owned),
    ))
}

impl Engine {
    /// Accepts a request. The failure is what the server answers.
    pub(crate) fn submit(
        &mut self,
        submission: Submission,
        origin: Origin,
    ) -> Result<Submitted, Failure> {
        let info = self.check(&submission, origin)?;
        let (service, scope) = (&submission.service, submission.scope.as_deref());
        let keyed = submission.key.as_deref();
        let keyed = keyed.map(|key| KeyedId::new(service, key, scope));
        let place = keyed.map(|id| self.place(&id));
        if let Some(place) = place
            && info.ty == HandlerType::Workflow
            && let Some(run) = self.keyed(place).run
        {
            let (index, already) = (run, true);
            return Ok(Submitted { index, already });
        }
        let by_key = submission.idempotency_key.is_some() || info.ty == HandlerType::Workflow;
        let idempotency_key = idempotent(
            &submission.service,
            submission.key.as_deref(),
            &submission.handler,
            submission.idempotency_key.as_deref(),
            submission.scope.as_deref(),
        );
        if let Some(key) = &idempotency_key
            && let Some(index) = self.find_idempotent(key)
        {
            let already = true;
            return Ok(Submitted { index, already });
        }
        let index = self.invocations.next();
        if let Some(place) = place
            && info.ty == HandlerType::Workflow
        {
            self.keyed_mut(place).run = Some(index);
        }
        if let Some(key) = idempotency_key {
            self.by_idempotency_key.insert(key, index);
        }
        let mut rng = self.rng_of(&submission, origin, by_key);
        let raw = self.new_raw_id(&mut rng, by_key, index);
        let id = invocation_id(&raw);
        self.by_id.insert(id.clone(), index);
        self.by_raw.insert(raw, index);
        let seed = rng.next_u64();
        let now = self.now();
        if let Some(place) = place {
            self.keyed_mut(place).users += 1;
        }
        self.invocations.push(Invocation {
            id,
            raw,
            seed,
            service: submission.service,
            handler: submission.handler,
            key: submission.key,
            info,
            input: submission.input,
            headers: submission.headers,
            idempotency_key: submission.idempotency_key,
            scope: submission.scope,
            limit_key: submission.limit_key,
            place,
            status: Status::Scheduled(submission.invoke_time),
            records: Vec::new(),
            created_at: now,
            completed_at: 0,
            attempts: 0,
            output: None,
            failures: 0,
            retries: 0,
            stored_at: now,
            children: Vec::new(),
            made: 0,
            waiters: Vec::new(),
            last_error: None,
            forgotten: false,
            turn: 0,
            source: submission.source,
        });
        self.changed(|| Change::Created(index));
        self.touch(index);
        if submission.invoke_time > now {
            self.timers.add(submission.invoke_time, Timer::Begin(index));
        } else {
            self.enqueue(index);
        }
        Ok(Submitted {
            index,
            already: false,
        })
    }

    fn check(&self, submission: &Submission, origin: Origin) -> Result<HandlerInfo, Failure> {
        let Submission {
            service, handler, ..
        } = submission;
        // What is answered has the server's words, except about keys: of those it says only that there is
        // no such path.
        let Some(known) = self.catalog.service(service) else {
            return Err(failure(
                404,
                format!(
                    "service '{service}' not found, make sure to register the service before calling it."
                ),
            ));
        };
        let Some(info) = known.handlers.get(handler) else {
            return Err(failure(
                404,
                format!(
                    "the service '{service}' exists, but the handler '{handler}' was not found, check that \
                     the handler exists in the latest registered service version."
                ),
            ));
        };
        match (known.ty, &submission.key) {
            (ServiceType::Service, Some(_)) => {
                return Err(failure(
                    400,
                    format!("'{service}' is a plain service: a request to it has no key"),
                ));
            }
            (ServiceType::Object | ServiceType::Workflow, None) => {
                return Err(failure(
                    400,
                    format!("'{service}' has keys: a request to it needs one"),
                ));
            }
            _ => {}
        }
        if origin == Origin::Outside {
            if info.private {
                return Err(failure(400, "the invoked service is not public"));
            }
            if info.ty == HandlerType::Workflow && submission.idempotency_key.is_some() {
                return Err(failure(
                    400,
                    "cannot use the idempotency key with workflow handlers. The handler invocation will \
                     already be idempotent by the workflow key itself.",
                ));
            }
            check_input(info, submission)?;
        }
        if submission.limit_key.is_some() && submission.scope.is_none() {
            return Err(failure(400, "a limit key requires a scope"));
        }
        Ok(info.clone())
    }

    /// The invocation of an idempotency key, as long as it is kept.
    pub(crate) fn find_idempotent(&mut self, key: &IdempotencyKey) -> Option<Index> {
        let known = self.by_idempotency_key.get(key).copied();
        let index = known.or_else(|| self.fetch(Lookup::IdempotencyKey(key)))?;
        if self.invocations[index].is_expired(self.now()) {
            self.forget(index);
            return None;
        }
        Some(index)
    }

    /// Begins, or waits for its turn.
    pub(super) fn enqueue(&mut self, index: Index) {
        let invocation = &self.invocations[index];
        let begins = match (invocation.place, invocation.info.ty) {
            (Some(place), HandlerType::Exclusive | HandlerType::Workflow) => {
                self.take_turn(place, index)
            }
            _ => true,
        };
        if begins {
            self.begin(index);
        } else {
            let turn = self.turns;
            self.turns += 1;
            let invocation = &mut self.invocations[index];
            invocation.status = Status::Queued;
            invocation.turn = turn;
            self.touch(index);
        }
    }

    /// Registers somebody for the outcome; who comes late is told at once.
    pub(crate) fn wait_for(&mut self, index: Index, waiter: Waiter) {
        let outcome = match &self.invocations[index].status {
            Status::Completed(outcome) => outcome.clone(),
            _ => {
                let mut waiters = std::mem::take(&mut self.invocations[index].waiters);
                add_waiter(&mut waiters, waiter, |waiter| match waiter {
                    Waiter::Outside(_) => true,
                    Waiter::Invocation { index, .. } => self.is_live(*index),
                });
                self.invocations[index].waiters = waiters;
                return;
            }
        };
        self.tell_outcome(waiter, &outcome);
    }
}

/// Adds one that waits. Where there is no room left, those that have ended meanwhile make it.
pub(super) fn add_waiter<T>(waiters: &mut Vec<T>, waiter: T, waits: impl FnMut(&T) -> bool) {
    if waiters.len() == waiters.capacity() {
        waiters.retain(waits);
    }
    waiters.push(waiter);
}

/// Whether a handler takes the input of a client. Without a content type it has the right one, if there
/// is an input at all.
fn check_input(info: &HandlerInfo, submission: &Submission) -> Result<(), Failure> {
    let headers = submission.headers.iter();
    let mut given = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let given = given.next().map(|(_, value)| value.as_str());
    let refused = |reason: &str| Err(failure(400, format!("input validation error: {reason}")));
    let is_empty = submission.input.is_empty();
    match given {
        None if is_empty && info.input_required => return refused("Empty content-type"),
        None => return Ok(()),
        Some(given) => {
            if let Err(why) = info.check_type(given) {
                return refused(&why);
            }
            // Only what has a schema is looked at.
            if is_empty && info.input_schema && info.expected_type() != "*/*" {
                return refused("Empty body not allowed");
            }
        }
    }
    Ok(())
}
