//! Tests of the executor: random handler programs over an in-memory runtime.

mod program;
mod properties;
mod sim;
