//! The test kit: handlers tested in microseconds, without a server, a network or a sleep.

pub(crate) mod wire;
