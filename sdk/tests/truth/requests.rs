//! Requests from outside: what is answered, what is refused, and how.

use std::time::Duration;

use serde_json::json;

use crate::On;
use crate::program::{HOUR, Step};
use crate::table::Suite;
use crate::world::{Ask, Handle, Refusal, World};

/// The code alone: the ingress knows no such request, and speaks of the paths that it knows.
fn code<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> u16 {
    answer.unwrap_err().code
}

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("a_service_answers", async |w| {
        let answer = w.call(Ask::to("Free", "double").json(4)).await;
        w.is("double", answer, json!({"Ok": 8}));
        let answer = w.call_raw(Ask::to("Free", "nothing")).await;
        w.is("nothing", answer, json!({"Ok": ""}));
        let answer = w.call_raw(Ask::to("Free", "bytes").raw("image/png", [0x50, 0]));
        w.is("bytes", answer.await, json!({"Ok": "P\0"}));
    });

    suite.scenario("unknown_names", async |w| {
        let unknown = json!({"Err": {
            "code": 404, "metadata": [],
            "message": "service 'Nobody' not found, make sure to register the service before calling it.",
        }});
        w.is("service", w.call(Ask::to("Nobody", "run")).await, unknown.clone());
        w.is("sent", w.send(Ask::to("Nobody", "run")).await, unknown);
        w.see("handler", w.call(Ask::to("Free", "nobody").json(4)).await);
        let ask = Ask::to("Obj", "nobody").key("a").json(4);
        w.see("handler of an object", w.call(ask).await);
        w.see("handler, sent", w.send(Ask::to("Free", "nobody").json(4)).await);
    });

    suite.scenario("a_key_too_few", async |w| {
        w.is(
            "object",
            code(w.call(Ask::to("Obj", "double").json(4)).await),
            json!(400),
        );
        let none: [Step; 0] = [];
        w.is(
            "workflow",
            code(w.call(Ask::to("Flow", "run").json(none)).await),
            json!(400),
        );
        w.is(
            "sent",
            code(w.send(Ask::to("Obj", "double").json(4)).await),
            json!(400),
        );
    });

    suite.scenario("a_key_too_many", async |w| {
        let ask = || Ask::to("Free", "double").key("k").json(4);
        w.is("call", code(w.call(ask()).await), json!(400));
        w.is("send", code(w.send(ask()).await), json!(400));
    });

    suite.scenario("private_handlers", async |w| {
        w.see("handler", w.call(Ask::to("Free", "private").json(4)).await);
        w.see("service", w.call(Ask::to("Hidden", "double").json(4)).await);
        w.see("sent", w.send(Ask::to("Free", "private").json(4)).await);
        // For handlers they are there.
        let call = |ask| Step::Call(w.wanted(ask));
        let steps = [
            call(Ask::to("Free", "private").json(4)),
            call(Ask::to("Hidden", "double").json(4)),
        ];
        w.is(
            "called by a handler",
            w.call(w.free(steps)).await,
            json!({"Ok": [4, 8]}),
        );
    });

    suite.scenario("bad_bodies", async |w| {
        let double = || Ask::to("Free", "double");
        w.see(
            "no JSON",
            w.call(double().raw("application/json", "no JSON")).await,
        );
        w.see("wrong type", w.call(double().json("four")).await);
        w.see("negative", w.call(double().json(-1)).await);
        w.see("nothing", w.call(double()).await);
        w.see(
            "empty JSON",
            w.call(double().raw("application/json", "")).await,
        );
        w.see("sent nothing", w.send(double()).await);
        // The request is accepted; it is the handler that refuses it.
        let id = w.start(double().raw("application/json", "no JSON")).await;
        w.see("sent no JSON", w.attach(&id).await);
        let nothing = || Ask::to("Free", "nothing");
        w.see(
            "something where nothing is needed",
            w.call(nothing().json(4)).await,
        );
        w.see(
            "null where nothing is needed",
            w.call(nothing().json(())).await,
        );
        let maybe = || Ask::to("Free", "maybe");
        w.see("nothing for an option", w.call(maybe()).await);
        w.see("null for an option", w.call(maybe().json(())).await);
        w.see("bytes: nothing", w.call_raw(Ask::to("Free", "bytes")).await);
        w.see(
            "bytes: empty",
            w.call_raw(Ask::to("Free", "bytes").raw("text/plain", ""))
                .await,
        );
    });

    // A request of the test kit without a content type has the right one.
    suite.scenario("content_types", async |w| {
        for of in [
            "Free/double",
            "Free/nothing",
            "Free/bytes",
            "Events/on_event",
        ] {
            for content_type in [
                "application/json",
                "application/json; charset=utf-8",
                "application/json;charset=utf-8",
                "application/json ;charset=utf-8",
                " application/json",
                "APPLICATION/JSON",
                "application/cbor",
                "application/*",
                "*/*",
                "text/plain",
                "text",
                "",
            ] {
                for body in ["4", ""] {
                    let (service, handler) = of.split_once('/').unwrap();
                    let mut ask = Ask::to(service, handler).raw(content_type, body);
                    if service == "Events" {
                        ask = ask.key(w.key("a"));
                    }
                    w.see(
                        &format!("{of} {content_type} {body}"),
                        w.call_raw(ask).await,
                    );
                }
            }
        }
    });

    suite.scenario("headers_reach_the_handler", async |w| {
        let steps = || {
            vec![
                Step::Header("x-tenant".into()),
                Step::Header("X-Upper".into()),
            ]
        };
        let ask = w
            .free(steps())
            .header("x-tenant", "blue")
            .header("X-Upper", "a b");
        w.see("from outside", w.call(ask).await);
        let wanted = w.wanted(w.free(steps()).header("x-tenant", "red"));
        w.is(
            "from a handler",
            w.call(w.free([Step::Call(wanted)])).await,
            json!({"Ok": [["red", null]]}),
        );
    });

    suite.scenario("terminal_errors", async |w| {
        let fail = |code| Step::Fail(code, "no such thing".into(), Vec::new());
        for code in [400, 404, 409, 418, 499, 500, 503, 599] {
            w.see(&format!("code {code}"), w.call(w.free([fail(code)])).await);
        }
        for text in ["ünicode", "two\nlines", "\"quoted\"", &"long ".repeat(200)] {
            let fail = Step::Fail(500, text.to_owned(), Vec::new());
            w.see("text", w.call(w.free([fail])).await);
        }
        let metadata = vec![
            ("sku".to_owned(), "A-1".to_owned()),
            ("left".to_owned(), "0".to_owned()),
        ];
        let failing = || w.free([Step::Fail(410, "out of stock".into(), metadata.clone())]);
        w.see("metadata", w.call(failing()).await);
        let tried = Step::Try(Box::new(Step::Call(w.wanted(failing()))));
        w.see("for a caller", w.call(w.free([tried])).await);
        let id = w.start(failing()).await;
        w.see("attached", w.attach(&id).await);
        w.is("status", w.status(&id).await, json!("failed"));
        w.see(
            "empty message",
            w.call(w.free([Step::Fail(500, String::new(), Vec::new())]))
                .await,
        );
    });

    suite.scenario("codes_that_http_does_not_know", async |w| {
        let fail = |code| Step::Fail(code, "odd".into(), Vec::new());
        for code in [0, 42, 100, 200, 204, 302, 399, 600, 999, 1000, 65535] {
            let tried = Step::Try(Box::new(Step::Call(w.wanted(w.free([fail(code)])))));
            w.see(
                &format!("{code} for a caller"),
                w.call(w.free([tried])).await,
            );
        }
        // Others cannot be told as an HTTP status, which only the server has.
        for code in [302, 399, 600, 999] {
            w.see(
                &format!("{code} from outside"),
                w.call(w.free([fail(code)])).await,
            );
        }
    });

    suite.scenario("attach_and_output_of_what_is_not_there", async |w| {
        let gone = "inv_1dbhPRDdDpYI1Ahn7RDWfZWPGDsYYaFAcb".to_owned();
        w.see("attach", w.attach(&gone).await);
        w.see("output", w.output(&gone).await);
        // The words for the output differ: the test kit looks for an id first.
        let flow = || Handle::Workflow("Flow".into(), w.key("never"));
        w.see("attach to a workflow", w.attach_to(flow()).await);
        w.see("output of a workflow", code(w.output_of(flow()).await));
        let by_key = || Handle::Idempotent(Ask::to("Free", "double").idempotency_key("never"));
        w.see("attach by key", w.attach_to(by_key()).await);
        w.see("output by key", code(w.output_of(by_key()).await));
    });

    suite.scenario("attach_and_output_later", async |w| {
        let id = w.start(w.free([Step::Awakeable(w.key("wait"))])).await;
        let awakeable = w.noted("wait").await;
        w.is("not yet", w.output(&id).await, json!({"Ok": null}));
        w.is("status", w.status(&id).await, json!("going on"));
        w.see("resolve", w.resolve(&awakeable, json!(7)).await);
        w.is("attach", w.attach(&id).await, json!({"Ok": [7]}));
        w.is("again", w.attach(&id).await, json!({"Ok": [7]}));
        w.is("output", w.output(&id).await, json!({"Ok": [7]}));
        w.is("status", w.status(&id).await, json!("succeeded"));
    });

    suite.scenario("delayed_sends", async |w| {
        let delayed = async |name: &str, millis: u64| {
            let ask = w.free([Step::Note(w.key(name))]);
            let sent = w.send_after(ask, Duration::from_millis(millis)).await;
            sent.unwrap()
        };
        // What is looked at is not due in any case.
        let id = delayed("never", HOUR).await;
        w.is("status", w.status(&id).await, json!("scheduled"));
        w.is("output", w.output(&id).await, json!({"Ok": null}));
        let id = delayed("ran", 1000).await;
        w.is("attach", w.attach(&id).await, json!({"Ok": [null]}));
        w.is("ran", w.notes("ran").len(), json!(1));
        w.is("never", w.notes("never"), json!([]));
    });

    suite.scenario("idempotency", async |w| {
        let ask = |key: &str| {
            w.free([Step::Note(w.key("ran"))])
                .idempotency_key(&w.key(key))
        };
        w.see("first", w.call(ask("a")).await);
        w.see("second", w.call(ask("a")).await);
        w.is("ran", w.notes("ran").len(), json!(1));
        let first = w.start(ask("a")).await;
        w.is(
            "sent: the same",
            w.start(ask("a")).await == first,
            json!(true),
        );
        w.is("attach", w.attach(&first).await, json!({"Ok": [null]}));
        w.is(
            "another key",
            w.start(ask("b")).await == first,
            json!(false),
        );
        // Another handler has keys of its own.
        let other = Ask::to("Free", "suspending").json([Step::Note(w.key("ran"))]);
        let other = w.start(other.idempotency_key(&w.key("a"))).await;
        w.is("another handler", other == first, json!(false));
        w.see("its result", w.attach(&other).await);
        let by_key = || Handle::Idempotent(ask("a"));
        w.is(
            "attach by key",
            w.attach_to(by_key()).await,
            json!({"Ok": [null]}),
        );
        w.is(
            "output by key",
            w.output_of(by_key()).await,
            json!({"Ok": [null]}),
        );
        w.see(
            "purge",
            w.operate(crate::world::Operation::Purge, &first).await,
        );
        w.see("attach", w.attach(&first).await);
        w.see("attach by key", w.attach_to(by_key()).await);
    });

    suite.scenario("idempotency_with_another_input", async |w| {
        let ask = |n: u64| {
            Ask::to("Free", "double")
                .json(n)
                .idempotency_key(&w.key("a"))
        };
        w.is("first", w.call(ask(4)).await, json!({"Ok": 8}));
        w.is("second", w.call(ask(5)).await, json!({"Ok": 8}));
        let bad = Ask::to("Free", "double").raw("application/json", "no JSON");
        let bad = || bad.clone().idempotency_key(&w.key("bad"));
        w.see("a failure", w.call(bad()).await);
        let good = Ask::to("Free", "double")
            .json(4)
            .idempotency_key(&w.key("bad"));
        w.see("stays", w.call(good).await);
    });

    suite.scenario("idempotency_of_objects", async |w| {
        let ask = |key: &str| {
            w.object(key, [Step::Note(w.key("ran")), Step::Key])
                .idempotency_key(&w.key("i"))
        };
        w.see("first", w.call(ask("a")).await);
        w.see("again", w.call(ask("a")).await);
        w.see("another object", w.call(ask("b")).await);
        w.is("ran", w.notes("ran").len(), json!(2));
        w.see(
            "attach by key",
            w.attach_to(Handle::Idempotent(ask("b"))).await,
        );
    });

    suite.scenario("sent_then_called_with_the_same_key", async |w| {
        let ask = || {
            w.free([Step::Awakeable(w.key("wait"))])
                .idempotency_key(&w.key("i"))
        };
        let id = w.start(ask()).await;
        let awakeable = w.noted("wait").await;
        let by_key = || Handle::Idempotent(ask());
        w.is(
            "output by key",
            w.output_of(by_key()).await,
            json!({"Ok": null}),
        );
        w.see("resolve", w.resolve(&awakeable, json!("done")).await);
        w.is("call", w.call(ask()).await, json!({"Ok": ["done"]}));
        w.is(
            "attach by key",
            w.attach_to(by_key()).await,
            json!({"Ok": ["done"]}),
        );
        w.is("one invocation", w.start(ask()).await == id, json!(true));
    });

    suite.scenario("awakeables", async |w: &World| {
        let wait = |name: &str| w.free([Step::Try(Box::new(Step::Awakeable(w.key(name))))]);
        let id = w.start(wait("a")).await;
        let awakeable = w.noted("a").await;
        w.see("resolve", w.resolve(&awakeable, json!({"x": 1})).await);
        w.see("again", w.resolve(&awakeable, json!(2)).await);
        w.is(
            "result",
            w.attach(&id).await,
            json!({"Ok": [{"ok": {"x": 1}}]}),
        );
        w.see("late", w.resolve(&awakeable, json!(3)).await);
        let id = w.start(wait("b")).await;
        let awakeable = w.noted("b").await;
        w.see("reject", w.reject(&awakeable, "nobody answered").await);
        w.is(
            "result",
            w.attach(&id).await,
            json!({"Ok": [{"err": [500, "nobody answered", []]}]}),
        );
        for (what, id) in [
            ("nonsense", "nonsense"),
            ("too short", "sign_1abc"),
            (
                "another letter",
                "prom_1NMyOAvDK2CcBjUH4Rmb7eGBp0DNNDnmsAAAAAQ",
            ),
            ("of nobody", "sign_1NMyOAvDK2CcBjUH4Rmb7eGBp0DNNDnmsAAAAEQ"),
            (
                "no awakeable",
                "sign_1NMyOAvDK2CcBjUH4Rmb7eGBp0DNNDnmsAAAAAQ",
            ),
        ] {
            w.see(what, w.resolve(id, json!(1)).await);
            w.see(what, w.reject(id, "no").await);
        }
    });

    suite.scenario("awakeables_of_handlers", async |w| {
        let id = w
            .start(w.free([Step::Try(Box::new(Step::Awakeable(w.key("a"))))]))
            .await;
        let awakeable = w.noted("a").await;
        w.see(
            "reject",
            w.call(w.telling(Step::Reject(awakeable.clone(), 418, "no".into())))
                .await,
        );
        w.see(
            "too late",
            w.call(w.free([Step::Resolve(awakeable, json!(1))])).await,
        );
        w.see("result", w.attach(&id).await);
        let id = w.start(w.free([Step::Awakeable(w.key("b"))])).await;
        let awakeable = w.noted("b").await;
        w.see(
            "resolve",
            w.call(w.free([Step::Resolve(awakeable, json!(1))])).await,
        );
        w.see("result", w.attach(&id).await);
        let within = Step::Try(Box::new(Step::AwakeableWithin(w.key("c"), 50)));
        w.see("timeout", w.call(w.free([within])).await);
    });

    suite.scenario("what_is_retained", async |w| {
        let kinds = ["brief", "brief_journal", "no_journal"];
        let kinds = kinds
            .into_iter()
            .flat_map(|handler| [(handler, false), (handler, true)]);
        let ask = |(handler, key): (&str, bool)| {
            let ask = Ask::to("Free", handler).json([Step::Note(w.key("ran"))]);
            if key {
                ask.idempotency_key(&w.key(handler))
            } else {
                ask
            }
        };
        let mut ids = Vec::new();
        for kind in kinds.clone() {
            let id = w.start(ask(kind)).await;
            let ended = w.attach(&id).await.map_err(|refusal| refusal.code);
            w.see(&format!("{kind:?}: result"), ended);
            ids.push(id);
        }
        // When these are gone, the journals that are kept for less have been gone for long.
        for ((handler, _), id) in kinds.clone().zip(&ids) {
            if handler == "brief" {
                w.until("it is forgotten", async || {
                    w.status(id).await.is_none().then_some(())
                })
                .await;
            }
        }
        for (kind, id) in kinds.zip(ids) {
            w.see(&format!("{kind:?}: later"), w.attach(&id).await);
            w.see(&format!("{kind:?}: status"), w.status(&id).await);
            w.see(
                &format!("{kind:?}: the same"),
                w.start(ask(kind)).await == id,
            );
        }
        // What was forgotten was done again.
        w.see("ran", w.attach(&w.start(ask(("brief", true))).await).await);
    });

    suite.scenario("an_empty_idempotency_key", async |w| {
        let ask = || w.free([Step::Note(w.key("ran"))]).idempotency_key("");
        w.see("call", w.call(ask()).await);
        w.see("again", w.call(ask()).await);
        w.is("it is a key", w.notes("ran").len(), json!(1));
        let steps = || {
            Step::Call(
                w.wanted(
                    w.free([Step::Note(w.key("by handler"))])
                        .idempotency_key(""),
                ),
            )
        };
        let id = w
            .start(Ask::to("Free", "killed").json([steps(), steps()]))
            .await;
        w.see(
            "by a handler",
            w.attach(&id).await.map_err(|refusal| refusal.code),
        );
        w.see("ran", w.notes("by handler").len());
    });
}
