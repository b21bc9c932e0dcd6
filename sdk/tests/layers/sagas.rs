//! Sagas: what is undone, when, in which order, and that it survives.

use std::time::Duration;

use durably::{
    Saga,
    prelude::*,
    testing::{FailureKind, MockContext, TestRuntime, service},
};

use crate::{Log, in_all_modes};

/// How the last step ends.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum End {
    Well,
    Refused,
    /// The first attempt fails retryably.
    Flaky,
    /// Waits until it is cancelled.
    Waits,
}

struct Trips {
    log: Log,
}

#[durably::service]
impl Trips {
    /// Three steps, each undone by a run and a sleep.
    #[handler]
    async fn book(&self, ctx: &Context, end: End) -> HandlerResult<String> {
        let what = "trip".to_owned();
        let saga = ctx.saga();
        let booked = saga
            .scope(async {
                for name in ["flight", "hotel"] {
                    let id = ctx
                        .run("book", async || {
                            self.log.add(format!("book {name} for the {what}"));
                            HandlerResult::Ok(name.len())
                        })
                        .await?;
                    saga.undo(move || self.cancel(ctx, name, id));
                }
                self.pay(ctx, &saga, end).await?;
                Ok(what.clone())
            })
            .await?;
        Ok(booked)
    }

    /// Awaits an undo that was created before another was, in the order of the undo steps.
    #[handler]
    async fn calls(&self, ctx: &Context) -> HandlerResult<()> {
        let saga = ctx.saga();
        saga.scope(async {
            let client = ctx.service_client::<TripsClient>();
            saga.undo(move || client.note("first".to_owned()));
            let client = ctx.service_client::<TripsClient>();
            saga.undo(move || client.note("second".to_owned()).send());
            Err(TerminalError::new("no").with_code(418).into())
        })
        .await
    }

    #[handler]
    async fn note(&self, ctx: &Context, what: String) -> HandlerResult<()> {
        ctx.run("note", async || self.log.done(what)).await?;
        Ok(())
    }

    /// Undo steps that fail, terminally and retryably.
    #[handler]
    async fn stubborn(&self, ctx: &Context) -> HandlerResult<()> {
        let saga = ctx.saga();
        saga.scope(async {
            saga.undo(|| ctx.run("last", async || self.log.done("last")));
            saga.undo(|| async { Err::<(), _>(TerminalError::new("it has left")) });
            saga.undo(|| {
                ctx.run("flaky", async || {
                    self.log.add("flaky");
                    match self.log.0.lock().unwrap().len() {
                        1 => Err("not now"),
                        _ => Ok(()),
                    }
                })
            });
            Err(TerminalError::new("refused").with_code(418).into())
        })
        .await
    }

    #[handler]
    async fn reserve(&self, ctx: &Context, branches: u32) -> HandlerResult<()> {
        let saga = ctx.saga();
        saga.scope(async {
            let branches = (0..branches).map(async |branch| {
                ctx.sleep(Duration::from_secs(u64::from(10 - branch)))
                    .await?;
                saga.undo(move || {
                    ctx.run("undo", async move || {
                        self.log.done(format!("undo {branch}"))
                    })
                });
                Ok::<_, TerminalError>(())
            });
            futures::future::try_join_all(branches).await?;
            Err(TerminalError::new("no").into())
        })
        .await
    }
}

impl Trips {
    async fn cancel(&self, ctx: &Context, name: &str, id: usize) -> HandlerResult<()> {
        ctx.sleep(Duration::from_secs(60)).await?;
        ctx.run("cancel", async || {
            self.log.done(format!("cancel {name} {id}"))
        })
        .await?;
        Ok(())
    }

    async fn pay<'a>(&'a self, ctx: &'a Context, saga: &Saga<'a>, end: End) -> HandlerResult<()> {
        saga.undo(|| ctx.run("refund", async || self.log.done("refund")));
        let paid = ctx.run("pay", async || {
            self.log.add("pay");
            match end {
                End::Refused => Err(HandlerError::from(TerminalError::new("refused"))),
                End::Flaky if self.log.0.lock().unwrap().len() < 4 => Err("not now".into()),
                _ => Ok(()),
            }
        });
        paid.await?;
        if let End::Waits = end {
            ctx.signal::<()>("never").await?;
        }
        Ok(())
    }
}

fn trips(log: &Log) -> Endpoint {
    let log = log.clone();
    Endpoint::builder().bind(Trips { log }).build().unwrap()
}

const BOOKED: [&str; 3] = ["book flight for the trip", "book hotel for the trip", "pay"];
const UNDONE: [&str; 3] = ["refund", "cancel hotel 5", "cancel flight 6"];

fn client() -> TripsClient<&'static Context> {
    service::<TripsClient>()
}

#[test]
fn what_was_done_is_undone_in_reverse_order() {
    let log = Log::default();
    in_all_modes(
        || trips(&log),
        |runtime| {
            let error = runtime.call(client().book(End::Refused)).unwrap_err();
            assert_eq!(error.message(), "refused");
            assert_eq!(log.take(), [&BOOKED[..], &UNDONE[..]].concat());
        },
    );
}

#[test]
fn success_and_retryable_failures_undo_nothing() {
    let log = Log::default();
    in_all_modes(
        || trips(&log),
        |runtime| {
            assert_eq!(runtime.call(client().book(End::Well)).unwrap(), "trip");
            assert_eq!(log.take(), BOOKED);
            assert_eq!(runtime.call(client().book(End::Flaky)).unwrap(), "trip");
            assert_eq!(log.take(), [&BOOKED[..], &["pay"]].concat());
        },
    );
}

#[test]
fn a_cancellation_undoes_and_another_one_does_not_interrupt_that() {
    let log = Log::default();
    for version in [5, 6, 7] {
        for always_suspend in [false, true] {
            let builder = TestRuntime::builder(trips(&log))
                .protocol(version)
                .manual_time();
            let mut runtime = if always_suspend {
                builder.always_suspend()
            } else {
                builder
            }
            .build();
            let id = runtime.send(client().book(End::Waits)).unwrap();
            runtime.settle();
            assert_eq!(log.take(), BOOKED);
            runtime.cancel(&id).unwrap();
            runtime.settle();
            assert_eq!(log.take(), ["refund"]);
            // It waits a minute before it cancels the hotel.
            runtime.advance(Duration::from_secs(30));
            runtime.cancel(&id).unwrap();
            runtime.settle();
            assert_eq!(log.take(), [""; 0]);
            runtime.advance(Duration::from_secs(30));
            assert_eq!(log.take(), ["cancel hotel 5"]);
            runtime.cancel(&id).unwrap();
            runtime.advance(Duration::from_secs(60));
            assert_eq!(log.take(), ["cancel flight 6"]);
            let error = runtime.output::<String>(&id).unwrap_err();
            assert_eq!(error.code(), 409, "{error}");
        }
    }
}

#[test]
fn requests_undo_as_they_are() {
    let log = Log::default();
    in_all_modes(
        || trips(&log),
        |runtime| {
            let error = runtime.call(client().calls()).unwrap_err();
            assert_eq!(error.code(), 418);
            runtime.run_until_idle();
            let mut noted = log.take();
            noted.sort();
            assert_eq!(noted, ["first", "second"]);
        },
    );
}

#[test]
fn all_undo_steps_are_done_though_one_fails() {
    let log = Log::default();
    in_all_modes(
        || trips(&log),
        |runtime| {
            let error = runtime.call(client().stubborn()).unwrap_err();
            assert_eq!(log.take(), ["flaky", "flaky", "last"]);
            assert_eq!(error.code(), 418);
            assert!(error.message().contains("refused"), "{error}");
            assert!(error.message().contains("it has left"), "{error}");
        },
    );
}

#[test]
fn steps_of_concurrent_branches_are_undone_in_the_order_of_their_ends() {
    let log = Log::default();
    in_all_modes(
        || trips(&log),
        |runtime| {
            runtime.call(client().reserve(3)).unwrap_err();
            assert_eq!(log.take(), ["undo 0", "undo 1", "undo 2"]);
        },
    );
}

#[test]
fn a_mock_sees_the_undo_steps() {
    let trips = Trips {
        log: Log::default(),
    };
    let mock = MockContext::service();
    mock.run("pay").fails(TerminalError::new("no money"));
    let error = mock
        .call_blocking(async |ctx| trips.book(ctx, End::Well).await)
        .unwrap_err();
    assert_eq!(error.as_terminal().unwrap().message(), "no money");
    assert_eq!(trips.log.take()[2..], UNDONE);

    // Cancelled while it undoes.
    let mock = MockContext::service().manual_time();
    let mut running = mock.start(async |ctx| {
        let booked = trips.book(ctx, End::Waits).await;
        // The second cancellation has waited.
        assert!(ctx.signal::<()>("more").await.unwrap_err().is_cancelled());
        booked
    });
    running.cancel();
    running.cancel();
    running.advance(Duration::from_secs(120));
    assert!(running.finish_blocking().unwrap_err().is_terminal());
    assert_eq!(trips.log.take()[3..], UNDONE);
}

#[test]
fn panics_undo_nothing() {
    let mock = MockContext::service();
    let failure = futures::executor::block_on(mock.try_call(async |ctx: &Context| {
        let saga = ctx.saga();
        saga.scope(async {
            saga.undo(|| ctx.run("undo", async || HandlerResult::Ok(())));
            panic!("oh");
            #[allow(unreachable_code, reason = "for the type")]
            Ok(())
        })
        .await
    }))
    .unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Panicked);
    assert!(!failure.to_string().contains("undo"), "{failure}");
}
