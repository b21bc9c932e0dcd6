//! Records that are out of the ordinary, and what becomes of those that a handler cannot take.

use durably::prelude::*;
use durably::test_server::{KafkaBroker, KafkaRecord};
use durably::{DeadLetter, Raw};

use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms};
use crate::kafka::{EARLIEST, broker};
use crate::suite::{DEFAULT, Mode, SERVER, Suite, V7};

/// Takes numbers, but for 13.
pub(crate) struct Numbers;

#[durably::object]
impl Numbers {
    #[handler(kafka(dead_letter = "DeadLetters/all/record"))]
    async fn kept(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        add(ctx, event).await
    }

    #[handler(
        kafka(on_decode_failure = "pause", on_terminal_failure = "pause"),
        retry(max_attempts = 2, initial_interval = "10ms", on_max_attempts = "pause")
    )]
    async fn misread(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        add(ctx, event).await
    }

    #[handler]
    async fn plain(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        add(ctx, event).await
    }

    #[handler]
    async fn sum(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(ctx.get("sum").await?.unwrap_or_default())
    }
}

async fn add(ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
    // Something to wait for, and to replay.
    let number = ctx.run("look", async || {
        Ok::<_, std::io::Error>(event.value().copied())
    });
    let number = number.await?.unwrap_or_default();
    if number == 13 {
        let error = TerminalError::new("13 brings bad luck:\n\ton purpose – “always”");
        return Err(error.with_code(418).into());
    }
    let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + number;
    ctx.set("sum", &sum);
    Ok(sum)
}

pub(crate) struct DeadLetters;

#[durably::object]
impl DeadLetters {
    /// Tells of it, and mends it: as the number 7 it is given back.
    #[handler]
    async fn record(&self, ctx: &ObjectContext, letter: DeadLetter) -> HandlerResult<()> {
        let (record, error) = (&letter.record, &letter.error);
        assert!(record.subscription_id.is_some() && record.timestamp_millis.is_some());
        assert!(letter.invocation_id.starts_with("inv_"));
        let line = format!(
            "{:?} {:?} at {} of {:?}: {} {:?} {}",
            letter.value,
            record.key,
            letter.handler,
            ctx.key(),
            error.code(),
            error.message(),
            letter.undecodable,
        );
        let topic = record.topic.clone();
        ctx.run("tell", async || {
            effect(topic, line);
            Ok::<_, std::io::Error>(())
        })
        .await?;
        let mut mended = letter.clone();
        mended.value = "7".into();
        mended.resend(ctx).send();
        Ok(())
    }
}

/// Tells what it sees of keys and values.
pub(crate) struct Witness;

#[durably::service]
impl Witness {
    #[handler(ingress_private)]
    async fn see(&self, ctx: &Context, event: KafkaEvent<Raw>) -> HandlerResult<()> {
        let value = event.value().map(|value| value.len());
        let line = format!("{:?} {value:?}", event.key());
        let topic = event.topic().unwrap_or("by call").to_owned();
        ctx.run("tell", async || {
            effect(topic, line);
            Ok::<_, std::io::Error>(())
        })
        .await?;
        Ok(())
    }
}

/// Sleeps.
struct Napper;

#[durably::service]
impl Napper {
    #[handler]
    async fn nap(&self, ctx: &Context, event: KafkaEvent<u64>) -> HandlerResult<()> {
        let topic = event.topic().unwrap_or_default();
        let tell = |what| {
            ctx.run("tell", async move || {
                effect(topic, what);
                Ok::<_, std::io::Error>(())
            })
        };
        tell("lies down").await?;
        ctx.sleep(ms(1_000)).await?;
        tell("gets up").await?;
        Ok(())
    }
}

pub(crate) struct Once;

#[durably::workflow]
impl Once {
    #[handler]
    async fn run(&self, _ctx: &WorkflowContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        Ok(event.into_value().unwrap_or_default())
    }
}

/// A new topic with one partition, and its subscriber.
async fn topic(env: &Env, name: &str, sink: &str) -> Result<String> {
    let topic = format!("{name}-{:?}", env.mode);
    broker(env).await?.create_topic(&topic, 1).await?;
    let source = format!("kafka://broker/{topic}");
    env.server()
        .subscribe(&source, &format!("service://{sink}"), EARLIEST)
        .await?;
    Ok(topic)
}

async fn produce(env: &Env, topic: &str, records: Vec<KafkaRecord>) -> Result {
    broker(env).await?.produce_all(topic, records).await?;
    Ok(())
}

fn record(key: &str, value: &str) -> KafkaRecord {
    KafkaRecord::new().key(key).value(value)
}

async fn wait_for_sum(env: &Env, key: &str, wanted: u64) -> Result {
    eventually(&format!("the sum of {key} is {wanted}"), async || {
        let sum: u64 = env
            .ingress()
            .call_object("Numbers", key, "sum", &())
            .await?;
        Ok((sum == wanted).then_some(()))
    })
    .await
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("dead_letters_arrive_as_they_were", SERVER, async |env| {
        let topic = topic(env, "kept", "Numbers/kept").await?;
        let records = vec![
            KafkaRecord::new().key("bad").value(b"\xff\x00 no JSON"),
            record("bad", "1"),
            record("unlucky", "13"),
            record("unlucky", "2"),
        ];
        produce(env, &topic, records).await?;
        wait_for_sum(env, "bad", 8).await?;
        wait_for_sum(env, "unlucky", 9).await?;
        let mut letters = effects(&topic);
        letters.sort();
        assert_eq!(
            letters,
            [
                "b\"13\" Some(b\"unlucky\") at Numbers/unlucky/kept of \"all\": \
                 418 \"13 brings bad luck:\\n\\ton purpose – “always”\" false",
                "b\"\\xff\\0 no JSON\" Some(b\"bad\") at Numbers/bad/kept of \"all\": \
                 400 \"the input cannot be decoded: expected value at line 1 column 1\" true",
            ]
        );
        // Whoever calls gets the error.
        let reply = env.ingress().object("Numbers", "called", "kept");
        let error = reply
            .raw("application/json", "no number")
            .call::<u64>()
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(400), "{error}");
        assert_eq!(effects(&topic).len(), 2);
        Ok(())
    });

    suite.case("records_pause_their_invocation", SERVER, async |env| {
        let topic = topic(env, "paused", "Numbers/misread").await?;
        for (round, bad) in ["no JSON", "13"].into_iter().enumerate() {
            let records = vec![
                record("held up", bad),
                record("held up", "7"),
                record("free", "7"),
            ];
            produce(env, &topic, records).await?;
            let sum = 7 * (round as u64 + 1);
            wait_for_sum(env, "free", sum).await?;
            let paused = "SELECT id, modified_at FROM sys_invocation \
                          WHERE target_service_key = 'held up' AND status = 'paused'";
            let row = eventually("the invocation is paused", async || {
                Ok(env.server().query(paused).await?.into_iter().next())
            })
            .await?;
            let id = row["id"].as_str().unwrap_or_default();
            // The table of invocations forgets why; the events of its journal do not.
            let why = format!("SELECT event_json FROM sys_journal_events WHERE id = '{id}'");
            let events = env.server().query(&why).await?;
            let failure = format!("{events:?}");
            // Only from v7 on can the server be asked; else it tries again first.
            assert_eq!(failure.contains("TransientError"), !V7.contains(&env.mode));
            let place = format!("at offset {} of {topic}, partition 0", 3 * round);
            assert!(
                failure.contains(&place) && failure.contains("waits for a repair"),
                "{failure}"
            );
            // Repaired or not, it goes on where it stood.
            env.admin().resume(id).await?;
            eventually("the invocation is paused again", async || {
                let again = env.server().query(paused).await?;
                let again = again.first().map(|again| &again["modified_at"]);
                let another = again.is_some_and(|start| *start != row["modified_at"]);
                Ok(another.then_some(()))
            })
            .await?;
            env.admin().cancel(id).await?;
            wait_for_sum(env, "held up", sum).await?;
        }
        Ok(())
    });

    suite.case("services_see_every_key", SERVER, async |env| {
        let topic = topic(env, "witnessed", "Witness/see").await?;
        let records = vec![
            KafkaRecord::new().key(b"\xff\x00").value("x"),
            KafkaRecord::new().key("").value("xy"),
            KafkaRecord::new().value("xyz"),
            KafkaRecord::new().key("gone"),
            KafkaRecord::new().key("empty").value(""),
        ];
        produce(env, &topic, records).await?;
        let mut seen = eventually("all records are seen", async || {
            let seen = effects(&topic);
            Ok((seen.len() >= 5).then_some(seen))
        })
        .await?;
        seen.sort();
        assert_eq!(
            seen,
            [
                "None Some(3)",
                "Some(b\"\") Some(2)",
                "Some(b\"\\xff\\0\") Some(1)",
                "Some(b\"empty\") None",
                "Some(b\"gone\") None",
            ]
        );
        Ok(())
    });

    suite.case(
        "a_subscription_takes_its_group_over",
        DEFAULT,
        async |env| {
            // Offsets are committed every five seconds, and at the end. Should that take longer than
            // usual, another group is left more time.
            for (topic, pause) in [("succession", 1_000), ("late-succession", 15_000)] {
                broker(env).await?.create_topic(topic, 1).await?;
                let source = format!("kafka://broker/{topic}");
                let options = [("auto.offset.reset", "earliest"), ("group.id", topic)];
                let subscribe = async || {
                    let sink = "service://Witness/see";
                    env.server().subscribe(&source, sink, &options).await
                };
                let wait_for = async |count| {
                    let what = format!("{count} records are seen");
                    eventually(&what, async || {
                        let seen = effects(topic).len();
                        Ok((seen >= count).then_some(()))
                    })
                    .await
                };
                let first = subscribe().await?;
                produce(env, topic, vec![record("a", "x"), record("b", "xx")]).await?;
                wait_for(2).await?;
                env.server().unsubscribe(&first).await?;
                tokio::time::sleep(ms(pause)).await;
                produce(env, topic, vec![record("c", "xxx")]).await?;
                subscribe().await?;
                wait_for(3).await?;
                produce(env, topic, vec![record("d", "xxxx")]).await?;
                wait_for(4).await?;
                let seen = effects(topic);
                if seen.len() > 4 && pause < 15_000 {
                    continue;
                }
                assert_eq!(seen.len(), 4, "{seen:?}");
                break;
            }
            Ok(())
        },
    );

    suite.alone("a_limited_scope_holds_records_back", V7, async |mode| {
        let server = mode.server().scopes();
        let server = server.env("RESTATE_EXPERIMENTAL_ENABLE_KAFKA_SCOPE", "true");
        let server = server.start().await?;
        let _served = server
            .serve(endpoint(|builder| builder.bind(Napper)))
            .await?;
        server.limit_concurrency("bed", 1).await?;
        let broker = KafkaBroker::start().await?;
        server
            .create_kafka_cluster("broker", broker.bootstrap_servers())
            .await?;
        let topic = format!("naps-{mode:?}");
        broker.create_topic(&topic, 2).await?;
        let source = format!("kafka://broker/{topic}");
        server
            .subscribe(&source, "service://Napper/nap", EARLIEST)
            .await?;
        let records = (0..4).map(|n| {
            let record = record(&n.to_string(), &n.to_string());
            record.header("x-restate-scope", "bed")
        });
        broker.produce_all(&topic, records).await?;
        let naps = eventually("all have slept", async || {
            let naps = effects(&topic);
            Ok((naps.len() == 8).then_some(naps))
        })
        .await?;
        let one_by_one = ["lies down", "gets up"].repeat(4);
        match mode {
            // Whoever is suspended leaves the bed to the next.
            Mode::V7Suspend => assert_eq!(naps[1], "lies down", "{naps:?}"),
            _ => assert_eq!(naps, one_by_one),
        }
        Ok(())
    });

    suite.case(
        "null_and_empty_keys_meet_on_one_object",
        SERVER,
        async |env| {
            let topic = topic(env, "keyless", "Numbers/plain").await?;
            let records = vec![
                KafkaRecord::new().value("1"),
                KafkaRecord::new().key("").value("20"),
                KafkaRecord::new(),
                KafkaRecord::new().value("300"),
            ];
            produce(env, &topic, records).await?;
            let state = "SELECT value_utf8 FROM state WHERE service_name = 'Numbers' \
                     AND service_key = '' AND key = 'sum'";
            eventually("all reach the object without a name", async || {
                let rows = env.server().query(state).await?;
                let sum = rows.first().and_then(|row| row["value_utf8"].as_str());
                Ok((sum == Some("321")).then_some(()))
            })
            .await
        },
    );

    suite.case("a_workflow_takes_its_first_record", SERVER, async |env| {
        let topic = topic(env, "once", "Once/run").await?;
        let key = |n| format!("{topic} {n}");
        let records = vec![
            record(&key(1), "1"),
            record(&key(1), "2"),
            record(&key(2), "3"),
        ];
        produce(env, &topic, records).await?;
        eventually("the record after the second one", async || {
            let output = env.ingress().output_workflow::<u64>("Once", &key(2)).await;
            Ok(output.ok().flatten())
        })
        .await?;
        let first: u64 = env.ingress().attach_workflow("Once", &key(1)).await?;
        assert_eq!(first, 1);
        let sql = format!(
            "SELECT COUNT(1) AS n FROM sys_invocation WHERE target_service_key = '{}'",
            key(1)
        );
        assert_eq!(
            env.server().query(&sql).await?,
            [serde_json::json!({ "n": 1 })]
        );
        Ok(())
    });
}
