//! What the process that is killed serves besides the test services: handlers that leave a trace outside of the
//! journal.
//!
//! In: tokens, one for each thing that is asked. Out: notes in the diary, a file that only grows: one line for each
//! closure that was executed, written before the closure returns.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use durably::{Service, ServiceDefinition, StateKey, prelude::*};
use serde::{Deserialize, Serialize};

/// Which closures were executed, in the order in which they were, and by which process.
pub(crate) struct Diary {
    file: File,
    /// Which of the processes that have opened the diary, counted from 1. (The system's numbers for them come again.)
    process: u64,
}

impl Diary {
    pub(crate) fn open(path: &Path) -> Self {
        let append = |path: &Path| {
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .unwrap()
        };
        // A byte for each process.
        let mut openings = append(&path.with_extension("openings"));
        openings.write_all(b".").unwrap();
        Self {
            file: append(path),
            process: openings.metadata().unwrap().len(),
        }
    }

    /// A line goes to the system at once, so it is there before the closure returns. What a kill cuts off counts as
    /// left out, as the closure did not return.
    fn note(&self, token: &str, step: &str) {
        let line = format!("{} {} {token} {step}\n", self.process, now());
        (&self.file).write_all(line.as_bytes()).unwrap();
    }
}

/// Milliseconds by the system's clock, which both processes read, and the runtime too.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

pub(crate) fn all(diary: Diary) -> [ServiceDefinition; 5] {
    let diary = Arc::new(diary);
    [
        Steps(Arc::clone(&diary)).definition(),
        Brief(diary).definition(),
        Tally.definition(),
        Account.definition(),
        Mailbox.definition(),
    ]
}

/// What a transfer that is refused fails with.
pub(crate) const REFUSED: &str = "it is refused";

/// The steps of [`Steps::three`].
pub(crate) const THREE: [&str; 3] = ["first", "second", "third"];

/// Handlers whose steps can be counted.
pub(crate) struct Steps(Arc<Diary>);

#[derive(Deserialize, Serialize)]
pub(crate) struct Nap {
    pub(crate) token: String,
    pub(crate) millis: u64,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Transfer {
    pub(crate) token: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) amount: i64,
    /// The booking is refused, and what was moved goes back.
    pub(crate) refused: bool,
}

#[durably::service]
impl Steps {
    #[handler]
    async fn three(&self, ctx: &Context, token: String) -> HandlerResult<String> {
        for step in THREE {
            self.noted(ctx, &token, step).await?;
        }
        Ok(token)
    }

    /// The same, for requests that have no key: nobody can ask for it twice.
    #[handler]
    async fn once(&self, ctx: &Context, token: String) -> HandlerResult<String> {
        self.three(ctx, token).await
    }

    /// Adds to the tally of the token in four ways.
    #[handler]
    async fn spread(&self, ctx: &Context, nap: Nap) -> HandlerResult<()> {
        let Nap { token, millis } = nap;
        let delay = Duration::from_millis(millis);
        ctx.object_client::<TallyClient>(&token).add(1).send();
        ctx.object_client::<TallyClient>(&token)
            .add(10)
            .send_after(delay);
        self.noted(ctx, &token, "between").await?;
        ctx.object_client::<TallyClient>(&token).add(100).await?;
        durably::try_join!(
            ctx.object_client::<TallyClient>(&token).add(1000),
            ctx.sleep(delay),
        )?;
        Ok(())
    }

    /// Sleeps, and says when it has woken; the answer is how late, in milliseconds.
    #[handler]
    async fn nap(&self, ctx: &Context, nap: Nap) -> HandlerResult<i64> {
        let Nap { token, millis } = nap;
        let due = ctx.run("begins", async || {
            self.0.note(&token, "begins");
            HandlerResult::Ok(now() + millis)
        });
        let due = due.await?;
        ctx.sleep(Duration::from_millis(millis)).await?;
        let late = ctx.run("woke", async || {
            self.0.note(&token, "woke");
            // Too early is less than nothing.
            HandlerResult::Ok(now().wrapping_sub(due).cast_signed())
        });
        Ok(late.await?)
    }

    /// Waits for a letter from outside: where to send it stands in the token's mailbox.
    #[handler]
    async fn wait(&self, ctx: &Context, token: String) -> HandlerResult<String> {
        let awakeable = ctx.awakeable::<String>();
        let address = awakeable.id().to_owned();
        ctx.object_client::<MailboxClient>(&token)
            .put(address)
            .await?;
        let letter = awakeable.await?;
        self.noted(ctx, &token, "read").await?;
        Ok(letter)
    }

    /// Goes on until it is cancelled or killed.
    #[handler]
    async fn endless(&self, ctx: &Context, token: String) -> HandlerResult<()> {
        for turn in 0.. {
            let step = format!("turn-{turn}");
            self.noted(ctx, &token, &step).await?;
            ctx.object_client::<TallyClient>(&token).add(1).send();
            ctx.sleep(Duration::from_millis(20)).await?;
        }
        Ok(())
    }

    /// A saga: from one account to another, or not at all.
    #[handler]
    async fn transfer(&self, ctx: &Context, transfer: Transfer) -> HandlerResult<()> {
        let Transfer {
            token,
            from,
            to,
            amount,
            refused,
        } = transfer;
        let add = |account: &str, amount| ctx.object_client::<AccountClient>(account).add(amount);
        add(&from, -amount).await?;
        add(&to, amount).await?;
        let booked = ctx.run("book", async || {
            self.0.note(&token, "book");
            match refused {
                true => Err(TerminalError::new(REFUSED)),
                false => Ok(()),
            }
        });
        let Err(refusal) = booked.await else {
            return Ok(());
        };
        add(&to, -amount).await?;
        add(&from, amount).await?;
        self.noted(ctx, &token, "undone").await?;
        Err(refusal.into())
    }
}

impl Steps {
    /// A run that leaves a note.
    async fn noted(&self, ctx: &Context, token: &str, step: &str) -> HandlerResult<()> {
        let noting = ctx.run(step, async || {
            self.0.note(token, step);
            HandlerResult::Ok(())
        });
        Ok(noting.await?)
    }
}

/// Handlers that are forgotten soon after they have ended.
pub(crate) struct Brief(Arc<Diary>);

#[derive(Deserialize, Serialize)]
pub(crate) struct Parcel {
    pub(crate) token: String,
    pub(crate) content: String,
}

#[durably::service(idempotency_retention = "1s")]
impl Brief {
    /// Carries the content through its journal, four times.
    #[handler]
    async fn carry(&self, ctx: &Context, parcel: Parcel) -> HandlerResult<String> {
        let Parcel { token, mut content } = parcel;
        for step in THREE {
            let carried = ctx.run(step, async || {
                self.0.note(&token, step);
                HandlerResult::Ok(content)
            });
            content = carried.await?;
        }
        Ok(content)
    }
}

const SUM: StateKey<i64> = StateKey::new("sum");

/// A number for each token.
pub(crate) struct Tally;

#[durably::object]
impl Tally {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: i64) -> HandlerResult<()> {
        let sum = ctx.get(SUM).await?.unwrap_or_default();
        ctx.set(SUM, &(sum + n));
        Ok(())
    }

    #[handler]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<i64> {
        Ok(ctx.get(SUM).await?.unwrap_or_default())
    }
}

/// A few numbers that everybody moves amounts between.
pub(crate) struct Account;

#[durably::object]
impl Account {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, amount: i64) -> HandlerResult<()> {
        let balance = ctx.get(SUM).await?.unwrap_or_default();
        // A step of its own, so that the turn can be interrupted between reading and writing.
        let sum = ctx.run("sum", async || HandlerResult::Ok(balance + amount));
        let balance = sum.await?;
        ctx.set(SUM, &balance);
        Ok(())
    }

    #[handler]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<i64> {
        Ok(ctx.get(SUM).await?.unwrap_or_default())
    }
}

const ADDRESS: StateKey<String> = StateKey::new("address");

/// Where letters for a token go.
pub(crate) struct Mailbox;

#[durably::object]
impl Mailbox {
    #[handler]
    async fn put(&self, ctx: &ObjectContext, address: String) -> HandlerResult<()> {
        ctx.set(ADDRESS, &address);
        Ok(())
    }

    #[handler]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<Option<String>> {
        Ok(ctx.get(ADDRESS).await?)
    }
}
