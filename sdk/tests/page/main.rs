//! The local runtime's second port: the admin API, and the page in a real browser.
//!
//! `DURABLY_SCREENSHOTS=<folder>` keeps pictures of the page.

#![allow(clippy::unwrap_used, reason = "a test")]

mod admin;
mod browser;
mod page;
#[path = "../suite/patience.rs"]
mod patience;
mod world;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
