//! What becomes of a record whose invocation cannot succeed.
//!
//! In: a handler's erased function within its interceptors, and a [`KafkaPolicy`]. Out: a function that
//! does the same and, where the invocation would end with a terminal error, follows the policy. An
//! invocation without a record's headers (a call) is not touched.

use std::sync::Arc;

use bytes::Bytes;

use super::KafkaRecord;
use super::dead_letter::{self, DeadLetter};
use crate::context::{Context, FromAttempt, Target};
use crate::error::{Behavior, BoxError, HandlerError, RetryableError, TerminalError};
use crate::executor::AttemptHandle;
use crate::journal::AttemptError;
use crate::payload::{Headers, Input};
use crate::service::{HandlerDefinition, HandlerFn, HandlerKind};

/// What becomes of a Kafka record that a handler cannot decode, or finally fails on.
///
/// A record is not delivered again once its invocation has ended, also when it ended with a
/// [`TerminalError`](crate::TerminalError), and the runtime knows no dead-letter topic. So a handler
/// that must not lose records says where they go. Most write it on the handler:
///
/// ```
/// use durably::prelude::*;
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct OrderEvent;
/// struct Orders;
///
/// #[durably::object]
/// impl Orders {
///     /// What cannot be decoded, and what the handler fails on for good, goes to `DeadLetters/record`.
///     #[handler(kafka(dead_letter = "DeadLetters/record"))]
///     async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<OrderEvent>) -> HandlerResult<()> {
///         # let _ = (ctx, event);
///         Ok(())
///     }
///
///     /// Here the order of a key's events counts for more than that they flow: wait for a repair.
///     #[handler(kafka(on_decode_failure = "pause", on_terminal_failure = "pause"))]
///     async fn on_transfer(&self, ctx: &ObjectContext, event: KafkaEvent<OrderEvent>) -> HandlerResult<()> {
///         # let _ = (ctx, event);
///         Ok(())
///     }
/// }
/// ```
///
/// | option | values | without it |
/// | --- | --- | --- |
/// | `dead_letter` | `"Service/handler"`, or `"Object/key/handler"` | |
/// | `on_decode_failure` | `"fail"`, `"pause"`, `"dead_letter"` | `"dead_letter"` if one is named, else `"fail"` |
/// | `on_terminal_failure` | the same | the same |
///
/// A definition put together by hand takes it by [`HandlerDefinition::kafka`].
///
/// It lies around the handler's [interceptors](crate::Interceptor), wherever those were added: a record
/// that one of them refuses with a terminal error counts as failed, too.
///
/// The policy is for records alone: a caller gets the terminal error, a 400 for an input that cannot be
/// decoded. A record is told by its headers, `kafka.topic` before all, which a caller may send as well.
///
/// # Examples
///
/// ```
/// use durably::{KafkaPolicy, RecordFailure, Target};
///
/// // All that fails goes to the dead letters, but what cannot be decoded waits for a new deployment.
/// let policy = KafkaPolicy::dead_letter(Target::service("DeadLetters", "record"))
///     .on_decode_failure(RecordFailure::Pause);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to `HandlerDefinition::kafka`"]
pub struct KafkaPolicy {
    on_decode_failure: RecordFailure,
    on_terminal_failure: RecordFailure,
}

/// What happens instead of a terminal error, for a [`KafkaPolicy`].
///
/// # Examples
///
/// ```
/// use durably::{KafkaPolicy, RecordFailure};
///
/// let policy = KafkaPolicy::new().on_decode_failure(RecordFailure::Pause);
/// assert_ne!(policy, KafkaPolicy::new());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordFailure {
    /// The invocation ends with the terminal error, and the next record takes its turn.
    Fail,
    /// The attempt fails and asks the runtime to pause the invocation, as
    /// [`RetryableError::pause`](crate::RetryableError::pause) does: until somebody resumes it nothing
    /// is lost, and an object's later records wait. Before protocol v7 the runtime cannot be asked; it
    /// pauses the invocation once the attempts of its retry policy are used up (`retry(max_attempts = …)`
    /// on the handler makes that soon). Cancelling the invocation ends it, and the next record takes its
    /// turn.
    Pause,
    /// The record is sent to this handler, as a [`DeadLetter`](crate::DeadLetter), and the invocation
    /// ends without an error, with an empty output. The send is a step of the journal: it happens once. A
    /// record that came as a dead letter is not sent on: its invocation fails.
    DeadLetter(Target),
}

impl Default for KafkaPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl KafkaPolicy {
    /// The handler, with what this says in place of its terminal errors.
    pub(crate) fn around(self, handler: HandlerFn, kind: HandlerKind) -> HandlerFn {
        let policy = Arc::new(self);
        Arc::new(move |attempt: AttemptHandle, input: Input| {
            let Some(delivery) = Delivery::of(&input) else {
                return handler(attempt, input);
            };
            let handled = handler(attempt.clone(), input);
            let policy = Arc::clone(&policy);
            Box::pin(async move {
                match handled.await {
                    Ok(output) => Ok(output),
                    Err(error) => policy.apply(attempt, kind, delivery, error),
                }
            })
        })
    }

    /// The policy of a handler without one: the invocation fails.
    ///
    /// # Examples
    ///
    /// See [`RecordFailure`].
    pub fn new() -> Self {
        Self {
            on_decode_failure: RecordFailure::Fail,
            on_terminal_failure: RecordFailure::Fail,
        }
    }

    /// Sends records to this handler, both those that cannot be decoded and those that the handler fails
    /// on.
    ///
    /// # Examples
    ///
    /// See [`KafkaPolicy`].
    pub fn dead_letter(handler: Target) -> Self {
        Self {
            on_decode_failure: RecordFailure::DeadLetter(handler.clone()),
            on_terminal_failure: RecordFailure::DeadLetter(handler),
        }
    }

    /// What becomes of a record whose value, or whose headers' content, the handler's input refuses.
    ///
    /// # Examples
    ///
    /// See [`KafkaPolicy`].
    pub fn on_decode_failure(mut self, then: RecordFailure) -> Self {
        self.on_decode_failure = then;
        self
    }

    /// What becomes of a record for which the handler, or an interceptor around it, returns a terminal
    /// error, also as a cancelled handler does.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{KafkaPolicy, RecordFailure, Target};
    ///
    /// let rejected = RecordFailure::DeadLetter(Target::object("DeadLetters", "orders", "record"));
    /// let policy = KafkaPolicy::new().on_terminal_failure(rejected);
    /// # let _ = policy;
    /// ```
    pub fn on_terminal_failure(mut self, then: RecordFailure) -> Self {
        self.on_terminal_failure = then;
        self
    }
}

impl HandlerDefinition {
    /// What becomes of a Kafka record that the handler cannot decode, or finally fails on; without it, the
    /// invocation fails. The policy that is set last counts. See [`KafkaPolicy`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use durably::{HandlerDefinition, HandlerKind, KafkaPolicy, Target};
    ///
    /// let handler = HandlerDefinition::new(
    ///     HandlerKind::Service,
    ///     "on_event",
    ///     Arc::new(|_attempt, input| Box::pin(async move { Ok(input.body().clone()) })),
    /// )
    /// .kafka(KafkaPolicy::dead_letter(Target::service("DeadLetters", "record")));
    /// # let _ = handler;
    /// ```
    #[must_use]
    pub fn kafka(mut self, policy: KafkaPolicy) -> Self {
        self.kafka = Some(policy);
        self
    }
}

/// A record as it was delivered, kept while the handler runs. The body is shared, not copied.
struct Delivery {
    record: KafkaRecord,
    body: Bytes,
    /// It has been through a handler before, and came from there.
    dead: bool,
}

impl Delivery {
    /// Headers that make no sense are not a record's: the runtime writes none such.
    fn of(input: &Input) -> Option<Self> {
        let headers: &Headers = input.headers();
        Some(Self {
            record: KafkaRecord::from_headers(headers).ok()??,
            body: input.body().clone(),
            dead: dead_letter::is_one(headers),
        })
    }
}

impl KafkaPolicy {
    fn apply(
        &self,
        attempt: AttemptHandle,
        kind: HandlerKind,
        delivery: Delivery,
        error: HandlerError,
    ) -> Result<Bytes, HandlerError> {
        let Some(terminal) = error.as_terminal() else {
            return Err(error);
        };
        let undecodable = error.is_decode_failure();
        let then = if undecodable {
            &self.on_decode_failure
        } else {
            &self.on_terminal_failure
        };
        let ctx = Context::from_attempt(attempt);
        let Delivery { record, body, dead } = delivery;
        let KafkaRecord {
            topic,
            partition,
            offset,
            ..
        } = &record;
        match then {
            RecordFailure::Fail => Err(error),
            // Somebody has decided to go on without it. (The code 409 alone says nothing: it is also that
            // of any conflict.)
            RecordFailure::Pause if ctx.cell().is_cancel_pending() && !terminal.is_cancelled() => {
                Err(TerminalError::new("cancelled").with_code(409).into())
            }
            RecordFailure::Pause if was_cancelled(&ctx) => Err(error),
            RecordFailure::Pause => {
                let message = format!(
                    "the Kafka record at offset {offset} of {topic}, partition {partition}, waits for \
                     a repair (resume the invocation once a handler is deployed that takes the record, \
                     or cancel it to go on without)",
                );
                if undecodable {
                    // What the decoder says may quote the record: the runtime is told, and no log. The
                    // attempt ends with this in place of the error below.
                    let mut fault = AttemptError::internal(message.clone());
                    fault.behavior = Behavior::Pause;
                    let quoting: BoxError = terminal.message().into();
                    ctx.cell().fault(fault.quoting(&quoting));
                }
                let error = RetryableError::new(format!("{message}: {terminal}"));
                Err(error.pause().into())
            }
            // Two handlers that name each other would keep it going for ever.
            RecordFailure::DeadLetter(_) if dead => Err(error),
            RecordFailure::DeadLetter(target) => {
                tracing::info!(
                    topic,
                    partition,
                    offset,
                    code = terminal.code(),
                    // What a decoder says may quote the record.
                    error = (!undecodable).then_some(terminal.message()),
                    "a Kafka record is handed to {target}",
                );
                let (service, handler) =
                    (ctx.service_name().to_owned(), ctx.handler_name().to_owned());
                let letter = DeadLetter {
                    value: body,
                    handler: match kind {
                        HandlerKind::Service => Target::service(service, handler),
                        HandlerKind::Exclusive | HandlerKind::Shared | HandlerKind::Workflow => {
                            Target::object(service, &*ctx.cell().info().key, handler)
                        }
                    },
                    invocation_id: ctx.invocation_id().to_owned(),
                    error: terminal.clone(),
                    undecodable,
                    record,
                };
                dead_letter::send(&ctx, target, &letter);
                Ok(Bytes::new())
            }
        }
    }
}

/// Whether somebody has cancelled the invocation, at whatever time.
fn was_cancelled(ctx: &Context) -> bool {
    ctx.cell().lock().journal.notifications.has_cancel()
}
