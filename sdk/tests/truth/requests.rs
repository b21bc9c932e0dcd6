//! Requests from outside: what is answered, what is refused, and how.

use serde_json::json;

use crate::On;
use crate::table::Suite;
use crate::world::Ask;

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("a_service_answers", async |w| {
        let answer = w.call(Ask::to("Free", "double").json(4)).await;
        w.is("double", answer, json!({"Ok": 8}));
        let answer = w.call_raw(Ask::to("Free", "nothing")).await;
        w.is("nothing", answer, json!({"Ok": ""}));
    });
    suite.scenario("unknown_names", async |w| {
        w.see("service", w.call(Ask::to("Nobody", "run")).await);
        w.see("handler", w.call(Ask::to("Free", "nobody").json(4)).await);
        w.see("handler of an object", w.call(Ask::to("Obj", "nobody").key("a").json(4)).await);
        w.see("sent to a service", w.send(Ask::to("Nobody", "run")).await);
        w.see("sent to a handler", w.send(Ask::to("Free", "nobody").json(4)).await);
    });
    suite.scenario("a_key_too_few", async |w| {
        w.see("object", w.call(Ask::to("Obj", "double").json(4)).await);
        w.see("workflow", w.call(Ask::to("Flow", "run").json(json!([]))).await);
        w.see("sent", w.send(Ask::to("Obj", "double").json(4)).await);
    });
    suite.scenario("a_key_too_many", async |w| {
        w.see("call", w.call(Ask::to("Free", "double").key("k").json(4)).await);
        w.see("send", w.send(Ask::to("Free", "double").key("k").json(4)).await);
    });
    suite.scenario("private_handlers", async |w| {
        w.see("handler", w.call(Ask::to("Free", "private").json(4)).await);
        w.see("service", w.call(Ask::to("Hidden", "double").json(4)).await);
        w.see("sent", w.send(Ask::to("Free", "private").json(4)).await);
    });
    suite.scenario("bad_bodies", async |w| {
        let double = || Ask::to("Free", "double");
        w.see("no JSON", w.call(double().raw("application/json", "no JSON")).await);
        w.see("wrong type", w.call(double().json("four")).await);
        w.see("nothing", w.call(double()).await);
        w.see("empty JSON", w.call(double().raw("application/json", "")).await);
        w.see("sent nothing", w.send(double()).await);
        let nothing = || Ask::to("Free", "nothing");
        w.see("something where nothing is needed", w.call(nothing().json(4)).await);
        w.see("null where nothing is needed", w.call(nothing().json(())).await);
        let maybe = || Ask::to("Free", "maybe");
        w.see("nothing for an option", w.call(maybe()).await);
        w.see("null for an option", w.call(maybe().json(())).await);
        w.see("bytes: nothing", w.call_raw(Ask::to("Free", "bytes")).await);
        w.see("bytes", w.call_raw(Ask::to("Free", "bytes").body("abc")).await);
    });
    suite.scenario("content_types", async |w| {
        for of in ["double", "nothing", "bytes"] {
            for content_type in [
                "application/json",
                "application/json; charset=utf-8",
                "APPLICATION/JSON",
                "application/cbor",
                "application/*",
                "application/octet-stream",
                "text/plain",
                "nonsense",
            ] {
                let body = if of == "nothing" { "" } else { "4" };
                let ask = Ask::to("Free", of).raw(content_type, body);
                w.see(&format!("{of} {content_type}"), w.call_raw(ask).await);
            }
            w.see(&format!("{of} without"), w.call_raw(Ask::to("Free", of).body("4")).await);
        }
    });
}
