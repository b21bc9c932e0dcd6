//! The first contact: a service, a virtual object and a workflow, and a crash in the middle.
//!
//! `cargo run -p durably-examples --bin quickstart` starts a process with the handlers and the local runtime; it calls
//! them, kills that process half way through a workflow, starts it again and shows who did what. With the argument
//! `--server` a real Restate server calls the handlers; with `local` or `serve` it only runs or serves them.

use durably::prelude::*;

/// A service: handlers that anybody may call, any number at a time.
struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Hello, {name}!"))
    }
}

/// A virtual object: state under a key, and one writer at a time.
struct Counter;

#[durably::object]
impl Counter {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
        ctx.set("sum", &sum);
        Ok(sum)
    }
}

/// A workflow: runs once for each key, to its end, whatever happens meanwhile.
struct Checkout {
    shop: Shop,
}

#[durably::workflow]
impl Checkout {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, item: String) -> HandlerResult<String> {
        let number = ctx.object_client::<CounterClient>("orders").add(1).await?;

        for step in ["reserve the item", "charge the card", "pack the parcel"] {
            ctx.run(step, || self.shop.work_on(step)).await?;
        }
        ctx.sleep(Duration::from_secs(1)).await?; // for the courier to come
        ctx.run("mail the receipt", || self.shop.work_on("mail the receipt"))
            .await?;

        Ok(format!("order {number}: {item} is on its way"))
    }
}

fn endpoint(shop: Shop) -> Result<Endpoint, durably::BuildError> {
    Endpoint::builder()
        .bind(Greeter)
        .bind(Counter)
        .bind(Checkout { shop })
        .build()
}

// That was all about handlers. What follows stands for the world outside, and tells the story.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use durably::test_server::ProcessUnderTest;
use durably_examples::{Demo, print};

/// How long a step takes: enough to be watched.
const PACE: Duration = Duration::from_millis(600);

/// All steps of a check-out.
const STEPS: [&str; 4] = [
    "reserve the item",
    "charge the card",
    FATAL,
    "mail the receipt",
];

/// The step in the middle of which the process is killed.
const FATAL: &str = "pack the parcel";

/// The variable that names the shop's file.
const SHOP: &str = "SHOP_FILE";

/// More than any part of the story takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The world outside, where things happen that cannot be undone: a file. Each step writes a line
/// when it begins and one when it is done.
#[derive(Clone)]
struct Shop {
    file: PathBuf,
    /// How long each step takes.
    pace: Duration,
}

impl Shop {
    async fn work_on(&self, step: &str) -> std::io::Result<()> {
        self.write("begins", step)?;
        tokio::time::sleep(self.pace).await;
        while step == FATAL && trap(&self.file).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.write("done", step)
    }

    fn write(&self, what: &str, step: &str) -> std::io::Result<()> {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.file)?;
        // In one piece: the line is there, or it is not.
        file.write_all(format!("{}\t{what}\t{step}\n", std::process::id()).as_bytes())
    }
}

/// While this file is there, the fatal step does not end: the kill comes in the middle, also when it comes late.
fn trap(shop: &Path) -> PathBuf {
    shop.with_extension("trap")
}

#[tokio::main]
async fn main() -> ExitCode {
    let file = std::env::var_os(SHOP).map(PathBuf::from);
    let file = file.unwrap_or_else(|| std::env::temp_dir().join("durably-quickstart.txt"));
    let endpoint = endpoint(Shop { file, pace: PACE });
    durably_examples::run_apart(endpoint, demonstrate).await
}

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    print(INTRODUCTION);
    demo.step("Start the handlers, in a process of their own");
    let directory = tempfile::Builder::new()
        .prefix("durably-quickstart-")
        .tempdir()?;
    let mut story = Story::new(directory.path().join("shop.txt"));
    let trap = trap(&story.file);
    std::fs::write(&trap, "")?;
    let file = story.file.to_str().context("the file's name is no text")?;
    let handlers = demo.serve_apart(&[(SHOP, file)]).await?;
    let first = handlers.id().context("the process has no id")?;
    let ingress = demo.client();

    demo.step("Call the service");
    let greeter = ingress.service::<GreeterClient>();
    let greeting = greeter.greet("Ada".to_owned()).await?;
    demo.say(format!("Greeter/greet \"Ada\"     → {greeting:?}"));
    ensure!(greeting == "Hello, Ada!", "this is no greeting for Ada");

    demo.step("Call the virtual object `orders`, which counts");
    let orders = ingress.object::<CounterClient>("orders");
    for expected in [1, 2] {
        let sum = orders.add(1).await?;
        demo.say(format!("Counter/orders/add 1    → {sum}"));
        ensure!(sum == expected, "it should be {expected}");
    }

    demo.step(format!(
        "Start the workflow `Checkout`, and kill the process while it works on\n   {FATAL:?}"
    ));
    let checkout = ingress.workflow::<CheckoutClient>("ada");
    let sent = checkout.run("a teapot".to_owned()).send().await?;
    story
        .follow_until(demo, &handlers, |line| {
            line.ends_with(&format!("begins\t{FATAL}"))
        })
        .await?;
    let output = sent.output().await?;
    ensure!(
        output.is_none(),
        "the workflow has ended already: {output:?}"
    );
    handlers.kill9();
    demo.say_when(format!(
        "KILLED   kill -9 {first}: nobody there to go on, nothing saved on the way"
    ));
    tokio::time::sleep(Duration::from_secs(1)).await;
    story.tell(demo);

    demo.step("Start the process again, and do nothing else");
    std::fs::remove_file(&trap)?;
    handlers.restart()?;
    let second = handlers.id().context("the process has no id")?;
    demo.say_when(format!("STARTED  process {second}"));
    story
        .follow_until(demo, &handlers, |line| {
            line.ends_with("done\tmail the receipt")
        })
        .await?;
    let end = sent.invocation().timeout(PATIENCE).attach::<String>();
    let end = end.await.context("the workflow does not end")?;
    demo.say_when(format!("RESULT   {end:?}"));

    demo.step("Look at what happened");
    story.sum_up(demo, [first, second])?;
    let next = orders.add(1).await?;
    ensure!(
        end == "order 3: a teapot is on its way",
        "this is not what the workflow should say"
    );
    ensure!(
        next == 4,
        "the next order number is {next}: the workflow drew more than one"
    );
    print(MORAL);
    Ok(())
}

/// What the file says, told as it happens.
struct Story {
    file: PathBuf,
    told: usize,
}

impl Story {
    fn new(file: impl AsRef<Path>) -> Self {
        Self {
            file: file.as_ref().to_owned(),
            told: 0,
        }
    }

    fn lines(&self) -> Vec<String> {
        // Until the first step begins, there is no file.
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Tells what is new, and returns it.
    fn tell(&mut self, demo: &Demo) -> Vec<String> {
        let news = self.lines().split_off(self.told);
        self.told += news.len();
        for line in &news {
            if let [pid, what, step] = line.split('\t').collect::<Vec<_>>()[..] {
                demo.say_when(format!("{what:7}  {step:18} (process {pid})"));
            }
        }
        news
    }

    /// Tells what happens, until a certain line.
    async fn follow_until(
        &mut self,
        demo: &Demo,
        handlers: &ProcessUnderTest,
        is_last: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !self.tell(demo).iter().any(|line| is_last(line)) {
            let log = || handlers.log();
            ensure!(
                handlers.is_running(),
                "the handler process has ended; it said:\n{}",
                log()
            );
            ensure!(
                begin.elapsed() < PATIENCE,
                "nothing happens; the handlers said:\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Shows who did what, and checks that each step took effect once.
    fn sum_up(&self, demo: &Demo, processes: [u32; 2]) -> anyhow::Result<()> {
        let lines = self.lines();
        let count = |pid: u32, what: &str, step: &str| {
            let wanted = format!("{pid}\t{what}\t{step}");
            lines.iter().filter(|line| **line == wanted).count()
        };
        let [first, second] = processes.map(|pid| format!("process {pid}"));
        demo.say(format!("{:18}  {first:16}  {second}", ""));
        for step in STEPS {
            let [first, second] =
                processes.map(
                    |pid| match (count(pid, "begins", step), count(pid, "done", step)) {
                        (0, _) => "-",
                        (_, 0) => "begun, killed",
                        (_, 1) => "done",
                        _ => "done repeatedly",
                    },
                );
            demo.say(format!("{step:18}  {first:16}  {second}"));
        }
        for step in STEPS {
            let done: usize = processes.iter().map(|pid| count(*pid, "done", step)).sum();
            ensure!(
                done == 1,
                "{step:?} was done {done} times:\n{}",
                lines.join("\n")
            );
        }
        Ok(())
    }
}

const INTRODUCTION: &str = "
A handler is an ordinary async function of yours. A runtime calls it, and keeps a journal of
what it has finished. If the process dies, the next one gets the journal, and the function
goes on where it stood. See for yourself:";

const MORAL: &str = "
   Each step took effect exactly once, and the order number was drawn once. What was
   done stayed done; only the step that the crash interrupted was begun again. There is
   no code for any of this in the workflow: read the first 60 lines of
   examples/src/bin/quickstart.rs.";

#[cfg(test)]
mod tests {
    use durably::testing::{Explore, MockContext, TestRuntime, object, workflow};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    /// A shop that is in no hurry to be killed.
    fn shop(directory: &tempfile::TempDir) -> Shop {
        Shop {
            file: directory.path().join("shop.txt"),
            pace: Duration::ZERO,
        }
    }

    /// The handler alone: the call is scripted, and no step is executed.
    #[tokio::test]
    async fn checks_out_step_by_step() -> Result {
        let mock = MockContext::workflow("ada").forbid_runs();
        mock.on(object::<CounterClient>("orders").add(1))
            .returns(&3);
        for step in STEPS {
            mock.run(step).returns(&());
        }

        let directory = tempfile::tempdir()?;
        let checkout = Checkout {
            shop: shop(&directory),
        };
        let outcome = mock
            .call(async |ctx| checkout.run(ctx, "a teapot".to_owned()).await)
            .await?;

        assert_eq!(outcome, "order 3: a teapot is on its way");
        assert_eq!(mock.runs(), STEPS);
        assert_eq!(mock.sleeps(), [Duration::from_secs(1)]);
        Ok(())
    }

    /// All services together, in memory, in no time.
    #[tokio::test]
    async fn each_order_gets_a_number() -> Result {
        let directory = tempfile::tempdir()?;
        let mut runtime = TestRuntime::new(endpoint(shop(&directory))?);
        for (user, expected) in [("ada", 1), ("grace", 2)] {
            let order = workflow::<CheckoutClient>(user).run("a teapot".to_owned());
            let outcome = runtime.call_async(order).await?;
            assert_eq!(outcome, format!("order {expected}: a teapot is on its way"));
        }
        let lines = std::fs::read_to_string(shop(&directory).file)?;
        assert_eq!(lines.matches("done\tcharge the card").count(), 2);
        Ok(())
    }

    /// The story above, but crashed and suspended wherever that is possible: the same order with the same
    /// number each time.
    #[tokio::test]
    async fn a_crash_anywhere_changes_nothing() -> Result {
        let directory = tempfile::tempdir()?;
        let shop = shop(&directory);
        let explored = Explore::new(move || endpoint(shop.clone()).unwrap())
            .check_async(async |runtime| {
                let order = workflow::<CheckoutClient>("ada").run("a teapot".to_owned());
                let outcome = runtime.call_async(order).await;
                (outcome, runtime.state::<u64>("Counter", "orders", "sum"))
            })
            .await?;
        assert!(explored.complete, "{explored:?}");
        assert!(explored.cuts > 20, "{explored:?}");
        Ok(())
    }
}
