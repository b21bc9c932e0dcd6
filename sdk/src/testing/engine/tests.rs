//! Tests of the engine alone: messages in, effects out.
