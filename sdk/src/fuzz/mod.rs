//! Fuzzing: what must hold for any input, one function a target.
//!
//! Bytes go in, as a fuzzer makes them; a broken promise comes out as a panic. Each target reads
//! its bytes as a small script (which version, where to cut, which operations and messages) and
//! judges what the library makes of it by a model of its own, written from the protocol.
//!
//! The same functions run in two places: under cargo-fuzz (`sdk/fuzz`, `cfg(fuzzing)`), and in
//! `cargo test` over the seeds, over what fuzzing has found before, and over random bytes. Nothing
//! here is in an ordinary build.

mod attempt;
mod frames;
mod handlers;
mod journal;
mod kafka;
mod negotiate;
mod operations;
mod output;
mod plan;
mod route;

#[cfg(feature = "identity")]
mod identity;
#[cfg(all(test, feature = "identity"))]
mod seeds;
#[cfg(all(test, feature = "identity"))]
mod tests;

pub use self::{
    attempt::attempt, frames::frames, journal::journal, kafka::kafka, negotiate::negotiate,
    route::route,
};

#[cfg(feature = "identity")]
pub use self::identity::identity;

/// Reads a script, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also the name of its folder and of its program.
pub const TARGETS: &[(&str, Target)] = &[
    ("attempt", attempt),
    ("frames", frames),
    #[cfg(feature = "identity")]
    ("identity", identity),
    ("journal", journal),
    ("kafka", kafka),
    ("negotiate", negotiate),
    ("route", route),
];
