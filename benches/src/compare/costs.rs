//! What each SDK costs its user: a hello world is made, built and started.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::{
    build::{self, Binaries},
    process::Server,
    progress,
    session::{Session, Who},
    table::{self, figure},
};

/// Clock ticks of `/proc` in a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Incremental builds of which the median counts.
const EDITS: usize = 5;

/// What was found out of one SDK.
struct Costs {
    crates: usize,
    debug: Took,
    release: Took,
    edit: Took,
    binary: u64,
    idle: u64,
}

/// Seconds that passed, and seconds of processor time.
struct Took(f64, f64);

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", figure(self.0), figure(self.1))
    }
}

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let scratch = Binaries::here()?.scratch()?;
    let mut who = vec![Who::Ours];
    who.extend(session.peer.then_some(Who::Peer));
    let mut all = Vec::new();
    for who in &who {
        let package = make(*who, &scratch)?;
        all.push(costs(*who, &package).await?);
    }
    let line = |name: &str, value: &dyn Fn(&Costs) -> String| {
        let mut line = vec![name.to_owned()];
        line.extend(all.iter().map(value));
        line
    };
    let mib = |bytes: u64| figure(bytes as f64 / 1_048_576.0);
    let lines = [
        line("crates in the default dependency tree", &|costs| {
            costs.crates.to_string()
        }),
        line("clean build, s (processor)", &|costs| {
            costs.debug.to_string()
        }),
        line("clean release build, s (processor)", &|costs| {
            costs.release.to_string()
        }),
        line("build after an edit, s (processor)", &|costs| {
            costs.edit.to_string()
        }),
        line("stripped release binary, MiB", &|costs| mib(costs.binary)),
        line("idle memory (resident), MiB", &|costs| mib(costs.idle)),
    ];
    progress::clear();
    println!("{}\n", session.heading());
    let mut head = vec!["a hello world".to_owned()];
    head.extend(who.iter().map(Who::to_string));
    table::print(&head, &lines);
    Ok(())
}

/// Makes the package, with the versions that the other runs have.
fn make(who: Who, scratch: &Path) -> anyhow::Result<PathBuf> {
    let folder = scratch.join(format!("hello-{who}"));
    fs::create_dir_all(folder.join("src"))?;
    let benches = build::benches();
    let (dependency, lock, main) = match who {
        Who::Peer => (
            "restate-sdk = \"=0.13.0\"".to_owned(),
            benches.join("peer/Cargo.lock"),
            include_str!("../../hello/restate-sdk.rs"),
        ),
        Who::Ours | Who::Echo => (
            format!("durably = {{ path = {:?} }}", benches.join("../sdk")),
            benches.join("../Cargo.lock"),
            include_str!("../../hello/durably.rs"),
        ),
    };
    let manifest = format!(
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         {dependency}\ntokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n\
         [workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/main.rs"), main)?;
    fs::copy(lock, folder.join("Cargo.lock"))?;
    Ok(folder)
}

async fn costs(who: Who, package: &Path) -> anyhow::Result<Costs> {
    let say = |what: &str| progress::say(&format!("{who}, {what}"));
    let target = package.join("target");
    let cargo = |args: &[&str]| {
        let mut cargo = build::cargo();
        cargo
            .args(args)
            .arg("--quiet")
            .current_dir(package)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        cargo
    };
    say("fetching");
    // Also leaves only what is needed in the lock file.
    build::run(&mut cargo(&["fetch"]))?;
    let crates = crates(&mut cargo(&[
        "tree",
        "-e",
        "normal,build",
        "--prefix",
        "none",
    ]))?;

    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    say("clean build");
    let debug = took(&mut cargo(&["build", "--offline"]))?;
    say("clean release build");
    let release = took(&mut cargo(&["build", "--offline", "--release"]))?;

    say("build after an edit");
    let main = package.join("src/main.rs");
    let text = fs::read_to_string(&main)?;
    let mut edits = Vec::new();
    for edit in 0..EDITS {
        fs::write(&main, text.replace("Hello", &format!("Hello {edit}")))?;
        edits.push(took(&mut cargo(&["build", "--offline"]))?);
    }
    let middle =
        |of: fn(&Took) -> f64| table::median(&mut edits.iter().map(of).collect::<Vec<_>>());
    let edit = Took(middle(|took| took.0), middle(|took| took.1));

    let binary = target.join("release/hello");
    let server = Server::start(&binary, &[]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = server.resident()?;
    server.stop().await?;
    Ok(Costs {
        crates,
        debug,
        release,
        edit,
        binary: fs::metadata(&binary)?.len(),
        idle,
    })
}

/// How many crates a tree lists, without its root.
fn crates(tree: &mut Command) -> anyhow::Result<usize> {
    let output = tree.output()?;
    ensure!(output.status.success(), "{tree:?} failed");
    let text = String::from_utf8(output.stdout)?;
    let mut crates: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split(' ').take(2).collect())
        .collect();
    crates.sort_unstable();
    crates.dedup();
    Ok(crates.len().saturating_sub(1))
}

fn took(command: &mut Command) -> anyhow::Result<Took> {
    let (began, processor) = (Instant::now(), children()?);
    build::run(command)?;
    Ok(Took(began.elapsed().as_secs_f64(), children()? - processor))
}

/// The processor time of all processes that we have started and that have ended, in seconds.
fn children() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything, the sixteenth and seventeenth of the whole line.
    let (_, fields) = stat.rsplit_once(')').context("a strange /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(13).take(2);
    let ticks: Result<Vec<u64>, _> = ticks.map(str::parse).collect();
    Ok(ticks?.iter().sum::<u64>() as f64 / TICKS)
}
