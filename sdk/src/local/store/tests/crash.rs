//! A process that writes is killed at any moment: what it was told is written is there, and nothing by half.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    super::{Fsync, Store},
    batch, last_batch,
};

const FOLDER: &str = "DURABLY_STORE_FOLDER";
const POLICY: &str = "DURABLY_STORE_FSYNC";
const KILLS: u64 = 16;

fn policy(name: &str) -> Fsync {
    match name {
        "always" => Fsync::Always,
        "every" => Fsync::Every(Duration::from_millis(3)),
        _ => Fsync::Never,
    }
}

/// What the killed process does: batch after batch, each said once it is written.
#[test]
#[ignore = "the tests below run it, in a process of its own"]
fn write_until_killed() {
    let (Some(folder), Ok(name)) = (env::var_os(FOLDER), env::var(POLICY)) else {
        panic!("{FOLDER} and {POLICY} say where and how to write");
    };
    let store = Store::open(Path::new(&folder), policy(&name)).unwrap();
    let first = last_batch(&store).map_or(0, |last| last + 1);
    let tidying = store.clone();
    thread::spawn(move || {
        loop {
            tidying.tidy().unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut out = std::io::stdout();
    for number in first.. {
        store.commit(&batch(number)).unwrap();
        // One call, so that a line is there or not.
        out.write_all(format!("written {number}\n").as_bytes())
            .unwrap();
        out.flush().unwrap();
    }
}

fn survives_kills(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let random = RandomState::new();
    let mut last = None;
    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("local::store::tests::crash::write_until_killed")
            .env(FOLDER, &path)
            .env(POLICY, name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = || {
            lines.by_ref().find_map(|line| {
                let line = line.unwrap();
                // The test runner writes on the same line before the first.
                let number = line.rsplit_once("written ")?.1;
                Some(number.parse::<u64>().unwrap())
            })
        };
        let first = said().expect("the child writes something");
        let next = last.map_or(0, |last| last + 1);
        assert!(
            first == next,
            "a child goes on at {first}, after batch {last:?}"
        );
        thread::sleep(Duration::from_micros(random.hash_one(kill) % 80_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut acknowledged = first;
        while let Some(number) = said() {
            acknowledged = number;
        }
        let store = Store::open(&path, policy(name)).unwrap();
        last = last_batch(&store);
        let there = last.unwrap();
        // The child may have been killed between a commit and its line.
        assert!(
            there == acknowledged || there == acknowledged + 1,
            "{name}, kill {kill}: batch {acknowledged} was acknowledged, {there} is the last one there"
        );
    }
}

#[test]
fn kills_lose_nothing_with_fsync_always() {
    survives_kills("always");
}

#[test]
fn kills_lose_nothing_with_fsync_every_few_milliseconds() {
    survives_kills("every");
}

#[test]
fn kills_lose_nothing_without_fsync() {
    survives_kills("never");
}
