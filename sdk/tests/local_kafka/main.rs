//! Kafka topics consumed by the embedded runtime, from a real broker.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod backlog;
mod broker;
mod crash;
mod harness;
mod odd;
mod records;
mod restart;
mod scripted;
mod wire;
