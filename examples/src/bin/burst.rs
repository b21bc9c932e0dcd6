//! A burst of events, taken in at once and worked off by as many processes as there are.
//!
//! It ends the trouble of scaling a consumer: no more processes than partitions, and with each that
//! comes or goes the group stops to share them out anew, while records are read twice. Here the server
//! takes the burst in, and *requests* go to the processes: one that joins gets the next request, one that
//! dies loses nothing.
//!
//! The service is one program: it serves its handlers, registers itself and subscribes to the topic.
//! `cargo run -p durably-examples --bin burst` shows it at work; with the argument `serve` it is that
//! program (and registers itself if `RESTATE_ADMIN_URL`, `KAFKA_BROKERS` and `ADVERTISED_URL` say where).

use durably::admin::{KafkaCluster, Registration, Subscription};
use durably::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Photo {
    name: String,
}

/// Makes thumbnails.
struct Photos {
    store: Store,
    /// What one process can do at a time.
    workers: Semaphore,
}

/// An attempt that breaks off, since its process has died, is soon followed by another one.
#[durably::service(retry(initial_interval = "100ms", max_interval = "2s"))]
impl Photos {
    /// Invoked for each record of the topic, in whichever process is next.
    #[handler]
    async fn on_upload(&self, ctx: &Context, photo: Photo) -> HandlerResult<()> {
        ctx.run("make a thumbnail", || self.make_thumbnail(&photo))
            .await?;
        Ok(())
    }
}

impl Photos {
    /// Made again after a crash it is the same thumbnail, under the same name: the store has it once.
    async fn make_thumbnail(&self, photo: &Photo) -> anyhow::Result<()> {
        let _worker = self.workers.acquire().await?;
        tokio::time::sleep(WORK).await; // stands for the work
        let thumbnail = Thumbnail {
            made_by: std::process::id(),
        };
        self.store.put(&photo.name, &thumbnail).await?;
        Ok(())
    }
}

/// Where the thumbnails go.
struct Store {
    http: reqwest::Client,
    url: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Thumbnail {
    /// The process.
    made_by: u32,
}

impl Store {
    async fn put(&self, name: &str, thumbnail: &Thumbnail) -> reqwest::Result<()> {
        let url = format!("{}/thumbnails/{name}", self.url);
        let answer = self.http.put(url).json(thumbnail).send().await?;
        answer.error_for_status().map(drop)
    }
}

fn endpoint(store_url: String) -> Result<Endpoint, durably::BuildError> {
    let photos = Photos {
        store: Store {
            http: reqwest::Client::new(),
            url: store_url,
        },
        workers: Semaphore::new(WORKERS),
    };
    Endpoint::builder().bind(photos).build()
}

/// The whole program of the service. Each of its processes does the same, at each start: what is
/// registered already stays as it is.
async fn serve() -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_ansi(false).init();
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let endpoint = endpoint(variable("STORE_URL", "http://localhost:9090"))?;
    let mut server = HttpServer::new(endpoint); // at `PORT`, or 9080
    if let Ok(admin) = std::env::var("RESTATE_ADMIN_URL") {
        let brokers = variable("KAFKA_BROKERS", "localhost:9092");
        let uploads = Subscription::new("kafka://photos/uploads", "Photos/on_upload");
        let registration = Registration::at(admin)
            .advertise(variable("ADVERTISED_URL", "http://localhost:9080"))
            .kafka_cluster(KafkaCluster::new("photos", brokers))
            .subscription(uploads.from_earliest());
        server = server.register(registration);
    }
    server.run().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    durably_examples::exit_code(async {
        match std::env::args().nth(1).as_deref() {
            Some("serve" | "--serve") => serve().await,
            None => or_ctrl_c(start()).await,
            Some(other) => bail!(
                "unknown argument `{other}`: give none for the demonstration, or `serve` to only \
                 serve the handlers"
            ),
        }
    })
    .await
}

// What follows stands for the store and starts the processes, the server and a load balancer between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use axum::{Json, Router, extract::Path, routing::put};
use durably::test_server::{KafkaBroker, ProcessUnderTest, RestateServer, free_port};
use durably_examples::{
    Balancer, ServerDemo, eventually, or_ctrl_c, or_say_why_it_takes_long, record,
};
use tokio::net::TcpListener;

const PHOTOS: usize = 2_000;
const PARTITIONS: i32 = 2;

/// How many thumbnails one process makes at a time, and how long one takes.
const WORKERS: usize = 8;
const WORK: Duration = Duration::from_millis(50);

/// Attempts at once, for each of the server's two partitions.
const ATTEMPTS: usize = 2 * WORKERS;

/// One line of the drawing, and how many thumbnails are a character of it.
const INTERVAL: Duration = Duration::from_millis(500);
const CHARACTER: usize = 8;

/// The store's books.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    names: BTreeSet<String>,
    /// Thumbnails by the process that made them.
    made_by: BTreeMap<u32, usize>,
    /// Stored once more, after a crash before the step was recorded.
    repeated: usize,
}

impl Shelf {
    fn router(&self) -> Router {
        let shelf = self.clone();
        let put_one = async move |Path(name): Path<String>, Json(thumbnail): Json<Thumbnail>| {
            let mut books = shelf.books();
            if books.names.insert(name) {
                *books.made_by.entry(thumbnail.made_by).or_default() += 1;
            } else {
                books.repeated += 1;
            }
        };
        Router::new().route("/thumbnails/{name}", put(put_one))
    }

    fn made_by(&self, process: u32) -> usize {
        let books = self.books();
        books.made_by.get(&process).copied().unwrap_or_default()
    }

    fn made(&self) -> usize {
        self.books().names.len()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start() -> anyhow::Result<()> {
    // What is beyond the limit waits in the server, and goes to whichever process is there when its turn
    // comes: also to one that has joined meanwhile.
    let settings = RestateServer::builder().env(
        "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT",
        ATTEMPTS.to_string(),
    );
    let demo = ServerDemo::start_server_with("Start a Restate server and a Kafka broker", settings)
        .await?;
    demo.tell(demonstrate).await
}

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    let broker =
        or_say_why_it_takes_long("a small Kafka broker (pip, 5 MB)", KafkaBroker::start()).await?;
    broker.create_topic("uploads", PARTITIONS).await?;
    let shelf = Shelf::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let store = format!("http://{}", listener.local_addr()?);
    // Ends with the demonstration.
    let _store = tokio::spawn(axum::serve(listener, shelf.router()).into_future());
    let fleet = Fleet {
        balancer: Balancer::start().await?,
        admin: demo.server().admin_url().to_owned(),
        brokers: broker.bootstrap_servers().to_owned(),
        store,
    };

    demo.step("Start the service: a process that registers itself, and subscribes to the topic");
    let first = fleet.start_process(demo).await?;
    let subscriptions = demo.server().admin().subscriptions().await?;
    for made in &subscriptions {
        demo.say(format!("subscribed {} → {}", made.source, made.sink));
    }

    demo.step(format!(
        "A burst: {PHOTOS} records, in {PARTITIONS} partitions"
    ));
    let photos = (0..PHOTOS).map(|n| {
        let name = format!("photo-{n}");
        record(&name.clone(), &Photo { name })
    });
    let photos = photos.collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    broker.produce_all("uploads", photos).await?;
    demo.say_when(format!("in the topic after {:.1?}", begin.elapsed()));
    let taken_in = eventually("the server has taken the burst in", async || {
        let made = shelf.made();
        let open = open_invocations(demo).await?;
        Ok((made + open >= PHOTOS).then_some(made))
    })
    .await?;
    demo.say_when(format!(
        "in the server after {:.1?}, and nothing can get lost any more; {taken_in} thumbnails are made",
        begin.elapsed()
    ));

    demo.step(format!(
        "Thumbnails per {INTERVAL:?}, by process (█ = {CHARACTER})"
    ));
    let mut chart = Chart::new(demo, &shelf);
    chart.add(&first)?;
    let one = chart.draw_until(PHOTOS / 5).await?;
    let second = fleet.start_process(demo).await?;
    chart.add(&second)?;
    // Counted from here: the first one has not waited for it.
    let before: Vec<_> = chart.made().collect();
    let goal = shelf.made() + PHOTOS * 2 / 5;
    let two = chart.draw_until(goal.min(PHOTOS * 9 / 10)).await?;
    let shares = chart.made().zip(before).map(|(made, before)| made - before);
    let shares: Vec<_> = shares.collect();
    first.kill9();
    demo.say_when("the first process is killed (kill -9); one more is started");
    let third = fleet.start_process(demo).await?;
    chart.add(&third)?;
    chart.draw_until(PHOTOS).await?;

    demo.step("Check it");
    demo.say(format!("one process {one:.0}/s, two {two:.0}/s"));
    let [firsts, seconds] = shares[..] else {
        bail!("two processes were drawn, and {} have shares", shares.len());
    };
    ensure!(
        seconds > firsts / 5,
        "the second process has made {seconds} only, and the first one {firsts}"
    );
    eventually("all invocations end", async || {
        Ok((open_invocations(demo).await? == 0).then_some(()))
    })
    .await?;
    let after = demo.server().admin().subscriptions().await?;
    ensure!(
        after == subscriptions && after.len() == 1,
        "the second process has subscribed once more: {after:?}"
    );
    let books = shelf.books();
    ensure!(books.names.len() == PHOTOS);
    ensure!(
        books.repeated <= 2 * ATTEMPTS,
        "{} steps were repeated, and no more than {} were in the dead process's hands",
        books.repeated,
        2 * ATTEMPTS
    );
    demo.say(format!(
        "all {PHOTOS} thumbnails are there, each once; one subscription, made by whoever came first"
    ));
    demo.say(format!(
        "{} steps of the dead process were stored, but not recorded: stored once more, under their names",
        books.repeated
    ));
    Ok(())
}

/// Invocations that the server has, and that have not ended.
async fn open_invocations(demo: &ServerDemo) -> anyhow::Result<usize> {
    let open = "SELECT COUNT(1) AS n FROM sys_invocation_status WHERE status <> 'completed'";
    let rows = demo.server().query(open).await?;
    let n = rows.first().and_then(|row| row["n"].as_u64());
    Ok(usize::try_from(n.context("the server does not count")?)?)
}

/// What the processes of the service have to know.
struct Fleet {
    balancer: Balancer,
    admin: String,
    brokers: String,
    store: String,
}

impl Fleet {
    /// Starts one more process, and lets it have its share.
    async fn start_process(&self, demo: &ServerDemo) -> anyhow::Result<ProcessUnderTest> {
        let port = free_port()?.to_string();
        let advertised = format!("http://{}", self.balancer.address());
        let process = ProcessUnderTest::builder(std::env::current_exe()?)
            .arg("serve")
            .env("PORT", &port)
            .env("RESTATE_ADMIN_URL", &self.admin)
            .env("ADVERTISED_URL", &advertised)
            .env("KAFKA_BROKERS", &self.brokers)
            .env("STORE_URL", &self.store)
            .spawn()?;
        let patience = Duration::from_secs(60);
        process.wait_for_log("listening", patience).await?;
        self.balancer.add(format!("127.0.0.1:{port}"));
        process.wait_for_log("subscribed", patience).await?;
        let log = process.log();
        let line = log.lines().find(|line| line.contains("subscribed"));
        let change = line.and_then(|line| line.rsplit("change=").next());
        demo.say_when(format!(
            "process {} serves behind {advertised}; change of the subscription: {}",
            process.id().unwrap_or_default(),
            change.unwrap_or("?")
        ));
        Ok(process)
    }
}

/// Draws what the processes do, while they do it.
struct Chart<'a> {
    demo: &'a ServerDemo,
    shelf: &'a Shelf,
    /// The processes, and how many thumbnails each had made at the last line.
    columns: Vec<(u32, usize)>,
}

impl<'a> Chart<'a> {
    fn new(demo: &'a ServerDemo, shelf: &'a Shelf) -> Self {
        Self {
            demo,
            shelf,
            columns: Vec::new(),
        }
    }

    fn add(&mut self, process: &ProcessUnderTest) -> anyhow::Result<()> {
        let id = process.id().context("a process is gone")?;
        self.columns.push((id, self.shelf.made_by(id)));
        Ok(())
    }

    fn made(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|(id, _)| self.shelf.made_by(*id))
    }

    /// Draws a line after each interval until so many thumbnails are made. Gives how many it were per
    /// second.
    async fn draw_until(&mut self, goal: usize) -> anyhow::Result<f64> {
        let (begin, at_first) = (Instant::now(), self.shelf.made());
        while self.shelf.made() < goal {
            let made = self.shelf.made();
            let in_vain = begin.elapsed() > Duration::from_secs(200);
            ensure!(!in_vain, "{made} of {goal} thumbnails are made");
            tokio::time::sleep(INTERVAL).await;
            let left = PHOTOS - self.shelf.made();
            let mut line = format!("{left:4} left");
            for (process, drawn) in &mut self.columns {
                let made = self.shelf.made_by(*process);
                let new = made - *drawn;
                *drawn = made;
                let bar = "█".repeat(new.div_ceil(CHARACTER));
                line += &format!("  {process} {bar:12}{new:4}");
            }
            self.demo.say_when(line);
        }
        let new = self.shelf.made() - at_first;
        Ok(new as f64 / begin.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    fn photo(name: &str) -> Photo {
        let name = name.to_owned();
        Photo { name }
    }

    /// Nobody is at home at this store: the step is scripted.
    #[tokio::test]
    async fn a_record_becomes_a_thumbnail() -> Result {
        let photos = Photos {
            store: Store {
                http: reqwest::Client::new(),
                url: "http://store.invalid".to_owned(),
            },
            workers: Semaphore::new(1),
        };
        let mock = MockContext::service().forbid_runs();
        mock.run("make a thumbnail").returns(&());
        mock.call(async |ctx| photos.on_upload(ctx, photo("a cat")).await)
            .await?;
        assert_eq!(mock.runs(), ["make a thumbnail"]);
        Ok(())
    }

    /// With a store on loopback: a topic, and each record's thumbnail is made once.
    #[tokio::test]
    async fn a_burst_is_worked_off() -> Result {
        let shelf = Shelf::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let store = format!("http://{}", listener.local_addr()?);
        tokio::spawn(axum::serve(listener, shelf.router()).into_future());

        let mut runtime = TestRuntime::builder(endpoint(store)?)
            .always_suspend()
            .build();
        runtime.subscribe("uploads", "Photos/on_upload");
        for n in 0..20 {
            runtime.produce("uploads", "", &photo(&format!("photo-{n}")));
        }
        runtime.run_until_idle_async().await;
        assert_eq!(shelf.made(), 20);
        assert_eq!(shelf.made_by(std::process::id()), 20);
        assert_eq!(shelf.books().repeated, 0);
        Ok(())
    }

    /// The store is away when the first attempt comes: later there is another one.
    #[tokio::test]
    async fn a_store_that_is_away_is_tried_again() -> Result {
        let port = free_port()?;
        let mut runtime = TestRuntime::new(endpoint(format!("http://127.0.0.1:{port}"))?);
        runtime.subscribe("uploads", "Photos/on_upload");
        runtime.produce("uploads", "", &photo("a cat"));
        runtime.settle_async().await;

        let shelf = Shelf::default();
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        tokio::spawn(axum::serve(listener, shelf.router()).into_future());
        runtime.run_until_idle_async().await;
        assert_eq!((shelf.made(), shelf.books().repeated), (1, 0));
        Ok(())
    }
}
