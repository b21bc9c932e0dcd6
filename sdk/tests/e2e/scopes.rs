//! Scopes and limit keys, which need protocol v7 and a server that has them enabled.

use std::collections::BTreeMap;

use durably::test_server::Ingress;
use durably::{Target, prelude::*};

use crate::harness::{Result, endpoint};
use crate::info::{Info, InfoObject};
use crate::suite::{LOCAL, Suite, V7};

type Facts = BTreeMap<String, String>;

pub(crate) struct Scoped;

#[durably::service]
impl Scoped {
    /// Calls into a scope: a service, an object, and by idempotency key.
    #[handler]
    async fn call(&self, ctx: &Context, scope: String) -> HandlerResult<Vec<Facts>> {
        let tell = || ctx.request::<_, Facts>(Target::service("Info", "tellAll"), ());
        let called = tell().scope(&scope).limit_key("tenant/user").await?;
        let sent = tell().scope(&scope).idempotency_key("once").send().await?;
        let by_key = ctx
            .idempotent_invocation(Target::service("Info", "tellAll"), "once")
            .scope(&scope);
        let attached = by_key.attach::<Facts>().await?;
        assert_eq!(sent.attach::<Facts>().await?, attached);
        assert_eq!(by_key.output::<Facts>().await?.as_ref(), Some(&attached));
        let target = Target::object("info.Object", "key", "tell");
        let object = ctx.request::<_, Facts>(target, ()).scope(&scope).await?;
        Ok(vec![called, attached, object])
    }
}

async fn scoped(ingress: Ingress) -> Result {
    let request = ingress.service("Info", "tellAll").scope("outside");
    let request = request.limit_key("a/b").idempotency_key("my key");
    let facts: Facts = request.call().await?;
    let of = |facts: &Facts, names: [&str; 3]| names.map(|name| facts[name].clone());
    let names = ["scope", "limit key", "idempotency key"];
    assert_eq!(of(&facts, names), ["outside", "a/b", "my key"]);

    let request = ingress.service("Info", "tellAll");
    let facts: Facts = request.idempotency_key("unscoped").call().await?;
    assert_eq!(of(&facts, names), ["none", "none", "unscoped"]);

    let seen: Vec<Facts> = ingress.call("Scoped", "call", "inside").await?;
    assert_eq!(of(&seen[0], names), ["inside", "tenant/user", "none"]);
    assert_eq!(of(&seen[1], names), ["inside", "none", "once"]);
    assert_eq!(of(&seen[2], names), ["inside", "none", "none"]);
    Ok(())
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.alone("scopes_and_limit_keys_travel", V7, async |mode| {
        let server = mode.server().scopes().start().await?;
        let services = endpoint(|builder| builder.bind(Info).bind(InfoObject).bind(Scoped));
        let _served = server.serve(services).await?;

        scoped(server.ingress()).await
    });
    suite.case(
        "scopes_and_limit_keys_travel_without_a_server",
        LOCAL,
        async |env| scoped(env.ingress()).await,
    );
}
