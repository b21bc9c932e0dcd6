//! The attribute macros of `durably`.
