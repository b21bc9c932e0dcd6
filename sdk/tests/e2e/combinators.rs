//! Several durable things at once: every combinator gives the same over any number of suspensions.

use std::collections::BTreeSet;

use durably::prelude::*;
use futures::stream::{self, FuturesUnordered, StreamExt as _};

use crate::calls::CalleeClient;
use crate::harness::{effect, effects, ms};
use crate::suite::{ALL, Suite};

pub(crate) struct Combinators;

#[durably::service]
impl Combinators {
    /// An awakeable against a sleep; the sleep wins.
    #[handler]
    async fn select(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let mut seen = Vec::new();
        seen.push(tokio::select! {
            _ = ctx.awakeable::<u64>() => "awakeable".to_owned(),
            slept = ctx.sleep(ms(20)) => format!("tokio: slept {slept:?}"),
        });
        let awakeable = ctx.awakeable::<u64>();
        let timer = ctx.sleep(ms(60_000));
        ctx.resolve_awakeable(awakeable.id(), &7)?;
        seen.push(tokio::select! {
            value = awakeable => format!("tokio: {:?}", value),
            _ = timer => "slept".to_owned(),
        });
        seen.push(durably::select! {
            _ = ctx.signal::<u64>("never") => "signal".to_owned(),
            slept = ctx.sleep(ms(20)) => format!("ours: slept {slept:?}"),
        });
        // The loser is polled further.
        let mut call = ctx.service_client::<CalleeClient>().double(4).call();
        let mut timer = ctx.sleep(ms(30));
        let (mut doubled, mut slept) = (None, false);
        while doubled.is_none() || !slept {
            durably::select! {
                result = &mut call, if doubled.is_none() => doubled = Some(result?),
                result = &mut timer, if !slept => { result?; slept = true; }
            }
        }
        seen.push(format!("both: {doubled:?}"));
        Ok(seen)
    }

    /// Runs in selects: one that wins, one that loses, and one that loses while it executes.
    #[handler]
    async fn runs(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let id = ctx.invocation_id();
        let step = |name: &'static str, millis| {
            ctx.run(name, async move || {
                effect(id, format!("{name} begins"));
                tokio::time::sleep(ms(millis)).await;
                // The one that loses lasts until the case has seen what it loses against.
                while name == "slow" && effects(&format!("{id} slept")).is_empty() {
                    tokio::time::sleep(ms(10)).await;
                }
                effect(id, format!("{name} ends"));
                Ok::<_, std::io::Error>(name.to_owned())
            })
        };
        let mut seen = Vec::new();
        seen.push(tokio::select! {
            run = step("fast", 5) => run?,
            _ = ctx.sleep(ms(60_000)) => "slept".to_owned(),
        });
        seen.push(durably::select! {
            _ = ctx.awakeable::<u64>() => "awakeable".to_owned(),
            run = step("beside an awakeable", 5) => run?,
        });
        seen.push(durably::select! {
            run = step("slow", 1) => run?,
            _ = ctx.sleep(ms(20)) => "slept".to_owned(),
        });
        let (first, second, ()) =
            durably::try_join!(step("first", 20), step("second", 1), ctx.sleep(ms(10)))?;
        seen.push(format!("{first} {second}"));
        Ok(seen)
    }

    #[handler]
    async fn join(&self, ctx: &Context) -> HandlerResult<Vec<u64>> {
        let callee = ctx.service_client::<CalleeClient>();
        let (a, b, c) = tokio::join!(callee.double(1), ctx.sleep(ms(20)), callee.double(2));
        b?;
        let (d, e) = durably::join!(callee.double(3), callee.refuse());
        assert!(e.is_err());
        let failed = durably::try_join!(ctx.signal::<u64>("never"), callee.refuse());
        let code = failed.err().map_or(0, |error| error.code());
        Ok(vec![a?, c?, d?, code.into()])
    }

    #[handler]
    async fn join_all(&self, ctx: &Context, n: u64) -> HandlerResult<Vec<u64>> {
        let callee = ctx.service_client::<CalleeClient>();
        let calls = (0..n).map(|i| callee.double(i).call());
        let doubled = futures::future::try_join_all(calls).await?;
        let sleeps = (0..n).map(|i| ctx.sleep(ms((n - i) * 3)));
        let slept: Vec<_> = futures::future::join_all(sleeps).await;
        assert!(slept.iter().all(Result::is_ok));
        Ok(doubled)
    }

    /// A `FuturesUnordered` whose loop body awaits, too.
    #[handler]
    async fn unordered(&self, ctx: &Context, n: u64) -> HandlerResult<Vec<u64>> {
        let callee = ctx.service_client::<CalleeClient>();
        let mut calls: FuturesUnordered<_> = (0..n).map(|i| callee.double(i).call()).collect();
        let mut seen = Vec::new();
        while let Some(doubled) = calls.next().await {
            let doubled = doubled?;
            ctx.sleep(ms(doubled % 7)).await?;
            let id = ctx.invocation_id();
            seen.push(
                ctx.run("note", async || {
                    effect(id, doubled);
                    Ok::<_, std::io::Error>(doubled)
                })
                .await?,
            );
        }
        Ok(seen)
    }

    #[handler]
    async fn buffered(&self, ctx: &Context, n: u64) -> HandlerResult<(Vec<u64>, Vec<u64>)> {
        let callee = ctx.service_client::<CalleeClient>();
        let calls: Vec<_> = (0..n).map(|i| callee.double(i).call()).collect();
        let ordered: Vec<_> = stream::iter(calls).buffered(3).collect().await;
        let runs: Vec<_> = (0..n)
            .map(|i| {
                ctx.run(format!("run {i}"), async move || {
                    tokio::time::sleep(ms(i % 3)).await;
                    Ok::<_, std::io::Error>(i)
                })
            })
            .collect();
        let unordered: Vec<_> = stream::iter(runs).buffer_unordered(3).collect().await;
        let all = |results: Vec<Result<u64, TerminalError>>| results.into_iter().collect();
        let (ordered, unordered): (Result<_, _>, Result<_, _>) = (all(ordered), all(unordered));
        Ok((ordered?, unordered?))
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("selects_choose_what_comes_first", ALL, async |env| {
        let seen: Vec<String> = env.ingress().call("Combinators", "select", &()).await?;
        let expected = [
            "tokio: slept Ok(())",
            "tokio: Ok(7)",
            "ours: slept Ok(())",
            "both: Some(8)",
        ];
        assert_eq!(seen, expected);
        Ok(())
    });

    suite.case("runs_take_part_in_selects", ALL, async |env| {
        let sent = env.ingress().send("Combinators", "runs", &()).await?;
        let id = &sent.invocation_id;
        env.has_entries(id, "Notification: Sleep", 1).await?;
        effect(format!("{id} slept"), "");
        let seen: Vec<String> = env.ingress().attach(id).await?;
        // Where the run holds a suspension back it ends first, but the journal has the sleep first.
        assert_eq!(
            seen,
            ["fast", "beside an awakeable", "slept", "first second"]
        );
        let effects = effects(id);
        for name in ["fast", "beside an awakeable", "slow", "first", "second"] {
            let begun = effects
                .iter()
                .filter(|effect| **effect == format!("{name} begins"));
            assert_eq!(begun.count(), 1, "{effects:?}");
        }
        Ok(())
    });

    suite.case("joins_wait_for_all", ALL, async |env| {
        let seen: Vec<u64> = env.ingress().call("Combinators", "join", &()).await?;
        assert_eq!(seen, [2, 4, 6, 418]);
        let seen: Vec<u64> = env.ingress().call("Combinators", "join_all", &8).await?;
        assert_eq!(seen, (0..8).map(|n| 2 * n).collect::<Vec<_>>());
        Ok(())
    });

    suite.case(
        "unordered_futures_come_as_they_complete",
        ALL,
        async |env| {
            let reply = env
                .ingress()
                .service("Combinators", "unordered")
                .json(&9)
                .call_raw()
                .await?;
            let id = reply.invocation_id().ok_or("no id")?.to_owned();
            let seen: Vec<u64> = reply.decode()?;
            let expected: BTreeSet<_> = (0..9).map(|n| 2 * n).collect();
            assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), expected);
            assert_eq!(seen.len(), 9);
            // Each body ran once, in the order that the result tells.
            let noted = effects(&id);
            assert_eq!(noted, seen.iter().map(u64::to_string).collect::<Vec<_>>());
            Ok(())
        },
    );

    suite.case("streams_buffer_what_they_await", ALL, async |env| {
        let (ordered, mut unordered): (Vec<u64>, Vec<u64>) =
            env.ingress().call("Combinators", "buffered", &8).await?;
        assert_eq!(ordered, (0..8).map(|n| 2 * n).collect::<Vec<_>>());
        unordered.sort_unstable();
        assert_eq!(unordered, (0..8).collect::<Vec<_>>());
        Ok(())
    });
}
