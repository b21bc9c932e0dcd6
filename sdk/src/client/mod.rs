//! Clients of the server's HTTP APIs: what they share, and one folder each.

#[cfg(feature = "admin")]
pub mod admin;
pub(crate) mod http;
#[cfg(feature = "client")]
pub mod ingress;
