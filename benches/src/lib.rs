//! What the benchmarks measure and how they speak to it: the handlers of the benchmark endpoint,
//! written as any user would write them, and the frames by which a driver plays the runtime.

pub mod conversation;
pub mod driver;
pub mod script;
pub mod services;
pub mod wire;
