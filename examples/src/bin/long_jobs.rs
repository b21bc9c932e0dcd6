//! Records that take long, and do not hold up those behind them in the partition.
//!
//! It ends the trouble of head-of-line waiting: a consumer loop that works for minutes on one record lets
//! all others wait, is thrown out of its group meanwhile, and the record begins anew somewhere else.
//!
//! `cargo run -p durably-examples --bin long_jobs` shows it at work; with the argument `serve` it only
//! serves.

use std::sync::Arc;

use durably::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upload {
    title: String,
    /// How much work it is.
    size: u32,
}

/// Uploads in order: the record's key, a channel, is the object's key. Each channel has a queue of its
/// own, so that its uploads come one after the other, and those of other channels side by side.
struct Channel {
    studio: Studio,
}

#[durably::object]
impl Channel {
    #[handler]
    async fn on_upload(&self, ctx: &ObjectContext, upload: Upload) -> HandlerResult<()> {
        self.studio.work(ctx, "film", &upload).await?;
        let mut published = ctx.get::<Vec<_>>("published").await?.unwrap_or_default();
        published.push(upload.title);
        ctx.set("published", &published);
        Ok(())
    }

    /// What the channel shows, also while it works on the next film.
    #[handler]
    async fn published(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<String>> {
        Ok(ctx.get("published").await?.unwrap_or_default())
    }
}

/// The same uploads, where order does not matter: a service takes all of them side by side.
struct Posters {
    studio: Studio,
}

#[durably::service]
impl Posters {
    #[handler]
    async fn on_upload(&self, ctx: &Context, mut upload: Upload) -> HandlerResult<()> {
        upload.size = upload.size.min(POSTER);
        self.studio.work(ctx, "poster", &upload).await
    }
}

/// Where the long work is done: a farm of machines that takes jobs.
#[derive(Clone)]
struct Studio {
    farm: Arc<Farm>,
    look_every: Duration,
}

impl Studio {
    /// Hands a job to the farm, and waits until it is done: minutes, or days. Nothing is held meanwhile,
    /// no thread and no connection; a handler that sleeps for long is not even in memory. After a crash
    /// it goes on waiting for the same job. (A single step that takes long is another matter: the server
    /// cuts it off after the handler's `inactivity_timeout` and `abort_timeout`, one after the other, and it
    /// begins anew.)
    async fn work(&self, ctx: &Context, kind: &str, upload: &Upload) -> HandlerResult<()> {
        // Should the step be repeated, the farm knows the job by its id.
        let job = ctx.invocation_id();
        ctx.run("submit", || self.farm.submit(job, kind, upload))
            .await?;
        while !ctx.run("look", || self.farm.is_done(job)).await? {
            ctx.sleep(self.look_every).await?;
        }
        Ok(())
    }
}

fn endpoint(studio: Studio) -> Result<Endpoint, durably::BuildError> {
    let channel = Channel {
        studio: studio.clone(),
    };
    Endpoint::builder()
        .bind(channel)
        .bind(Posters { studio })
        .build()
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let farm = Arc::new(Farm::default());
    let studio = Studio {
        farm: farm.clone(),
        look_every: Duration::from_millis(100),
    };
    durably_examples::run_with_server(endpoint(studio), async |demo| {
        demonstrate(demo, &farm).await
    })
    .await
}

// What follows stands for the farm, produces the records, and draws what happened when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use durably_examples::{ServerDemo, eventually, record};

/// The size of a poster.
const POSTER: u32 = 2;

/// Characters of the longest bar.
const WIDTH: f64 = 60.0;

/// Stands for the farm. A job is done when somebody has looked `size` times whether it is.
#[derive(Default)]
struct Farm {
    jobs: Mutex<BTreeMap<String, Job>>,
}

#[derive(Clone, Debug)]
struct Job {
    kind: String,
    title: String,
    left: u32,
    begun: Instant,
    ended: Option<Instant>,
}

impl Farm {
    async fn submit(&self, id: &str, kind: &str, upload: &Upload) -> std::io::Result<()> {
        let job = Job {
            kind: kind.to_owned(),
            title: upload.title.clone(),
            left: upload.size,
            begun: Instant::now(),
            ended: None,
        };
        self.jobs().entry(id.to_owned()).or_insert(job);
        Ok(())
    }

    async fn is_done(&self, id: &str) -> std::io::Result<bool> {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else {
            return Err(std::io::Error::other(format!("there is no job {id}")));
        };
        if job.left == 0 {
            job.ended.get_or_insert_with(Instant::now);
            return Ok(true);
        }
        job.left -= 1;
        Ok(false)
    }

    /// When the jobs of a kind were begun and ended, in seconds since the first of them was begun.
    fn times(&self, kind: &str) -> anyhow::Result<Vec<(f64, f64)>> {
        let jobs = self.jobs();
        let jobs: Vec<&Job> = jobs.values().filter(|job| job.kind == kind).collect();
        let first = jobs.iter().map(|job| job.begun).min();
        let first = first.with_context(|| format!("no {kind} was begun"))?;
        let seconds = |at: Instant| at.saturating_duration_since(first).as_secs_f64();
        let mut times = Vec::new();
        for (_, title, _) in UPLOADS {
            let job = jobs.iter().find(|job| job.title == title);
            let job = job.with_context(|| format!("{title} was never begun"))?;
            let ended = job
                .ended
                .with_context(|| format!("{title} was not ended"))?;
            times.push((seconds(job.begun), seconds(ended)));
        }
        Ok(times)
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in the topic, in its order: a channel, a title and a size.
const UPLOADS: [(&str, &str, u32); 8] = [
    ("ada", "ada's long film", 30),
    ("ada", "ada's clip", 3),
    ("bob", "bob's clip", 4),
    ("cleo", "cleo's film", 8),
    ("bob", "bob's second clip", 4),
    ("dora", "dora's clip", 4),
    ("cleo", "cleo's clip", 3),
    ("bob", "bob's third clip", 4),
];

async fn demonstrate(demo: &ServerDemo, farm: &Farm) -> anyhow::Result<()> {
    demo.step("Subscribe an object and a service to a topic with one partition");
    let broker = demo.start_kafka().await?;
    broker.create_topic("uploads", 1).await?;
    demo.subscribe("uploads", "Channel/on_upload").await?;
    demo.subscribe("uploads", "Posters/on_upload").await?;

    demo.step("Produce a long film, and shorter ones behind it");
    let records = UPLOADS.map(|(channel, title, size)| {
        let title = title.to_owned();
        record(channel, &Upload { title, size })
    });
    let records = records.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    broker.produce_all("uploads", records).await?;
    demo.say_when(format!("{} records in the topic", UPLOADS.len()));
    for channel in ["dora", "bob", "cleo", "ada"] {
        let published = published(demo, channel).await?;
        demo.say_when(format!("Channel/{channel:4}  {}", published.join(", ")));
    }
    eventually("a poster for each film", async || {
        let jobs = farm.jobs();
        let ended = jobs.values().filter(|job| job.ended.is_some()).count();
        Ok((ended == 2 * UPLOADS.len()).then_some(()))
    })
    .await?;

    demo.step("Look at when each record was worked on (░ waiting for the same channel, █ working)");
    // Each subscription has a consumer of its own, and so a beginning of its own.
    let (films, posters) = (farm.times("film")?, farm.times("poster")?);
    // How long a loop over the partition would take.
    let in_a_loop = |jobs: &[(f64, f64)]| -> f64 {
        let taken = jobs.iter().map(|(begun, ended)| ended - begun);
        taken.sum()
    };
    let loop_end = in_a_loop(&films);
    let bar = |from: f64, to: f64, of: &str| {
        let columns = |seconds: f64| (seconds / loop_end * WIDTH).round() as usize;
        of.repeat(columns(to).saturating_sub(columns(from)))
    };
    demo.say("Channel/on_upload, the object: in order for each channel");
    for ((channel, title, _), (begun, ended)) in UPLOADS.iter().zip(&films) {
        let (wait, work) = (bar(0.0, *begun, "░"), bar(*begun, *ended, "█"));
        demo.say(format!("{channel:5}{title:18} {wait}{work} {ended:.1}s"));
    }
    demo.say("Posters/on_upload, the service: all at once");
    for ((channel, title, _), (begun, ended)) in UPLOADS.iter().zip(&posters) {
        let (wait, work) = (bar(0.0, *begun, "░"), bar(*begun, *ended, "█"));
        demo.say(format!("{channel:5}{title:18} {wait}{work} {ended:.1}s"));
    }
    demo.say("a loop over the partition would have taken the films like this (reckoned, not run)");
    let mut at = 0.0;
    for ((channel, title, _), (begun, ended)) in UPLOADS.iter().zip(&films) {
        let end = at + ended - begun;
        let (wait, work) = (bar(0.0, at, "░"), bar(at, end, "█"));
        demo.say(format!("{channel:5}{title:18} {wait}{work} {end:.1}s"));
        at = end;
    }

    demo.step("Check it");
    let long = films[0];
    for (index, (channel, title, _)) in UPLOADS.iter().enumerate() {
        let (begun, ended) = films[index];
        if *channel != "ada" {
            ensure!(ended < long.1, "{title} was held up by the long film");
        }
        let before = UPLOADS[..index].iter().rposition(|(of, ..)| of == channel);
        if let Some(before) = before {
            ensure!(films[before].1 <= begun, "{title} did not wait its turn");
        }
    }
    let last = posters.iter().map(|(_, ended)| *ended).fold(0.0, f64::max);
    ensure!(
        last < in_a_loop(&posters),
        "the posters waited for one another"
    );
    demo.say("nobody else waited for the long film, and each channel kept its order");
    Ok(())
}

/// What a channel has published, once that is all that was uploaded; checks the order.
async fn published(demo: &ServerDemo, channel: &str) -> anyhow::Result<Vec<String>> {
    let uploaded = UPLOADS.iter().filter(|(of, ..)| *of == channel);
    let uploaded: Vec<_> = uploaded.map(|(_, title, _)| (*title).to_owned()).collect();
    let published = eventually(format!("the films of {channel}"), async || {
        let channel = demo.client().object::<ChannelClient>(channel);
        let titles = channel.published().await?;
        Ok((titles.len() >= uploaded.len()).then_some(titles))
    })
    .await?;
    ensure!(published == uploaded, "not in order: {published:?}");
    Ok(published)
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, object};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    const HALF_MINUTE: Duration = Duration::from_secs(30);

    fn studio() -> Studio {
        Studio {
            farm: Arc::default(),
            look_every: HALF_MINUTE,
        }
    }

    fn upload(title: &str, size: u32) -> Upload {
        let title = title.to_owned();
        Upload { title, size }
    }

    /// The farm's answers are scripted: three looks in vain.
    #[tokio::test]
    async fn looks_until_the_job_is_done() -> Result {
        let mock = MockContext::object("ada").forbid_runs();
        mock.run("submit").returns(&());
        mock.run("look").times(3).returns(&false);
        mock.run("look").returns(&true);

        let channel = Channel { studio: studio() };
        mock.call(async |ctx| channel.on_upload(ctx, upload("a film", 3)).await)
            .await?;

        assert_eq!(mock.sleeps(), [HALF_MINUTE; 3]);
        let published = mock.get::<Vec<String>>("published");
        assert_eq!(published.as_deref(), Some(&["a film".to_owned()][..]));
        Ok(())
    }

    /// Ten minutes for a film, and a clip of somebody else is there after one.
    #[test]
    fn a_long_film_holds_up_its_channel_only() -> Result {
        let studio = studio();
        // Each wait is followed by a replay, as after a crash.
        let mut runtime = TestRuntime::builder(endpoint(studio.clone())?)
            .always_suspend()
            .build();
        runtime.subscribe("uploads", "Channel/on_upload");
        runtime.produce("uploads", "ada", &upload("a film", 20));
        runtime.produce("uploads", "ada", &upload("a clip", 1));
        runtime.produce("uploads", "bob", &upload("bob's clip", 1));
        let channel = |key| object::<ChannelClient>(key).published();

        runtime.advance(Duration::from_secs(60));
        assert_eq!(runtime.call(channel("bob"))?, ["bob's clip"]);
        assert_eq!(runtime.call(channel("ada"))?, [""; 0]);
        assert_eq!(studio.farm.jobs().len(), 2, "the clip waits for the film");

        let begin = runtime.now();
        runtime.run_until_idle();
        assert_eq!(runtime.call(channel("ada"))?, ["a film", "a clip"]);
        // The rest of ten minutes, and half a minute for the clip.
        assert_eq!(runtime.now() - begin, Duration::from_secs(9 * 60 + 30));
        assert_eq!(studio.farm.jobs().len(), 3);
        Ok(())
    }

    #[test]
    fn posters_wait_for_nobody() -> Result {
        let studio = studio();
        let mut runtime = TestRuntime::new(endpoint(studio.clone())?);
        runtime.subscribe("uploads", "Posters/on_upload");
        let begin = runtime.now();
        for size in [1, 20, 20, 20] {
            runtime.produce("uploads", "ada", &upload("a film", size));
        }
        runtime.run_until_idle();
        assert_eq!(studio.farm.jobs().len(), 4);
        assert_eq!(runtime.now() - begin, HALF_MINUTE * POSTER);
        Ok(())
    }
}
