//! What is served over HTTP: the ingress and the admin surface.

pub(super) mod admin;
pub(super) mod ingress;
