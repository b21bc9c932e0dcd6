//! The wire: frames, messages and versions of the Restate service protocol.
//!
//! Bytes come in through [`frame::FrameDecoder`], which cuts them into frames at any chunk split; a
//! frame becomes an [`message::Incoming`] message. What goes out is written by
//! [`encode::Encoder`] straight into one buffer. This module knows nothing of journals, handlers
//! or HTTP, and nothing in it can panic on input.

pub(crate) mod encode;
pub(crate) mod frame;
pub(crate) mod ids;
pub(crate) mod message;
pub(crate) mod reader;
pub(crate) mod start;
mod types;
mod version;

pub(crate) use types::MessageType;
pub(crate) use version::ProtocolVersion;
