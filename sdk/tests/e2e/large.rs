//! The slow half: payloads as large as the server takes them, and journals of ten thousand entries.
//!
//! Seen on server 1.7.12 with its default `message-size-limit` of 32 MiB: of a message from the
//! handler it takes payloads (without the frame's header) of less than 33,816,576 bytes, which is
//! 32 MiB + 256 KiB. What it has to send back is narrower, since an invocation has 32 MiB of memory
//! in all (`per-invocation-memory-limit`): an input, or the result of a run or a call, of more than
//! 32 MiB - 32 KiB never reaches the handler. The invocation stays "running", or is paused.

use bytes::Bytes;
use durably::{EndpointBuilder, Raw, prelude::*};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms, serve_in};
use crate::suite::{ALL, DEFAULT, Mode, Suite};

const LIMIT: usize = 32 << 20;

/// The largest message that is sent by default.
const OUTGOING: usize = LIMIT - (64 << 10);

fn body(n: usize) -> Raw {
    Raw(Bytes::from(vec![b'x'; n]))
}

/// Where the payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Via {
    State,
    Run,
    Call,
    CallOutput,
    Output,
}

pub(crate) struct Big;

#[durably::object]
impl Big {
    /// Passes so many bytes through something, and says how many came out. (Some are to fail.)
    #[handler]
    async fn misfit(&self, ctx: &ObjectContext, (via, n): (Via, usize)) -> HandlerResult<Raw> {
        ctx.sleep(ms(1)).await?;
        let other = format!("{} {via:?}", ctx.key());
        let client = ctx.object_client::<BigClient>(other);
        let length = match via {
            Via::State => {
                ctx.set("k", &body(n));
                ctx.sleep(ms(1)).await?;
                let state = ctx.get::<Raw>("k").await?;
                ctx.clear("k");
                state.map_or(0, |state| state.0.len())
            }
            Via::Run => {
                let run = ctx.run("large", async || Ok::<_, std::io::Error>(body(n)));
                let result: Raw = run.await?;
                ctx.sleep(ms(1)).await?;
                result.0.len()
            }
            Via::Call => client.length(body(n)).await?,
            Via::CallOutput => client.misfit((Via::Output, n)).await?.0.len(),
            Via::Output => return Ok(body(n)),
        };
        Ok(Raw(length.to_string().into()))
    }

    #[handler]
    async fn length(&self, ctx: &ObjectContext, body: Raw) -> HandlerResult<usize> {
        ctx.sleep(ms(1)).await?;
        Ok(body.0.len())
    }
}

pub(crate) struct Journal;

#[durably::service]
impl Journal {
    /// Writes a journal of so many entries, waits, and fails once, so that all is replayed.
    #[handler]
    async fn replay(&self, ctx: &Context, entries: u64) -> HandlerResult<u64> {
        let id = ctx.invocation_id();
        // Each makes two entries: the command and its completion.
        let runs =
            (0..entries / 2).map(|n| ctx.run("run", async move || Ok::<_, TerminalError>(n)));
        let sum: u64 = try_join_all(runs.collect::<Vec<_>>())
            .await?
            .into_iter()
            .sum();
        effect(format!("{id} waits"), "");
        let more = ctx.signal::<u64>("more").await?;
        if effect(format!("{id} replays"), "") == 1 {
            return Err("this fails on purpose".into());
        }
        Ok(sum + more)
    }

    /// Adds to its journal step by step, each awaited.
    #[handler]
    async fn grow(&self, ctx: &Context, steps: u64) -> HandlerResult<u64> {
        let mut sum = 0;
        for n in 0..steps {
            sum += ctx.run("run", async || Ok::<_, TerminalError>(n)).await?;
            if n % 10 == 9 {
                ctx.sleep(ms(1)).await?;
            }
        }
        Ok(sum)
    }

    #[handler]
    async fn go_on(&self, ctx: &Context, ids: Vec<String>) -> HandlerResult<()> {
        for id in ids {
            ctx.invocation(&id)?.resolve_signal("more", &1);
        }
        Ok(())
    }
}

/// Writes and replays several long journals at once.
async fn replay(env: &Env, journals: usize, entries: u64) -> Result {
    let ingress = env.ingress();
    let mut ids = Vec::new();
    for _ in 0..journals {
        ids.push(
            ingress
                .send("Journal", "replay", &entries)
                .await?
                .invocation_id,
        );
    }
    for id in &ids {
        let waits = format!("{id} waits");
        eventually(&waits, async || Ok(effects(&waits).first().map(|_| ()))).await?;
    }
    ingress.call::<()>("Journal", "go_on", &ids).await?;
    for id in &ids {
        let sum: u64 = ingress.attach(id).await?;
        assert_eq!(sum, (0..entries / 2).sum::<u64>() + 1);
        let size = env.invocation(id, "journal_size").await?;
        assert!(size.as_u64() > Some(entries), "{size}");
        assert_eq!(effects(&format!("{id} replays")).len(), 2);
    }
    Ok(())
}

async fn via(env: &Env, via: Via, n: usize) -> Result<Bytes> {
    let key = format!("{via:?} {n}");
    let request = env.ingress().object("Big", &key, "misfit");
    Ok(request.json(&(via, n)).call_raw().await?.body)
}

/// What the server says of an attempt that failed.
async fn failure(env: &Env, of: Via, n: usize) -> Result<String> {
    let key = format!("{of:?} {n} fails");
    let id = env
        .ingress()
        .send_object("Big", &key, "misfit", &(of, n))
        .await?
        .invocation_id;
    let failure = eventually(&key, async || {
        let failure = env.invocation(&id, "last_failure").await?;
        Ok(failure.as_str().map(str::to_owned))
    })
    .await;
    env.admin().kill(&id).await?;
    failure
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.heavy("payloads_just_below_the_limit_pass", ALL, async |env| {
        let n = OUTGOING - 1024;
        let due = n.to_string();
        for by in [Via::State, Via::Run, Via::Call, Via::CallOutput] {
            assert_eq!(via(env, by, n).await?, due, "{by:?}");
        }
        assert_eq!(via(env, Via::Output, n).await?.len(), n);
        let input = env.ingress().object("Big", "input", "length");
        let input = input.raw("application/octet-stream", body(n).0);
        assert_eq!(input.call::<usize>().await?, n);
        Ok(())
    });

    suite.heavy("a_message_above_the_limit_is_not_sent", ALL, async |env| {
        for (by, command) in [
            (Via::State, "SetState"),
            (Via::Run, "ProposeRunCompletion"),
            (Via::Call, "Call"),
            (Via::Output, "Output"),
        ] {
            let failure = failure(env, by, LIMIT).await?;
            let says = format!("a {command} message of ");
            assert!(failure.contains(&says), "{by:?}: {failure}");
            let says = "is not sent, since the runtime takes no more than 33488896 bytes";
            assert!(failure.contains(says), "{by:?}: {failure}");
        }
        // A set of the key `k` has 13 bytes besides its value: this is the largest. A replay of it
        // does not fit into the server's memory for an invocation: it sends the entry and the state.
        let largest = OUTGOING - 13;
        if [Mode::Default, Mode::V7].contains(&env.mode) || env.mode.is_local() {
            let length = via(env, Via::State, largest).await?;
            assert_eq!(length, largest.to_string());
        }
        let failure = failure(env, Via::State, largest + 1).await?;
        assert!(
            failure.contains("a SetState message of 33488897 bytes"),
            "{failure}"
        );
        Ok(())
    });

    suite.heavy(
        "the_limit_may_be_raised_to_the_servers_own",
        DEFAULT,
        async |env| {
            let server = env.server();
            let raised =
                |builder: EndpointBuilder| builder.bind(Big).max_outgoing_message_size(2 * LIMIT);
            let _served = serve_in(env.mode, server, endpoint(raised)).await?;
            let largest = LIMIT + (256 << 10) - 1 - 13;
            assert_eq!(via(env, Via::State, largest).await?, largest.to_string());
            let failure = failure(env, Via::State, largest + 1).await?;
            let says = "hit message size limit: 33816576 >= 33816576";
            assert!(failure.contains(says), "{failure}");
            Ok(())
        },
    );

    suite.case(
        "a_journal_of_ten_thousand_entries_replays",
        ALL,
        async |env| replay(env, 1, 10_000).await,
    );

    suite.case("several_long_journals_replay_at_once", ALL, async |env| {
        replay(env, 5, 4_000).await
    });

    suite.case("a_journal_grows_step_by_step", ALL, async |env| {
        // Where each step is a new attempt, the sum of all replays grows with the square.
        let steps = match env.mode {
            Mode::Default | Mode::V7 | Mode::Local => 500,
            _ => 200,
        };
        let sum: u64 = env.ingress().call("Journal", "grow", &steps).await?;
        assert_eq!(sum, (0..steps).sum::<u64>());
        Ok(())
    });
}
