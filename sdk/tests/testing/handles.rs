//! What handlers do to other invocations: attach, output, cancel, signal, idempotent calls; and reads of
//! the state within runs (v8).

use durably::{
    Target,
    prelude::*,
    testing::{TestRuntime, object, service},
};

use crate::{in_all_modes, secs};

struct Desk;

#[durably::service]
impl Desk {
    #[handler]
    async fn slow(&self, ctx: &Context, n: u64) -> HandlerResult<u64> {
        let told = ctx.signal::<u64>("more");
        Ok(durably::select! {
            more = told => n + more?,
            slept = ctx.sleep(secs(10)) => { slept?; n }
        })
    }

    #[handler]
    async fn looks(&self, ctx: &Context) -> HandlerResult<(Option<u64>, u64, Option<u64>)> {
        let client = ctx.service_client::<DeskClient>();
        let handle = client.slow(1).idempotency_key("one").send().await?;
        let same = client.slow(1).idempotency_key("one").send().await?;
        if same.id() != handle.id() {
            return Err(TerminalError::new("another one").into());
        }
        let before = handle.output::<u64>().await?;
        handle.resolve_signal("more", &5u64);
        let target = Target::service("Desk", "slow");
        let by_key = ctx.idempotent_invocation(target, "one");
        let attached = by_key.attach::<u64>().await?;
        Ok((before, attached, handle.output::<u64>().await?))
    }

    #[handler]
    async fn cancels(&self, ctx: &Context) -> HandlerResult<(u16, u16)> {
        let call = ctx.service_client::<DeskClient>().slow(1).call();
        let sent = ctx.service_client::<DeskClient>().slow(1).send().await?;
        sent.cancel();
        call.cancel().await?;
        let code = |error: TerminalError| error.code();
        let called = call.await.err().map_or(0, code);
        let sent = sent.attach::<u64>().await.err().map_or(0, code);
        Ok((called, sent))
    }

    #[handler]
    async fn nobody(&self, ctx: &Context) -> HandlerResult<Vec<u16>> {
        let by_key = ctx.idempotent_invocation(Target::service("Desk", "slow"), "nobody");
        let by_workflow = ctx.workflow_invocation("Nothing", "nobody");
        let code = |result: Result<(), TerminalError>| result.err().map_or(0, |e| e.code());
        Ok(vec![
            code(by_key.attach::<()>().await),
            code(by_key.output::<()>().await.map(drop)),
            code(by_workflow.attach::<()>().await),
        ])
    }
}

struct Shelf;

#[durably::object]
impl Shelf {
    #[handler(lazy_state = true)]
    async fn peeks(&self, ctx: &ObjectContext) -> HandlerResult<Option<u64>> {
        let read = ctx.run("peek", async || ctx.get_ephemeral::<u64>("n").await);
        Ok(read.await?)
    }
}

fn endpoint() -> Endpoint {
    Endpoint::builder().bind(Desk).build().unwrap()
}

#[test]
fn handlers_look_at_others() {
    in_all_modes(endpoint, |runtime| {
        let seen = runtime.call(service::<DeskClient>().looks());
        assert_eq!(seen, Ok((None, 6, Some(6))));
        let codes = runtime.call(service::<DeskClient>().nobody()).unwrap();
        assert_eq!(codes, [404; 3]);
    });
}

#[test]
fn handlers_cancel_others() {
    in_all_modes(endpoint, |runtime| {
        let begun = runtime.now();
        let codes = runtime.call(service::<DeskClient>().cancels());
        assert_eq!(codes, Ok((409, 409)));
        assert_eq!(runtime.now(), begun, "nobody has slept");
    });
}

#[test]
fn a_run_reads_the_state_without_the_journal() {
    let endpoint = Endpoint::builder().experimental_protocol_v8(true);
    let endpoint = endpoint.bind(Shelf).build().unwrap();
    let mut runtime = TestRuntime::builder(endpoint).protocol(8).build();
    runtime.set_state("Shelf", "s", "n", &7);
    assert_eq!(
        runtime.call(object::<ShelfClient>("s").peeks()),
        Ok(Some(7))
    );
    assert_eq!(runtime.call(object::<ShelfClient>("t").peeks()), Ok(None));
}
