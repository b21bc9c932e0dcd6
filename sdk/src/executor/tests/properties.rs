//! The promise: a handler issues the same commands and ends the same in every replay.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::{Arc, Once},
};

use super::{
    program::{self, Stmt, Taste},
    sim::{Mood, Sim, State},
};
use crate::{protocol::ProtocolVersion, random::Rng};

/// How many programs a property tries; more with `DURABLY_PROGRAMS`.
fn programs(default: u64) -> u64 {
    std::env::var("DURABLY_PROGRAMS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

fn version(rng: &mut Rng) -> ProtocolVersion {
    ProtocolVersion::ALL[rng.below(4) as usize]
}

thread_local! {
    /// Panics of this thread are not shown: they are counted.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Other tests panic at the same time, and what they say must be seen.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                shown(panic);
            }
        }));
    });
}

/// Tries random programs; of those that fail, reports the smallest.
fn for_programs(seeds: std::ops::Range<u64>, taste: Taste, check: impl Fn(&Arc<Stmt>, &mut Rng)) {
    let total = seeds.end - seeds.start;
    let mut failed = 0;
    let mut smallest: Option<(usize, String)> = None;
    quiet_panics();
    QUIET.set(true);
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let mut budget = 2 + rng.below(20) as u32;
        let program = Arc::new(program::generate(&mut rng, &mut budget, 5, taste));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&program, &mut rng))) {
            failed += 1;
            let shown = format!("{program:?}");
            if smallest
                .as_ref()
                .is_none_or(|(size, _)| shown.len() < *size)
            {
                let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                smallest = Some((shown.len(), format!("seed {seed}: {shown}\n{why}")));
            }
        }
    }
    QUIET.set(false);
    if let Some((_, report)) = smallest {
        panic!("{failed} of {total} programs failed; the smallest:\n{report}");
    }
}

/// Runs a program to its end under `mood`, then replays its journal from every prefix.
fn check_prefixes(program: &Arc<Stmt>, rng: &mut Rng, mood: Mood) {
    let version = version(rng);
    let mut sim = Sim::new(rng.next_u64(), version, Arc::clone(program), mood);
    sim.run();
    let script = sim.journal;
    for known in 1..=script.len() {
        let mood = Mood {
            extra_polls: known % 2 == 0,
            ..mood
        };
        let mut replay = Sim::new(rng.next_u64(), version, Arc::clone(program), mood);
        replay.scripted = true;
        replay.replay(&script, known);
    }
}

fn mood(rng: &mut Rng) -> Mood {
    Mood {
        crashes: rng.below(2) == 0,
        always_suspend: rng.below(4) == 0,
        cancels: 0,
        explicit: false,
        state: if rng.below(2) == 0 {
            State::Eager
        } else {
            State::Lazy
        },
        extra_polls: rng.below(2) == 0,
    }
}

const ALL: Taste = Taste {
    forks: true,
    unordered: true,
};

#[test]
fn programs_replay_from_every_prefix() {
    for_programs(0..programs(400), ALL, |program, rng| {
        let mood = mood(rng);
        check_prefixes(program, rng, mood);
    });
}

#[test]
fn cancelled_programs_replay_from_every_prefix() {
    let first = 1 << 32;
    for_programs(first..first + programs(400), ALL, |program, rng| {
        let mood = Mood {
            cancels: 1 + rng.below(2) as u32,
            ..mood(rng)
        };
        check_prefixes(program, rng, mood);
    });
}

#[test]
fn programs_that_decide_about_cancellation_replay_from_every_prefix() {
    let first = 3 << 32;
    for_programs(first..first + programs(200), ALL, |program, rng| {
        let mood = Mood {
            cancels: 1 + rng.below(2) as u32,
            explicit: true,
            ..mood(rng)
        };
        check_prefixes(program, rng, mood);
    });
}

#[test]
fn programs_end_however_the_state_comes() {
    let first = 2 << 32;
    for_programs(first..first + programs(400), ALL, |program, rng| {
        let version = version(rng);
        let mood = Mood {
            state: State::Varying,
            crashes: true,
            cancels: rng.below(2) as u32,
            ..mood(rng)
        };
        Sim::new(rng.next_u64(), version, Arc::clone(program), mood).run();
    });
}
