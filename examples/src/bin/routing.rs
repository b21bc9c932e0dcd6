//! Events routed to many consumer APIs, each with its own limit, retries and dead letters.
//!
//! It ends the trouble of fan-out: a loop that posts to one consumer after the other is as slow as the
//! slowest, repeats all when one fails, and hammers those that ask for mercy. Here each delivery is an
//! invocation of its own, in a lane of its target: a lane makes one request at a time, so a target has as
//! many at once as it has lanes, and one that is slow or down holds up nobody else.
//!
//! `cargo run -p durably-examples --bin routing` shows it at work; with the argument `serve` it only
//! serves (and finds the consumers at `CONSUMERS_URL`).

use durably::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    number: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Order,
    Stock,
}

/// Who wants what, and bears how many requests at a time.
const ROUTES: [(&str, &[Kind], u32); 5] = [
    ("mail", &[Kind::Order], 2),
    ("search", &[Kind::Order, Kind::Stock], 2),
    ("billing", &[Kind::Order], 1),
    ("partner", &[Kind::Order, Kind::Stock], 1),
    ("legacy", &[Kind::Order, Kind::Stock], 1),
];

struct Router;

#[durably::service]
impl Router {
    /// Invoked for each record of the topic. An event that comes twice is delivered once: a send with an
    /// idempotency key is one invocation, however often it is sent. (For a day after that has ended, unless the option
    /// `idempotency_retention` of `deliver` says more.)
    #[handler]
    async fn on_event(&self, ctx: &Context, event: Event) -> HandlerResult<()> {
        for (target, kinds, lanes) in ROUTES {
            if kinds.contains(&event.kind) {
                let lane = format!("{target}/{}", event.number % lanes);
                let request = ctx.object_client::<LaneClient>(lane).deliver(event);
                request.idempotency_key(event.number.to_string()).send();
            }
        }
        Ok(())
    }
}

/// A lane to a target; the key is `target/number`. It delivers one event after the other.
struct Lane {
    consumers: Consumers,
}

#[durably::object]
impl Lane {
    #[handler]
    async fn deliver(&self, ctx: &ObjectContext, event: Event) -> HandlerResult<()> {
        let key = ctx.key();
        let target = key.split_once('/').map_or(key, |(target, _)| target);
        let reason = match ctx.get::<String>("gone").await? {
            Some(reason) => reason,
            None => {
                let delivered = ctx.run("post", || self.consumers.post(target, event));
                // While it goes on, all others in the lane wait: a target that is down gets one request
                // now and then, and not one for each event.
                let policy = RetryPolicy::exponential(Duration::from_millis(100), 2.0)
                    .max_delay(Duration::from_millis(400))
                    .max_attempts(60);
                match delivered.retry(policy).await {
                    Ok(()) => return Ok(()),
                    Err(error) if error.is_cancelled() => return Err(error.into()),
                    Err(error) => {
                        if error.code() == GONE {
                            ctx.set("gone", error.message());
                        }
                        error.message().to_owned()
                    }
                }
            }
        };
        let letters = ctx.object_client::<DeadLettersClient>(target);
        letters.add(DeadLetter { event, reason }).send();
        Ok(())
    }

    /// The target is back: the lane delivers again.
    #[handler]
    async fn reopen(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        ctx.clear("gone");
        Ok(())
    }
}

/// What could not be delivered; the key is the target.
struct DeadLetters;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct DeadLetter {
    event: Event,
    reason: String,
}

#[durably::object]
impl DeadLetters {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, letter: DeadLetter) -> HandlerResult<()> {
        let mut letters = ctx.get::<Vec<_>>("letters").await?.unwrap_or_default();
        letters.push(letter);
        ctx.set("letters", &letters);
        Ok(())
    }

    #[handler]
    async fn list(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<DeadLetter>> {
        Ok(ctx.get("letters").await?.unwrap_or_default())
    }
}

const GONE: u16 = 410;

/// The consumers' APIs.
#[derive(Clone)]
struct Consumers {
    http: reqwest::Client,
    url: String,
}

impl Consumers {
    /// Sent again after a crash it has the same idempotency key.
    async fn post(&self, target: &str, event: Event) -> HandlerResult<()> {
        let url = format!("{}/{target}", self.url);
        let request = self.http.post(url).json(&event);
        let request = request.header("idempotency-key", format!("event-{}", event.number));
        let answer = request.timeout(Duration::from_secs(10)).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let failure = format!("{target} answers {status}");
        let busy = status.is_server_error() || status.as_u16() == 429;
        if !busy {
            let code = status.as_u16();
            return Err(TerminalError::new(failure).with_code(code).into());
        }
        let after = answer.headers().get("retry-after");
        let seconds = after.and_then(|after| after.to_str().ok()?.parse().ok());
        let error = RetryableError::new(failure);
        Err(match seconds {
            Some(seconds) => error.after(Duration::from_secs(seconds)).into(),
            None => error.into(),
        })
    }
}

fn endpoint(consumers: Consumers) -> Result<Endpoint, durably::BuildError> {
    Endpoint::builder()
        .bind(Router)
        .bind(Lane { consumers })
        .bind(DeadLetters)
        .build()
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let url = std::env::var("CONSUMERS_URL");
    let consumers = Consumers {
        http: reqwest::Client::new(),
        url: url.unwrap_or_else(|_| "http://localhost:9090".to_owned()),
    };
    durably_examples::run_apart_with_server(endpoint(consumers), demonstrate).await
}

// What follows stands for the consumers, produces the events, and shows what happened when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use durably_examples::{ServerDemo, eventually, record};
use tokio::net::TcpListener;

const EVENTS: u32 = 24;

/// How long billing is down.
const OUTAGE: Duration = Duration::from_millis(1500);

/// How many requests the partner takes before it wants to be left alone, and how long then.
const QUOTA: usize = 8;
const MERCY: Duration = Duration::from_secs(1);

/// The consumers, one beside the other.
#[derive(Clone, Default)]
struct Street(Arc<Mutex<BTreeMap<String, House>>>);

/// What a consumer has seen.
#[derive(Clone, Debug, Default)]
struct House {
    requests: usize,
    open: usize,
    most_open: usize,
    /// By idempotency key.
    delivered: BTreeSet<String>,
    repeated: usize,
    first: Option<Instant>,
    last: Option<Instant>,
    /// It takes nothing until then.
    closed_until: Option<Instant>,
    /// Requests nevertheless.
    impatient: usize,
    in_quota: usize,
}

impl Street {
    /// Gives the address.
    async fn open(&self) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let street = self.clone();
        let knock = async move |Path(target): Path<String>, headers: HeaderMap, _: Json<Event>| {
            let key = headers.get("idempotency-key");
            let key = key.and_then(|key| key.to_str().ok()).unwrap_or_default();
            street.knock(&target, key).await
        };
        let router = axum::Router::new().route("/{target}", post(knock));
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(url)
    }

    async fn knock(&self, target: &str, key: &str) -> (StatusCode, HeaderMap) {
        let status = self.enter(target);
        let work = if target == "search" { 150 } else { 10 };
        tokio::time::sleep(Duration::from_millis(work)).await;
        let mut houses = self.houses();
        let house = houses.entry(target.to_owned()).or_default();
        house.open -= 1;
        let mut headers = HeaderMap::new();
        if status == StatusCode::OK {
            house.last = Some(Instant::now());
            if !house.delivered.insert(key.to_owned()) {
                house.repeated += 1;
            }
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert("retry-after", MERCY.as_secs().into());
        }
        (status, headers)
    }

    fn enter(&self, target: &str) -> StatusCode {
        let now = Instant::now();
        let mut houses = self.houses();
        let house = houses.entry(target.to_owned()).or_default();
        house.requests += 1;
        house.open += 1;
        house.most_open = house.most_open.max(house.open);
        let first = *house.first.get_or_insert(now);
        match target {
            "billing" if now < first + OUTAGE => StatusCode::SERVICE_UNAVAILABLE,
            "legacy" => StatusCode::GONE,
            "partner" => {
                if house.closed_until.is_some_and(|until| now < until) {
                    house.impatient += 1;
                }
                if house.in_quota == QUOTA {
                    house.in_quota = 0;
                    house.closed_until = Some(now + MERCY);
                    return StatusCode::TOO_MANY_REQUESTS;
                }
                house.in_quota += 1;
                StatusCode::OK
            }
            _ => StatusCode::OK,
        }
    }

    fn house(&self, target: &str) -> House {
        self.houses().get(target).cloned().unwrap_or_default()
    }

    fn houses(&self) -> MutexGuard<'_, BTreeMap<String, House>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(number: u32) -> Event {
    let kind = match number % 4 {
        0 | 1 => Kind::Order,
        _ => Kind::Stock,
    };
    Event { number, kind }
}

/// How many of the events a target wants.
fn wanted(kinds: &[Kind]) -> usize {
    (0..EVENTS)
        .filter(|number| kinds.contains(&event(*number).kind))
        .count()
}

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    demo.step("Start the consumers and the handlers, and subscribe the router to a topic");
    let street = Street::default();
    let consumers = street.open().await?;
    demo.say(format!("consumers  {consumers}"));
    let _handlers = demo.serve_apart(&[("CONSUMERS_URL", &consumers)]).await?;
    let broker = demo.start_kafka().await?;
    broker.create_topic("events", 2).await?;
    demo.subscribe("events", "Router/on_event").await?;

    demo.step(format!(
        "Produce {EVENTS} events, and the first six of them twice"
    ));
    let records = (0..EVENTS)
        .chain(0..6)
        .map(|number| record("", &event(number)));
    let records = records.collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    broker.produce_all("events", records).await?;
    demo.say("mail is quick, search slow, billing down, the partner busy, legacy gone for good");
    for (target, kinds, _) in ROUTES {
        let wanted = wanted(kinds);
        eventually(format!("what {target} gets"), async || {
            let delivered = street.house(target).delivered.len();
            let letters = demo.client().object::<DeadLettersClient>(target).list();
            Ok((delivered + letters.await?.len() >= wanted).then_some(()))
        })
        .await?;
    }
    eventually("the rest of what the server has to do", async || {
        let open = "SELECT COUNT(1) AS n FROM sys_invocation_status WHERE status <> 'completed'";
        let rows = demo.server().query(open).await?;
        Ok((rows.first().and_then(|row| row["n"].as_u64()) == Some(0)).then_some(()))
    })
    .await?;

    demo.step("Look at what each target got");
    demo.say("target   wanted  requests  delivered  dead letters  at once  first   last");
    for (target, kinds, lanes) in ROUTES {
        let house = street.house(target);
        let letters = demo.client().object::<DeadLettersClient>(target);
        let letters = letters.list().await?;
        let at = |time: Option<Instant>| {
            let time = time.map(|time| time.saturating_duration_since(begin).as_secs_f64());
            time.map_or("-".to_owned(), |seconds| format!("{seconds:.1}s"))
        };
        let (wanted, delivered) = (wanted(kinds), house.delivered.len());
        demo.say(format!(
            "{target:8} {wanted:6} {:9} {delivered:10} {:13} {:8} {:>6} {:>6}",
            house.requests,
            letters.len(),
            house.most_open,
            at(house.first),
            at(house.last),
        ));
        ensure!(
            house.most_open <= lanes as usize,
            "{target}: too many at once"
        );
        ensure!(house.repeated == 0, "{target} got something twice");
        let gone = if target == "legacy" { wanted } else { 0 };
        ensure!(letters.len() == gone && delivered == wanted - gone);
        let numbers: BTreeSet<_> = letters.iter().map(|letter| letter.event.number).collect();
        ensure!(numbers.len() == gone, "a letter is there twice");
    }

    demo.step("Check it");
    let last = |target| street.house(target).last.context("nothing was delivered");
    for other in ["search", "billing", "partner"] {
        ensure!(last("mail")? < last(other)?, "mail waited for {other}");
    }
    demo.say("mail was done first: it waited for nobody");
    let billing = street.house("billing");
    let in_vain = billing.requests - billing.delivered.len();
    demo.say(format!(
        "billing was down, and got {in_vain} requests meanwhile"
    ));
    ensure!((1..=8).contains(&in_vain));
    let partner = street.house("partner");
    let refused = partner.requests - partner.delivered.len();
    demo.say(format!(
        "the partner asked for a pause {refused} times, and had it each time"
    ));
    ensure!(refused == 2 && partner.impatient == 0, "{partner:?}");
    ensure!(
        street.house("legacy").requests == 1,
        "legacy was asked again"
    );
    demo.say("legacy was asked once; what it should have had is kept as dead letters");
    demo.say("each event reached each target once, also those that came twice");
    Ok(())
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, object};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    fn lane() -> Lane {
        let consumers = Consumers {
            http: reqwest::Client::new(),
            url: "http://consumers.invalid".to_owned(),
        };
        Lane { consumers }
    }

    #[tokio::test]
    async fn an_event_goes_to_those_who_want_it() -> Result {
        let mock = MockContext::service();
        let stock = event(3);
        mock.call(async |ctx| Router.on_event(ctx, stock).await)
            .await?;
        assert_eq!(mock.all_sends().len(), 3);
        for lane in ["search/1", "partner/0", "legacy/0"] {
            let sent = mock.sends(object::<LaneClient>(lane).deliver(event(0)));
            assert_eq!(sent.len(), 1, "{lane}");
            assert_eq!(sent[0].input, stock);
        }
        Ok(())
    }

    /// One refusal for good, and the next event does not even ask.
    #[tokio::test]
    async fn what_is_gone_is_asked_once() -> Result {
        let mock = MockContext::object("legacy/0").forbid_runs();
        mock.run("post")
            .fails(TerminalError::new("legacy answers 410 Gone").with_code(GONE));
        for number in 0..2 {
            mock.call(async |ctx| lane().deliver(ctx, event(number)).await)
                .await?;
        }
        assert_eq!(mock.runs(), ["post"]);
        let letter = DeadLetter {
            event: event(0),
            reason: String::new(),
        };
        let sent = mock.sends(object::<DeadLettersClient>("legacy").add(letter));
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[1].input.reason, "legacy answers 410 Gone");
        mock.call(async |ctx| lane().reopen(ctx).await).await?;
        assert!(mock.state_keys().is_empty());
        Ok(())
    }

    /// With consumers on loopback: each event once, and a pause that takes no time. (Billing is down for a time
    /// that is real.)
    #[tokio::test]
    async fn all_get_what_they_want() -> Result {
        let street = Street::default();
        let consumers = Consumers {
            http: reqwest::Client::new(),
            url: street.open().await?,
        };
        let mut runtime = TestRuntime::new(endpoint(consumers)?);
        runtime.subscribe("events", "Router/on_event");
        let begin = runtime.now();
        for number in (0..9).chain(0..3) {
            runtime.produce("events", "", &event(number));
        }
        runtime.run_until_idle_async().await;
        assert!(runtime.now() - begin >= MERCY);
        let partner = street.house("partner").requests;
        assert_eq!(partner, 9 + 1, "refused once, and asked again");
        for (target, delivered) in [("mail", 5), ("search", 9), ("partner", 9), ("legacy", 0)] {
            let house = street.house(target);
            assert_eq!(house.delivered.len(), delivered, "{target}");
            assert_eq!(house.repeated, 0, "{target}");
        }
        let letters = object::<DeadLettersClient>("legacy").list();
        assert_eq!(runtime.call_async(letters).await?.len(), 9);
        Ok(())
    }
}
