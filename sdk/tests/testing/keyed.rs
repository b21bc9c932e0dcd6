//! Objects and workflows: turns, state, promises, retention; and Kafka.

use durably::{
    Raw,
    prelude::*,
    testing::{InvocationStatus, TestRuntime, object, workflow},
};

use crate::{in_all_modes, secs};

struct Account;

#[durably::object]
impl Account {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: i64) -> HandlerResult<i64> {
        let sum = ctx.get::<i64>("sum").await?.unwrap_or_default();
        // Time for others to come between, if they could.
        ctx.sleep(secs(1)).await?;
        ctx.set("sum", &(sum + n));
        Ok(sum + n)
    }

    #[handler]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<i64> {
        Ok(ctx.get::<i64>("sum").await?.unwrap_or_default())
    }

    #[handler(lazy_state = true)]
    async fn lazily(&self, ctx: &SharedObjectContext) -> HandlerResult<(i64, Vec<String>)> {
        let sum = ctx.get::<i64>("sum").await?.unwrap_or_default();
        Ok((sum, ctx.get_keys().await?))
    }

    #[handler]
    async fn reset(&self, ctx: &ObjectContext) -> HandlerResult<Option<i64>> {
        ctx.clear_all();
        Ok(ctx.get::<i64>("sum").await?)
    }

    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<i64>) -> HandlerResult<()> {
        let offset = event.record().map(|record| record.offset);
        ctx.set("event", &(offset, event.value()));
        Ok(())
    }
}

struct Signup;

#[durably::workflow]
impl Signup {
    #[handler(workflow_retention = "1h")]
    async fn run(&self, ctx: &WorkflowContext, name: String) -> HandlerResult<String> {
        ctx.set("name", &name);
        let code = ctx.promise::<String>("code").await?;
        Ok(format!("{name} {code}"))
    }

    #[handler]
    async fn confirm(&self, ctx: &SharedWorkflowContext, code: String) -> HandlerResult<bool> {
        let before = ctx.promise::<String>("code").peek().await?;
        let resolved = ctx.promise::<String>("code").resolve(&code).await;
        Ok(before.is_none() && resolved.is_ok())
    }
}

fn endpoint() -> Endpoint {
    Endpoint::builder()
        .bind(Account)
        .bind(Signup)
        .build()
        .unwrap()
}

fn ada() -> AccountClient<&'static Context> {
    object::<AccountClient>("ada")
}

#[test]
fn one_exclusive_handler_per_key_in_order() {
    in_all_modes(endpoint, |runtime| {
        let ids: Vec<_> = (1..=5)
            .map(|n| runtime.send(ada().add(n)).unwrap())
            .collect();
        let other = runtime.send(object::<AccountClient>("bob").add(1)).unwrap();
        runtime.settle();
        assert_eq!(runtime.status(&ids[1]), InvocationStatus::Queued);
        assert_ne!(runtime.status(&other), InvocationStatus::Queued);
        assert_eq!(runtime.call(ada().get()), Ok(0), "beside the writer");
        let sums: Vec<i64> = ids.iter().map(|id| runtime.attach(id).unwrap()).collect();
        assert_eq!(sums, [1, 3, 6, 10, 15]);
        assert_eq!(runtime.state::<i64>("Account", "ada", "sum"), Some(15));
        let lazily = runtime.call(ada().lazily()).unwrap();
        assert_eq!(lazily, (15, vec!["sum".to_owned()]));
        assert_eq!(runtime.call(ada().reset()), Ok(None));
        assert!(runtime.state_keys("Account", "ada").is_empty());
    });
}

#[test]
fn a_workflow_runs_once_per_key_until_it_is_forgotten() {
    in_all_modes(endpoint, |runtime| {
        let client = || workflow::<SignupClient>("7");
        let id = runtime.send(client().run("Ada".to_owned())).unwrap();
        let again = runtime.send(client().run("Bob".to_owned())).unwrap();
        assert_eq!(again, id);
        let refused = runtime.call(client().run("Bob".to_owned())).unwrap_err();
        assert_eq!(refused.code(), 409);
        assert_eq!(runtime.call(client().confirm("x".to_owned())), Ok(true));
        assert_eq!(runtime.call(client().confirm("y".to_owned())), Ok(false));
        assert_eq!(runtime.attach::<String>(&id).unwrap(), "Ada x");
        assert_eq!(runtime.workflow_invocation("Signup", "7"), Ok(id));
        runtime.advance(secs(3600));
        let gone = runtime.workflow_invocation("Signup", "7").unwrap_err();
        assert_eq!(gone.code(), 404);
        assert_eq!(runtime.state::<String>("Signup", "7", "name"), None);
        let id = runtime.send(client().run("Bob".to_owned())).unwrap();
        assert_eq!(runtime.call(client().confirm("z".to_owned())), Ok(true));
        assert_eq!(runtime.attach::<String>(&id).unwrap(), "Bob z");
    });
}

#[test]
fn records_become_invocations_of_their_key() {
    let mut runtime = TestRuntime::new(endpoint());
    runtime.subscribe("events", "Account/on_event");
    runtime.produce("events", "ada", &7);
    runtime.produce("events", "bob", &8);
    assert_eq!(runtime.produce("events", "ada", &9).len(), 1);
    runtime.run_until_idle();
    let event = |runtime: &mut TestRuntime, key| {
        runtime.state::<(Option<i64>, Option<i64>)>("Account", key, "event")
    };
    assert_eq!(event(&mut runtime, "ada"), Some((Some(2), Some(9))));
    assert_eq!(event(&mut runtime, "bob"), Some((Some(1), Some(8))));
    runtime.produce_raw("events", None, "");
    runtime.run_until_idle();
    assert_eq!(event(&mut runtime, ""), Some((Some(3), None)));
}

#[test]
#[should_panic(expected = "nobody is subscribed to the topic `events`")]
fn a_record_for_nobody_fails_the_test() {
    TestRuntime::new(endpoint()).produce("events", "ada", &7);
}

#[test]
fn state_and_promises_can_be_printed() {
    let mut runtime = TestRuntime::new(endpoint());
    let shown = runtime.describe_state("Account", "ada");
    assert_eq!(shown, "Account/ada\n  nothing");

    let client = || workflow::<SignupClient>("7");
    let id = runtime.send(client().run("Ada".to_owned())).unwrap();
    runtime.settle();
    let shown = runtime.describe_state("Signup", "7");
    let name = "Signup/7\n  name = \"Ada\"\n";
    assert_eq!(shown, format!("{name}  promise `code`: not resolved"));
    runtime.call(client().confirm("x".to_owned())).unwrap();
    runtime.attach::<String>(&id).unwrap();
    let shown = runtime.describe_state("Signup", "7");
    assert_eq!(shown, format!("{name}  promise `code`: \"x\""));

    let long = "x".repeat(80);
    let value = (
        vec!["a, \"b\": {c}", long.as_str()],
        Vec::<u8>::new(),
        u64::MAX,
    );
    runtime.set_state("Account", "bob", "log", &value);
    runtime.set_state("Account", "bob", "raw", &Raw::from(&b"\xff\x00"[..]));
    let shown = runtime.describe_state("Account", "bob");
    let long = format!("      \"{long}\"");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(
        lines,
        [
            "Account/bob",
            "  log = [",
            "    [",
            r#"      "a, \"b\": {c}","#,
            long.as_str(),
            "    ],",
            "    [],",
            "    18446744073709551615",
            "  ]",
            "  raw = 2 bytes",
        ]
    );
}
