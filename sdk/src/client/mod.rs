//! Clients of a Restate server, for programs that are no handlers.
//!
//! [`IngressClient`] (feature `client`) calls handlers, as any HTTP client outside does, but typed.

#[cfg(feature = "client")]
mod ingress;

#[cfg(feature = "test-server")]
pub(crate) use ingress::encode_segment;
#[cfg(feature = "client")]
pub use ingress::{
    IngressClient, IngressClientBuilder, IngressError, IngressFuture, IngressInvocation,
    IngressRequest, IngressResponse, IngressSent, SendStatus,
};
