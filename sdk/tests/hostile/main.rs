//! Hostile input over real connections: an `HttpServer` on loopback, and peers that do everything
//! wrong, on purpose or by accident, over HTTP/2 and HTTP/1.1.
//!
//! Whatever comes, there is an answer that says what is wrong, or the stream or connection ends; others
//! are served meanwhile; attempts whose peer has gone are dropped; and memory stays within bounds.
//! Memory is measured on a server in a process of its own (`child`), as Linux tells it. Nothing is timed here, but every
//! test has a deadline.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod backpressure;
mod child;
mod connections;
mod headers;
mod http1;
mod identity;
mod journals;
mod limits;
mod rig;
mod streams;
mod truncation;
mod wire;
