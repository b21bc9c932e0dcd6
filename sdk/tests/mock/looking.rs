//! What a test can look at afterwards.

use std::time::Duration;

use durably::{
    Target,
    prelude::*,
    testing::{ANY_KEY, MockContext, object, service},
};

use super::*;

#[test]
fn requests_are_recorded_with_all_that_was_said() {
    let mock = MockContext::service();
    mock.on_where(|_| true).returns(&true);
    mock.call_blocking(async |ctx| {
        let inventory = ctx.object_client::<InventoryClient>("teapot");
        let request = inventory
            .reserve(2)
            .header("x-a", "1")
            .idempotency_key("once");
        request.name("first").await.unwrap();
        ctx.object_client::<InventoryClient>("cup")
            .reserve(3)
            .await
            .unwrap();
        let audit = ctx.service_client::<AuditClient>();
        audit
            .record("now".to_owned())
            .scope("acme")
            .limit_key("audit")
            .send();
        let later = audit
            .record("later".to_owned())
            .send_after(Duration::from_secs(60));
        assert_eq!(
            later.await.unwrap().id().as_str(),
            mock.all_sends()[1].invocation_id
        );
    });

    let calls = mock.calls(object::<InventoryClient>("teapot").reserve(0));
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!(
        (call.input, call.target.key(), call.delay),
        (2, Some("teapot"), None)
    );
    assert_eq!(
        call.target,
        Target::object("Inventory", "teapot", "reserve")
    );
    assert_eq!((call.headers.get("x-a"), &*call.name), (Some("1"), "first"));
    assert_eq!(call.idempotency_key.as_deref(), Some("once"));

    let calls = mock.calls(object::<InventoryClient>(ANY_KEY).reserve(0));
    assert_eq!(
        calls.iter().map(|call| call.input).collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(mock.all_calls().len(), 2);

    let sends = mock.sends(service::<AuditClient>().record(String::new()));
    let said: Vec<_> = sends
        .iter()
        .map(|send| (&*send.input, send.delay))
        .collect();
    assert_eq!(
        said,
        [("now", None), ("later", Some(Duration::from_secs(60)))]
    );
    assert_eq!(sends[0].scope.as_deref(), Some("acme"));
    assert_eq!(sends[0].limit_key.as_deref(), Some("audit"));
    let none = mock.sends(object::<InventoryClient>("teapot").reserve(0));
    assert!(none.is_empty());
}

#[test]
fn signals_and_awakeables_of_others() {
    let id = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
    let awakeable = "sign_1________________________________AAAAEQ";
    let mock = MockContext::service();
    mock.call_blocking(async |ctx| {
        let other = ctx.invocation(id)?;
        other.resolve_signal("a", &1);
        other.reject_signal("b", TerminalError::new("no"));
        other.cancel();
        ctx.reject_awakeable(awakeable, TerminalError::new("never"))
    })
    .unwrap();
    let signals = mock.signals_to::<u64>(id);
    assert_eq!(signals[0], ("a".to_owned(), Ok(1)));
    assert_eq!(signals[1].1.as_ref().unwrap_err().message(), "no");
    assert_eq!(mock.cancelled(), [id]);
    let result = mock.awakeable_result::<u64>(awakeable).unwrap();
    assert_eq!(result.unwrap_err().message(), "never");
    assert_eq!(mock.awakeable_result::<u64>("another"), None);
}

#[test]
fn the_story() {
    let mock = MockContext::workflow("ada").state("a", &1);
    mock.on(object::<InventoryClient>("teapot").reserve(0))
        .returns(&true);
    mock.run("charge").returns(&42);
    mock.promise("approval")
        .after(Duration::from_secs(5))
        .returns(&true);
    mock.awakeable(0)
        .fails(TerminalError::new("no").with_code(402));
    mock.call_blocking(async |ctx| {
        ctx.get::<u64>("a").await?;
        ctx.set("b", "text");
        ctx.object_client::<InventoryClient>("teapot")
            .reserve(2)
            .await?;
        ctx.run("charge", async || HandlerResult::Ok(0)).await?;
        ctx.run("ship", async || HandlerResult::Ok("done".to_owned()))
            .await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        ctx.promise::<bool>("approval").await?;
        let _ = ctx.awakeable::<bool>().await;
        let audit = ctx
            .service_client::<AuditClient>()
            .record("line".to_owned());
        audit.send_after(Duration::from_secs(60));
        ctx.promise::<bool>("end").resolve(&true).await?;
        HandlerResult::Ok(())
    })
    .unwrap();
    let story = "\
→ get state `a`: 1
→ set state `b` to \"text\"
→ call Inventory/teapot/reserve with 2
← call Inventory/teapot/reserve: true
→ run `charge`
← run `charge`: 42
→ run `ship`
← run `ship`: \"done\"
→ sleep for 1s
← sleep for 1s
→ get promise `approval`
← promise `approval`: true
← awakeable 0: failure 402: no
→ send Audit/record in 60s with \"line\"
→ complete promise `end`: true
→ return
";
    assert_eq!(mock.story(), story);
}

#[test]
#[should_panic(expected = "the state `a` is no `alloc::string::String`")]
fn a_wrong_type_says_so() {
    let mock = MockContext::object("k").state("a", &1);
    let _ = mock.get::<String>("a");
}
