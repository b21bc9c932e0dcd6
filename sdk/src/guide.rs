//! Guides: pages that tell one subject from its first line to its last. They exist in the documentation only.

/// # Testing handlers
///
#[doc = include_str!("../docs/testing-handlers.md")]
#[cfg(all(feature = "testing", feature = "test-server"))]
pub mod testing_handlers {}

/// # Mounting and TLS
///
#[doc = include_str!("../docs/mounting.md")]
#[cfg(feature = "http-server")]
pub mod mounting {}

/// # Serverless
///
#[doc = include_str!("../docs/serverless.md")]
#[cfg(feature = "lambda")]
pub mod serverless {}

/// # Coming from restate-sdk
///
#[doc = include_str!("../docs/coming-from-restate-sdk.md")]
#[cfg(feature = "client")]
pub mod coming_from_restate_sdk {}

/// # Kafka
///
#[doc = include_str!("../docs/kafka.md")]
#[cfg(feature = "testing")]
pub mod kafka {}

/// # Contracts
///
#[doc = include_str!("../docs/contracts.md")]
#[cfg(feature = "client")]
pub mod contracts {}

/// # The local runtime
///
#[doc = include_str!("../docs/local-runtime.md")]
#[cfg(all(feature = "local-kafka", feature = "client", feature = "testing"))]
pub mod local_runtime {}
