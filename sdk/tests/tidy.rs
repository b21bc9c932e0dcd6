//! Rules that the compiler does not check: what the layers below the endpoint may name.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path};

/// The layers, lowest first: none may name a later one.
const LAYERS: [&str; 6] = [
    "protocol", "journal", "executor", "context", "service", "endpoint",
];

/// What would let a replay differ: clocks, the environment, threads, hash orders.
const NONDETERMINISTIC: [&str; 11] = [
    "SystemTime::now",
    "Instant::now",
    "std::env",
    "env::var",
    "thread::current",
    "HashMap<",
    "HashMap:",
    "HashSet<",
    "HashSet:",
    "tokio::time",
    "tokio::net",
];

/// The code of a file without its tests, documentation and comments, line by line.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]") || line.contains("mod tests;"))
        .filter(|(_, line)| {
            !line.trim_start().starts_with("//") && !line.trim_start().starts_with("#[doc")
        })
        .map(|(at, line)| (at + 1, line))
}

fn visit(folder: &Path, check: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "tests" {
                visit(&path, check);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && path.file_stem().unwrap() != "tests"
        {
            check(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn layers_name_no_later_ones_and_nothing_nondeterministic() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut files = 0;
    for (at, layer) in LAYERS.iter().enumerate() {
        visit(&source.join(layer), &mut |path, text| {
            files += 1;
            let mut report = |line: usize, what: String| {
                found.push(format!(
                    "{}:{line}: {what}",
                    path.strip_prefix(&source).unwrap().display()
                ));
            };
            for (line, code) in code(text) {
                for later in &LAYERS[at + 1..] {
                    // Handlers are what the executor runs; their type is the service layer's.
                    let handler_type = *layer == "executor" && *later == "service";
                    if code.contains(&format!("crate::{later}")) && !handler_type {
                        report(line, format!("{layer} names {later}, a later layer"));
                    }
                }
                if *layer != "endpoint" && *layer != "service" {
                    for name in NONDETERMINISTIC {
                        if code.contains(name) {
                            report(line, format!("{layer} names {name}"));
                        }
                    }
                }
            }
            if !text.starts_with("//!") {
                report(1, "a file begins with `//!`: what it owns".to_owned());
            }
        });
    }
    assert!(files > 30, "only {files} files were read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
