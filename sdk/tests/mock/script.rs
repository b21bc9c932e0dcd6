//! What a test says beforehand.

use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

use durably::{
    KafkaEvent, Raw, Request, Target,
    prelude::*,
    testing::{ANY_KEY, FailureKind, MockContext, object, service},
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn three_lines() {
    struct Orders;
    #[durably::object]
    impl Orders {
        #[handler]
        async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
            let seen = ctx.get::<u64>("seen").await?.unwrap_or_default();
            ctx.set("seen", &(seen + 1));
            ctx.service_client::<AuditClient>()
                .record(format!("{:?}", event.value()))
                .send();
            Ok(())
        }
    }
    let event = KafkaEvent::builder(7).key("order-7").build();

    let mock = MockContext::object("order-7").state("seen", &3);
    mock.call_blocking(async |ctx| Orders.on_event(ctx, event).await)
        .unwrap();
    assert_eq!(mock.get::<u64>("seen"), Some(4));

    let sent = mock.sends(service::<AuditClient>().record(String::new()));
    assert_eq!(sent.len(), 1);
    assert!(sent[0].input.contains('7'), "{}", sent[0].input);
    assert_eq!(sent[0].delay, None);
}

#[test]
fn each_kind_of_context() {
    async fn any(ctx: &Context) -> String {
        ctx.invocation_id().to_owned()
    }
    let id = MockContext::service().call_blocking(async |ctx| any(ctx).await);
    assert!(id.parse::<durably::InvocationId>().is_ok(), "{id}");

    let key = MockContext::object("a").call_blocking(async |ctx: &ObjectContext| {
        any(ctx).await;
        ctx.key().to_owned()
    });
    assert_eq!(key, "a");
    let key = MockContext::shared_object("b")
        .call_blocking(async |ctx: &SharedObjectContext| ctx.key().to_owned());
    assert_eq!(key, "b");
    let key = MockContext::workflow("c")
        .call_blocking(async |ctx: &WorkflowContext| ctx.key().to_owned());
    assert_eq!(key, "c");
    let key = MockContext::shared_workflow("d")
        .call_blocking(async |ctx: &SharedWorkflowContext| ctx.key().to_owned());
    assert_eq!(key, "d");
}

#[test]
fn what_the_handler_may_ask_about_itself() {
    let mock = MockContext::object("k")
        .service_name("Orders")
        .handler_name("place")
        .header("x-a", "1")
        .header("x-a", "2")
        .idempotency_key("click")
        .scope("acme")
        .limit_key("orders")
        .retry_count(3)
        .time(SystemTime::UNIX_EPOCH + 5 * SECOND)
        .random_seed(1);
    mock.call_blocking(async |ctx| {
        assert_eq!(
            (ctx.service_name(), ctx.handler_name()),
            ("Orders", "place")
        );
        assert_eq!(ctx.headers().get_all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(ctx.idempotency_key(), Some("click"));
        assert_eq!(
            (ctx.scope(), ctx.limit_key()),
            (Some("acme"), Some("orders"))
        );
        assert_eq!(ctx.retry_count(), 3);
        assert_eq!(
            ctx.now().await.unwrap(),
            SystemTime::UNIX_EPOCH + 5 * SECOND
        );
        ctx.sleep(2 * SECOND).await.unwrap();
        assert_eq!(
            ctx.now().await.unwrap(),
            SystemTime::UNIX_EPOCH + 7 * SECOND
        );
    });
    let draw = |seed| {
        let mock = MockContext::service().random_seed(seed);
        mock.call_blocking(async |ctx| ctx.random().u64())
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn the_handler_may_borrow_from_the_test() {
    let names = [String::from("a"), String::from("b")];
    let count = Cell::new(0);
    let mock = MockContext::service();
    let last = mock.call_blocking(async |ctx| {
        for name in &names {
            count.set(count.get() + 1);
            ctx.run(name.as_str(), async || HandlerResult::Ok(name.len()))
                .await
                .unwrap();
        }
        names.last().unwrap().as_str()
    });
    assert_eq!((last, count.get()), ("b", 2));
}

#[test]
fn eager_and_lazy_state_are_the_same_to_the_handler() {
    for lazy in [false, true] {
        let mut mock = MockContext::object("k").state("a", &1).state("b", "two");
        if lazy {
            mock = mock.lazy_state();
        }
        mock.call_blocking(async |ctx| {
            assert_eq!(ctx.get::<u64>("a").await, Ok(Some(1)));
            assert_eq!(ctx.get::<u64>("c").await, Ok(None));
            ctx.set("c", &3);
            ctx.clear("a");
            assert_eq!(ctx.get_keys().await.unwrap(), ["b", "c"]);
            assert_eq!(ctx.get::<u64>("c").await, Ok(Some(3)));
        });
        assert_eq!(mock.state_keys(), ["b", "c"]);
        assert_eq!(mock.get::<String>("b").as_deref(), Some("two"));
        // The state stays for the next handler.
        mock.call_blocking(async |ctx| {
            assert_eq!(ctx.get::<u64>("c").await, Ok(Some(3)));
            ctx.clear_all();
        });
        assert!(mock.state_keys().is_empty());
    }
}

/// A request that several lines of a test name.
fn any() -> Request<'static, u32, bool> {
    object::<InventoryClient>(ANY_KEY).reserve(0)
}

async fn reserve(ctx: &Context, item: &str, quantity: u32) -> Result<bool, TerminalError> {
    ctx.object_client::<InventoryClient>(item)
        .reserve(quantity)
        .await
}

#[test]
fn calls_are_scripted_by_the_method_of_a_client() {
    let mock = MockContext::service();
    mock.on(object::<InventoryClient>("teapot").reserve(0))
        .returns(&true);
    mock.on(object::<InventoryClient>("cup").reserve(0)).fails(
        TerminalError::new("no cups")
            .with_code(404)
            .with_metadata("a", "b"),
    );
    mock.call_blocking(async |ctx| {
        assert_eq!(reserve(ctx, "teapot", 2).await, Ok(true));
        let error = reserve(ctx, "cup", 1).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (404, "no cups"));
        assert_eq!(error.metadata(), [("a".to_owned(), "b".to_owned())]);
    });
}

#[test]
fn any_key_matching_and_computed_replies() {
    let mock = MockContext::service();
    mock.on(any()).replies_with(|quantity| match quantity {
        0 => Err(TerminalError::new("none")),
        quantity => Ok(quantity < 10),
    });
    mock.on(any())
        .matching(|quantity| *quantity == 7)
        .returns(&false);
    mock.call_blocking(async |ctx| {
        assert_eq!(reserve(ctx, "a", 2).await, Ok(true));
        assert_eq!(reserve(ctx, "b", 7).await, Ok(false));
        assert_eq!(reserve(ctx, "c", 20).await, Ok(false));
        assert_eq!(reserve(ctx, "d", 0).await.unwrap_err().message(), "none");
    });
}

#[test]
fn rules_for_a_number_of_times_go_first_and_in_order() {
    let mock = MockContext::service();
    mock.on(any()).fails(TerminalError::new("overwritten"));
    mock.on(any()).once().returns(&true);
    mock.on(any()).times(2).returns(&false);
    mock.on(any()).fails(TerminalError::new("used up"));
    mock.call_blocking(async |ctx| {
        let mut results = Vec::new();
        for _ in 0..5 {
            results.push(
                reserve(ctx, "a", 1)
                    .await
                    .map_err(|error| error.message().to_owned()),
            );
        }
        let used_up = Err("used up".to_owned());
        assert_eq!(
            results,
            [Ok(true), Ok(false), Ok(false), used_up.clone(), used_up]
        );
    });
}

#[test]
fn calls_are_scripted_by_a_predicate() {
    let mock = MockContext::service();
    mock.on_where(|call| {
        call.target.handler_name() == "echo" && call.headers.get("x-a") == Some("1")
    })
    .replies_with(Ok::<Raw, _>);
    let echo = mock.call_blocking(async |ctx| {
        let request = ctx.request::<_, u64>(Target::service("Any", "echo"), 5);
        request.header("x-a", "1").await
    });
    assert_eq!(echo, Ok(5));
}

#[test]
fn a_predicate_over_the_input_narrows_one_over_the_call_down() {
    let mock = MockContext::service();
    mock.on_where::<u64>(|call| call.target.service_name() == "Prices")
        .matching(|input| input.0 == "1")
        .matching(|input| !input.0.is_empty())
        .returns(&3);
    for (service, price) in [
        ("Prices", Ok(Ok(3))),
        ("Costs", Err(FailureKind::Unscripted)),
    ] {
        let called = futures::executor::block_on(mock.try_call(async |ctx| {
            ctx.request::<_, u64>(Target::service(service, "of"), 1)
                .await
        }));
        assert_eq!(called.map_err(|failure| failure.kind()), price);
    }
}

#[test]
fn what_never_comes_loses_against_a_sleep() {
    let mock = MockContext::workflow("w");
    mock.on(object::<InventoryClient>("a").reserve(0)).never();
    mock.run("slow").never();
    mock.promise("p").never();
    mock.call_blocking(async |ctx| {
        let call = ctx.object_client::<InventoryClient>("a").reserve(1).call();
        assert!(call.or_timeout(SECOND).await.unwrap_err().is_timeout());
        let run = ctx.run("slow", async || -> HandlerResult<()> { unreachable!() });
        assert!(run.or_timeout(SECOND).await.unwrap_err().is_timeout());
        let promise = ctx.promise::<u64>("p").get();
        assert!(promise.or_timeout(SECOND).await.unwrap_err().is_timeout());
    });
}

#[test]
fn results_come_at_their_time() {
    let mock = MockContext::service();
    mock.awakeable(0).after(3 * SECOND).returns(&1);
    mock.signal("go").after(SECOND).returns(&2);
    mock.on(object::<InventoryClient>("a").left())
        .after(2 * SECOND)
        .returns(&3);
    let order = std::cell::RefCell::new(Vec::new());
    mock.call_blocking(async |ctx| {
        let note = |what| order.borrow_mut().push(what);
        durably::join!(
            async {
                ctx.awakeable::<u64>().await.unwrap();
                note("awakeable");
            },
            async {
                ctx.signal::<u64>("go").await.unwrap();
                note("signal");
            },
            async {
                ctx.object_client::<InventoryClient>("a")
                    .left()
                    .await
                    .unwrap();
                note("call");
            },
            async {
                ctx.sleep(2500 * SECOND / 1000).await.unwrap();
                note("sleep");
            },
        );
    });
    assert_eq!(order.into_inner(), ["signal", "call", "sleep", "awakeable"]);
}

#[test]
fn awakeables_and_signals_in_order() {
    let mock = MockContext::service();
    mock.awakeable(0).returns("first");
    mock.awakeable(1).fails(TerminalError::new("second"));
    mock.signal("go").once().returns(&1);
    mock.signal("go").returns(&2);
    mock.call_blocking(async |ctx| {
        let (a, b) = (ctx.awakeable::<String>(), ctx.awakeable::<String>());
        assert_ne!(a.id(), b.id());
        assert_eq!(b.await.unwrap_err().message(), "second");
        assert_eq!(a.await.unwrap(), "first");
        for expected in [1, 2, 2] {
            assert_eq!(ctx.signal::<u64>("go").await, Ok(expected));
        }
    });
}

#[test]
fn promises_are_completed_once() {
    let mock = MockContext::workflow("w");
    mock.promise("scripted").returns(&1);
    mock.call_blocking(async |ctx| {
        let scripted = ctx.promise::<u64>("scripted");
        assert_eq!(scripted.peek().await, Ok(Some(1)));
        assert_eq!(scripted.get().await, Ok(1));
        assert_eq!(scripted.resolve(&2).await.unwrap_err().code(), 409);

        let own = ctx.promise::<u64>("own");
        assert_eq!(own.peek().await, Ok(None));
        let waits = own.get();
        own.resolve(&3).await.unwrap();
        assert_eq!(waits.await, Ok(3));
        assert_eq!(
            own.reject(TerminalError::new("late"))
                .await
                .unwrap_err()
                .code(),
            409
        );
    });
    assert_eq!(mock.promise_result::<u64>("own"), Some(Ok(3)));
    assert_eq!(mock.promise_result::<u64>("scripted"), None);
}

#[test]
fn a_promise_that_is_completed_stays_so() {
    let mock = MockContext::workflow("w");
    mock.promise("p").once().after(SECOND).returns(&1);
    mock.call_blocking(async |ctx| {
        let promise = ctx.promise::<u64>("p");
        assert_eq!(promise.peek().await, Ok(None));
        let (a, b) = durably::join!(promise.get(), promise.get());
        assert_eq!((a, b), (Ok(1), Ok(1)));
        assert_eq!(promise.peek().await, Ok(Some(1)));
        assert_eq!(promise.get().or_timeout(SECOND / 2).await, Ok(1));
        assert_eq!(promise.resolve(&2).await.unwrap_err().code(), 409);
    });
}

#[test]
fn the_handler_completes_a_promise_before_the_script_does() {
    let mock = MockContext::workflow("w");
    mock.promise("later").after(SECOND).returns(&1);
    mock.promise("now").once().returns(&1);
    mock.call_blocking(async |ctx| {
        let later = ctx.promise::<u64>("later");
        let waits = later.get();
        later.resolve(&2).await.unwrap();
        assert_eq!(waits.await, Ok(2));
        ctx.sleep(2 * SECOND).await.unwrap();
        assert_eq!(later.get().await, Ok(2));

        // It is completed already, though nobody was told yet.
        let now = ctx.promise::<u64>("now");
        let waits = now.get();
        assert_eq!(now.resolve(&2).await.unwrap_err().code(), 409);
        assert_eq!(waits.await, Ok(1));
    });
    assert_eq!(mock.promise_result::<u64>("later"), Some(Ok(2)));
    assert_eq!(mock.promise_result::<u64>("now"), None);
}

#[test]
fn a_promise_comes_at_its_time_to_whoever_only_looks_at_it() {
    let mock = MockContext::workflow("w");
    mock.promise("p").once().after(3 * SECOND).returns(&1);
    let looks = mock.call_blocking(async |ctx| {
        let promise = ctx.promise::<u64>("p");
        let mut looks = 0;
        while promise.peek().await.unwrap().is_none() {
            looks += 1;
            ctx.sleep(SECOND).await.unwrap();
        }
        looks
    });
    assert_eq!(looks, 3);
}

#[test]
fn what_the_handler_sends_to_itself_comes() {
    let mock = MockContext::service();
    mock.call_blocking(async |ctx| {
        let awakeable = ctx.awakeable::<u64>();
        ctx.resolve_awakeable(awakeable.id(), &7).unwrap();
        assert_eq!(awakeable.await.unwrap(), 7);
        let own = ctx.invocation(ctx.invocation_id()).unwrap();
        own.resolve_signal("whistle", "tweet");
        let heard = ctx.signal::<String>("whistle").await;
        assert_eq!(heard.unwrap(), "tweet");
        own.cancel();
        let cancelled = ctx.signal::<u64>("go").await;
        assert!(cancelled.unwrap_err().is_cancelled());
    });
}

#[test]
fn what_is_scripted_and_does_not_happen() {
    let mock = MockContext::service();
    mock.on(any()).times(2).returns(&true);
    mock.on_where::<()>(|_| false).never();
    mock.run("a").returns(&1);
    mock.signal("go").returns(&1);
    mock.call_blocking(async |ctx| {
        reserve(ctx, "a", 1).await.unwrap();
        ctx.run("a", async || HandlerResult::Ok(2)).await.unwrap();
    });
    let unused = [
        "call Inventory/(any key)/reserve",
        "call by a predicate",
        "signal `go`",
    ];
    assert_eq!(mock.unused(), unused);
}

#[test]
fn the_state_is_read_within_a_run() {
    let mock = MockContext::object("k").state("tariff", &21);
    let price = mock.call_blocking(async |ctx| {
        ctx.run("ask", async || {
            let tariff = ctx.get_ephemeral::<u64>("tariff").await?;
            HandlerResult::Ok(2 * tariff.unwrap_or(1))
        })
        .await
    });
    assert_eq!(price, Ok(42));
}

#[test]
fn other_invocations() {
    let id = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
    let mock = MockContext::service();
    mock.invocation(id).returns(&1);
    mock.invocation("Signup/ada").returns(&2);
    mock.invocation("Signup/bob").never();
    mock.invocation("Counter/k/add#click")
        .fails(TerminalError::new("gone"));
    mock.call_blocking(async |ctx| {
        assert_eq!(ctx.invocation(id).unwrap().attach::<u64>().await, Ok(1));
        assert_eq!(
            ctx.workflow_invocation("Signup", "ada")
                .output::<u64>()
                .await,
            Ok(Some(2))
        );
        assert_eq!(
            ctx.workflow_invocation("Signup", "eve")
                .output::<u64>()
                .await,
            Ok(None)
        );
        // It has not ended, and asking does not wait.
        assert_eq!(
            ctx.workflow_invocation("Signup", "bob")
                .output::<u64>()
                .await,
            Ok(None)
        );
        let target = Target::object("Counter", "k", "add");
        let handle = ctx.idempotent_invocation(target, "click");
        assert_eq!(handle.attach::<u64>().await.unwrap_err().message(), "gone");
    });
}
