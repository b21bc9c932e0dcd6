//! How a [`TestRuntime`] is made.

use std::fmt;

use super::TestRuntime;
use crate::{Endpoint, protocol::ProtocolVersion};

/// Options of a [`TestRuntime`].
///
/// # Examples
///
/// ```
/// use durably::{Endpoint, testing::TestRuntime};
///
/// let endpoint = Endpoint::builder().build()?;
/// let runtime = TestRuntime::builder(endpoint).seed(7).protocol(6).always_suspend().build();
/// # drop(runtime);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a runtime is made by `build`"]
pub struct TestRuntimeBuilder {
    pub(super) endpoint: Endpoint,
    pub(super) seed: u64,
    pub(super) version: ProtocolVersion,
    pub(super) always_suspend: bool,
    pub(super) manual_time: bool,
}

impl TestRuntimeBuilder {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            seed: 1,
            version: ProtocolVersion::MAX,
            always_suspend: false,
            manual_time: false,
        }
    }

    /// The seed of everything that is left open. Default: 1.
    ///
    /// # Examples
    ///
    /// See [`TestRuntimeBuilder`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The version of the service protocol, 5 to 7; 8 with
    /// [`EndpointBuilder::experimental_protocol_v8`](crate::EndpointBuilder::experimental_protocol_v8).
    /// Default: 7.
    ///
    /// # Panics
    ///
    /// If there is no such version.
    ///
    /// # Examples
    ///
    /// See [`TestRuntimeBuilder`].
    #[track_caller]
    pub fn protocol(mut self, version: u32) -> Self {
        self.version = ProtocolVersion::ALL
            .into_iter()
            .find(|known| known.number() == version)
            .unwrap_or_else(|| panic!("there is no version {version} of the service protocol"));
        self
    }

    /// Handlers suspend whenever they wait, as with an inactivity timeout of zero on the real server: so each
    /// wait is followed by a replay, which finds what differs in it.
    ///
    /// # Examples
    ///
    /// See [`TestRuntimeBuilder`].
    pub fn always_suspend(mut self) -> Self {
        self.always_suspend = true;
        self
    }

    /// The time moves only by [`TestRuntime::advance`].
    ///
    /// # Examples
    ///
    /// See [`TestRuntime::advance`].
    pub fn manual_time(mut self) -> Self {
        self.manual_time = true;
        self
    }

    /// The runtime, with everything registered that the endpoint serves.
    ///
    /// # Panics
    ///
    /// If a real server would refuse the endpoint's manifest.
    ///
    /// # Examples
    ///
    /// See [`TestRuntimeBuilder`].
    #[track_caller]
    pub fn build(self) -> TestRuntime {
        match TestRuntime::made_by(self) {
            Ok(runtime) => runtime,
            Err(reason) => panic!("the endpoint cannot be registered: {reason}"),
        }
    }
}

impl fmt::Debug for TestRuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntimeBuilder")
            .field("endpoint", &self.endpoint)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
