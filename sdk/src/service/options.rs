//! Options of services and handlers, and the one table that says how they travel.
//!
//! The setters of the definitions fill [`Options`]; the endpoint manifest, its version checks and the
//! builder's checks all go through [`TABLE`]. A new option is one field, one setter and one row.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::manifest::ManifestVersion;

/// What can be set on a service or a handler. `None` keeps the server's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) documentation: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) inactivity_timeout: Option<Duration>,
    pub(crate) abort_timeout: Option<Duration>,
    pub(crate) journal_retention: Option<Duration>,
    pub(crate) idempotency_retention: Option<Duration>,
    pub(crate) workflow_retention: Option<Duration>,
    pub(crate) lazy_state: Option<bool>,
    pub(crate) ingress_private: Option<bool>,
    pub(crate) retry_policy: InvocationRetryPolicy,
}

/// How the runtime retries failing invocations of a service or a handler.
///
/// What is not set keeps the server's default. This policy is the runtime's own, for whole
/// attempts; a single step has the retry policy that `run` takes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use durably::{InvocationRetryPolicy, OnMaxAttempts};
///
/// let policy = InvocationRetryPolicy::new()
///     .initial_interval(Duration::from_millis(200))
///     .factor(2.0)
///     .max_interval(Duration::from_secs(30))
///     .max_attempts(20)
///     .on_max_attempts(OnMaxAttempts::Pause);
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InvocationRetryPolicy {
    initial_interval: Option<Duration>,
    max_interval: Option<Duration>,
    factor: Option<f64>,
    max_attempts: Option<u32>,
    on_max_attempts: Option<OnMaxAttempts>,
}

impl InvocationRetryPolicy {
    /// The server's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The delay before the first retry.
    #[must_use]
    pub fn initial_interval(mut self, interval: Duration) -> Self {
        self.initial_interval = Some(interval);
        self
    }

    /// No delay is longer than this.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = Some(interval);
        self
    }

    /// Each delay is the one before times this. It must be a finite number above zero.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// How many attempts there are, the first one included; the server takes 0 as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// What becomes of an invocation that has used up its attempts.
    #[must_use]
    pub fn on_max_attempts(mut self, then: OnMaxAttempts) -> Self {
        self.on_max_attempts = Some(then);
        self
    }

    /// The factor, if it is one that no server can use.
    pub(crate) fn invalid_factor(&self) -> Option<f64> {
        self.factor
            .filter(|factor| !(factor.is_normal() && *factor > 0.0))
    }
}

/// What becomes of an invocation that has used up the attempts of its retry policy.
///
/// # Examples
///
/// ```
/// use durably::{InvocationRetryPolicy, OnMaxAttempts};
///
/// let policy = InvocationRetryPolicy::new().max_attempts(3).on_max_attempts(OnMaxAttempts::Kill);
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnMaxAttempts {
    /// It waits until somebody resumes it.
    Pause,
    /// It fails for good; nothing of it is compensated.
    Kill,
}

/// On which level of the manifest an option may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// On services and handlers.
    Both,
    /// On handlers only.
    Handler,
}

/// One row of [`TABLE`].
pub(crate) struct OptionSpec {
    /// The key in the endpoint manifest.
    pub(crate) json: &'static str,
    pub(crate) level: Level,
    /// The first manifest version that has the key.
    pub(crate) since: ManifestVersion,
    pub(crate) read: fn(&Options) -> Option<OptionValue<'_>>,
}

impl OptionSpec {
    /// The value to write into a manifest of `version`; nothing if it is not set or says what is so
    /// without it. Otherwise a version that lacks the key is an error.
    pub(crate) fn value<'a>(
        &self,
        options: &'a Options,
        version: ManifestVersion,
    ) -> Result<Option<OptionValue<'a>>, MissingIn> {
        match (self.read)(options) {
            Some(value) if version >= self.since => Ok(Some(value)),
            // Every flag is off where nobody set it, so `false` needs no words where there are none
            // (a handler's `false` matters under a service's `true`, but that one is refused then).
            Some(Flag(false)) | None => Ok(None),
            Some(_) => Err(MissingIn {
                json: self.json,
                since: self.since,
            }),
        }
    }
}

/// A manifest version lacks an option that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissingIn {
    pub(crate) json: &'static str,
    pub(crate) since: ManifestVersion,
}

/// The value of an option, with its unit on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum OptionValue<'a> {
    Text(&'a str),
    Pairs(&'a BTreeMap<String, String>),
    /// Whole milliseconds, rounded up: a timeout that is not zero must not become zero.
    Millis(Duration),
    Flag(bool),
    Count(u32),
    Factor(f64),
    Then(OnMaxAttempts),
}

impl Serialize for OptionValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Pairs(pairs) => pairs.serialize(serializer),
            Self::Millis(duration) => {
                let millis = duration.as_nanos().div_ceil(1_000_000);
                serializer.serialize_u64(u64::try_from(millis).unwrap_or(u64::MAX))
            }
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Factor(factor) => serializer.serialize_f64(*factor),
            Self::Then(OnMaxAttempts::Pause) => serializer.serialize_str("PAUSE"),
            Self::Then(OnMaxAttempts::Kill) => serializer.serialize_str("KILL"),
        }
    }
}

use Level::{Both, Handler};
use ManifestVersion::{V2, V3, V4};
use OptionValue::{Count, Factor, Flag, Millis, Pairs, Text, Then};

/// Every option: its key, where it may stand, since which manifest version, and its value.
#[rustfmt::skip]
pub(crate) static TABLE: &[OptionSpec] = &[
    row("documentation", Both, V2, |o| o.documentation.as_deref().map(Text)),
    row("metadata", Both, V2, |o| Some(&o.metadata).filter(|m| !m.is_empty()).map(Pairs)),
    row("inactivityTimeout", Both, V3, |o| o.inactivity_timeout.map(Millis)),
    row("abortTimeout", Both, V3, |o| o.abort_timeout.map(Millis)),
    row("journalRetention", Both, V3, |o| o.journal_retention.map(Millis)),
    row("idempotencyRetention", Both, V3, |o| o.idempotency_retention.map(Millis)),
    row("workflowCompletionRetention", Handler, V3, |o| o.workflow_retention.map(Millis)),
    row("enableLazyState", Both, V3, |o| o.lazy_state.map(Flag)),
    row("ingressPrivate", Both, V3, |o| o.ingress_private.map(Flag)),
    row("retryPolicyInitialInterval", Both, V4, |o| o.retry_policy.initial_interval.map(Millis)),
    row("retryPolicyMaxInterval", Both, V4, |o| o.retry_policy.max_interval.map(Millis)),
    row("retryPolicyMaxAttempts", Both, V4, |o| o.retry_policy.max_attempts.map(Count)),
    row("retryPolicyExponentiationFactor", Both, V4, |o| o.retry_policy.factor.map(Factor)),
    row("retryPolicyOnMaxAttempts", Both, V4, |o| o.retry_policy.on_max_attempts.map(Then)),
];

const fn row(
    json: &'static str,
    level: Level,
    since: ManifestVersion,
    read: fn(&Options) -> Option<OptionValue<'_>>,
) -> OptionSpec {
    OptionSpec {
        json,
        level,
        since,
        read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: OptionValue<'_>) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn durations_are_whole_milliseconds_rounded_up() {
        assert_eq!(json(Millis(Duration::ZERO)), "0");
        assert_eq!(json(Millis(Duration::from_millis(1500))), "1500");
        assert_eq!(json(Millis(Duration::from_nanos(1))), "1");
        assert_eq!(json(Millis(Duration::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn a_flag_that_says_the_default_is_left_out_where_it_is_unknown() {
        let lazy = TABLE
            .iter()
            .find(|row| row.json == "enableLazyState")
            .unwrap();
        let on = Options {
            lazy_state: Some(true),
            ..Options::default()
        };
        let off = Options {
            lazy_state: Some(false),
            ..Options::default()
        };
        assert_eq!(lazy.value(&off, V2), Ok(None));
        assert_eq!(lazy.value(&off, V3), Ok(Some(Flag(false))));
        assert_eq!(
            lazy.value(&on, V2),
            Err(MissingIn {
                json: "enableLazyState",
                since: V3
            })
        );
    }

    #[test]
    fn factors_that_no_server_can_use_are_found() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE / 2.0] {
            assert!(
                InvocationRetryPolicy::new()
                    .factor(bad)
                    .invalid_factor()
                    .is_some(),
                "{bad}"
            );
        }
        assert!(
            InvocationRetryPolicy::new()
                .factor(1.0)
                .invalid_factor()
                .is_none()
        );
        assert!(InvocationRetryPolicy::new().invalid_factor().is_none());
    }
}
