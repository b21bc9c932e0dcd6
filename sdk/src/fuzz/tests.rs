//! The targets on a stable compiler: over the seeds, over what fuzzing has found, over random bytes.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{TARGETS, Target, seeds};

/// Not part of the package, only of the repository.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    folder.join("Cargo.toml").exists().then_some(folder)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn run(target: Target, name: &str, file: &str, data: &[u8]) {
    let outcome = catch_unwind(|| target(data));
    assert!(outcome.is_ok(), "target {name} fails on {file}");
}

#[test]
fn the_seeds_hold() {
    for (name, target) in TARGETS {
        let seeds: Vec<_> = seeds::all()
            .into_iter()
            .filter(|seed| seed.target == *name)
            .collect();
        assert!(seeds.len() >= 5, "{name} has {} seeds", seeds.len());
        for seed in seeds {
            run(*target, name, &seed.name, &seed.bytes);
        }
    }
}

/// Or they would be no better than random bytes.
#[test]
fn the_seeds_reach_far() {
    let expected = [
        ("hello", "Suspension"),
        ("replay", "End"),
        ("live", "End"),
        ("acked", "End"),
        ("state", "End"),
        ("lazy-state", "End"),
        ("race", "End"),
        ("runs", "Error run `retried` failed: busy"),
        ("runs-again", "End"),
        ("typed", "End"),
        ("cancelled", "End"),
        ("cancelled-twice", "End"),
        ("ephemeral", "End"),
        ("foreign", ""),
        (
            "mismatch",
            "Error the code does not match the journal at command 1",
        ),
        ("too-few", "Error protocol violation: the request ended"),
        ("twice", "Error protocol violation: completion 2 came twice"),
        ("late-command", "Error protocol violation: a Sleep command"),
    ];
    let mut seeds = seeds::all();
    seeds.retain(|seed| seed.target == "attempt");
    assert_eq!(seeds.len(), 3 * expected.len());
    for seed in seeds {
        let name = seed.name.trim_end_matches("-framed");
        if name.ends_with("-cut") {
            // Several messages at once may come too early for the handler.
            continue;
        }
        let (_, expected) = expected.iter().find(|(of, _)| *of == name).unwrap();
        let end = super::attempt::end(&seed.bytes);
        assert!(end.starts_with(expected), "{}: {end}", seed.name);
    }
}

/// `DURABLY_WRITE_CORPUS=1` writes it.
#[test]
fn the_corpus_in_the_repository_is_that_of_the_seeds() {
    let Some(folder) = folder() else {
        return;
    };
    let seeds = seeds::all();
    if std::env::var_os("DURABLY_WRITE_CORPUS").is_some() {
        let _ = fs::remove_dir_all(folder.join("corpus"));
        for seed in &seeds {
            let folder = folder.join("corpus").join(seed.target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(&seed.name), &seed.bytes).unwrap();
        }
    }
    for (name, _) in TARGETS {
        let expected: BTreeMap<_, _> = seeds
            .iter()
            .filter(|seed| seed.target == *name)
            .map(|seed| (seed.name.clone(), seed.bytes.clone()))
            .collect();
        let found = files(&folder.join("corpus").join(name));
        let stale = "DURABLY_WRITE_CORPUS=1 cargo test -p durably --lib fuzz";
        assert!(
            found == expected,
            "the corpus of {name} is not up to date: {stale}"
        );
    }
    let size: usize = seeds.iter().map(|seed| seed.bytes.len()).sum();
    assert!(size < 200_000, "{size} bytes of seeds");
}

#[test]
fn what_fuzzing_has_found_holds() {
    let Some(folder) = folder() else {
        return;
    };
    for (name, target) in TARGETS {
        for (file, data) in files(&folder.join("regressions").join(name)) {
            run(*target, name, &file, &data);
        }
    }
}

/// One program a target, and no folder without one.
#[test]
fn every_target_has_a_program() {
    let Some(folder) = folder() else {
        return;
    };
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = files(&folder.join("fuzz_targets"));
    let programs: BTreeSet<_> = programs
        .keys()
        .map(|file| file.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(programs, names);
    for kind in ["corpus", "regressions"] {
        for entry in fs::read_dir(folder.join(kind)).into_iter().flatten() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(names.contains(&name), "{kind}/{name} is of no target");
        }
    }
}

/// Bytes at random, and seeds with some of their bytes changed.
fn bytes(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = seeds::all()
        .into_iter()
        .filter(|seed| seed.target == target)
        .map(|seed| seed.bytes)
        .collect();
    let changed = (
        prop::sample::select(seeds),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    );
    let changed = changed.prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..400), changed]
}

macro_rules! random {
    ($($target:ident)*) => {
        proptest! {
            $(
                #[test]
                fn $target(data in bytes(stringify!($target))) {
                    super::$target(&data);
                }
            )*
        }

        #[test]
        fn every_target_is_tried_at_random() {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
        }
    };
}

random! { attempt frames identity journal kafka negotiate route }
