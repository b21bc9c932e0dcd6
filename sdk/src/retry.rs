//! Retry policies of runs.

use std::time::Duration;

/// When a run that fails retryably is tried again, and what happens when the tries are used up.
///
/// Without a policy the invocation's own retry policy, the server's, decides.
///
/// A policy without [`max_attempts`](Self::max_attempts) and
/// [`max_duration`](Self::max_duration) never gives up.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use durably::RetryPolicy;
///
/// // 100 ms, 200 ms, 400 ms … at most 5 s, five executions in all.
/// let policy = RetryPolicy::exponential(Duration::from_millis(100), 2.0)
///     .max_delay(Duration::from_secs(5))
///     .max_attempts(5);
/// # let _ = policy;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    initial: Duration,
    factor: f64,
    max_delay: Option<Duration>,
    max_attempts: Option<u32>,
    max_duration: Option<Duration>,
    pause: bool,
}

/// What a policy says of a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    Retry(Duration),
    Terminal,
    Pause,
}

impl RetryPolicy {
    /// The delay before the n-th retry is `initial × factor^(n − 1)`. A factor that is not a finite
    /// number of at least 1 counts as 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = durably::RetryPolicy::exponential(Duration::from_millis(100), 2.0);
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn exponential(initial: Duration, factor: f64) -> Self {
        let factor = if factor.is_finite() {
            factor.max(1.0)
        } else {
            1.0
        };
        Self {
            initial,
            factor,
            max_delay: None,
            max_attempts: None,
            max_duration: None,
            pause: false,
        }
    }

    /// The same delay before each retry.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = durably::RetryPolicy::fixed(Duration::from_secs(1)).max_attempts(3);
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self::exponential(delay, 1.0)
    }

    /// The longest delay between two tries.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = durably::RetryPolicy::exponential(Duration::from_millis(50), 3.0)
    ///     .max_delay(Duration::from_secs(10));
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = Some(delay);
        self
    }

    /// How often the closure is executed in all; 0 counts as 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let once = durably::RetryPolicy::fixed(Duration::ZERO).max_attempts(1);
    /// # let _ = once;
    /// ```
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts.max(1));
        self
    }

    /// How long the run is tried in all, from its first execution on; checked when it fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = durably::RetryPolicy::fixed(Duration::from_secs(1))
    ///     .max_duration(Duration::from_secs(60));
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.max_duration = Some(duration);
        self
    }

    /// When the tries are used up, pause the invocation for somebody to look at it, instead of
    /// failing the run terminally. Pausing travels with protocol v7; before it, the invocation is
    /// left to the server's own retry policy.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let policy = durably::RetryPolicy::fixed(Duration::from_secs(1))
    ///     .max_attempts(10)
    ///     .pause_on_exhaustion();
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn pause_on_exhaustion(mut self) -> Self {
        self.pause = true;
        self
    }

    /// What happens after `count` executions that took `duration` in all, the failed one included.
    pub(crate) fn decide(&self, count: u32, duration: Duration) -> Decision {
        let exhausted = self.max_attempts.is_some_and(|max| count >= max)
            || self.max_duration.is_some_and(|max| duration >= max);
        if exhausted {
            return if self.pause {
                Decision::Pause
            } else {
                Decision::Terminal
            };
        }
        if self.initial.is_zero() {
            // 0 × ∞ is no number.
            return Decision::Retry(Duration::ZERO);
        }
        let limit = self.max_delay.unwrap_or(Duration::MAX);
        let exponent = i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(exponent);
        Decision::Retry(
            Duration::try_from_secs_f64(seconds)
                .unwrap_or(limit)
                .min(limit),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_grow_up_to_the_limit() {
        let policy = RetryPolicy::exponential(SECOND, 2.0).max_delay(5 * SECOND);
        let delays: Vec<_> = [1, 2, 3, 4, 1_000_000, u32::MAX]
            .map(|count| policy.decide(count, Duration::ZERO))
            .to_vec();
        let expected = [1, 2, 4, 5, 5, 5].map(|seconds| Decision::Retry(seconds * SECOND));
        assert_eq!(delays, expected);
    }

    #[test]
    fn attempts_and_durations_run_out() {
        let policy = RetryPolicy::fixed(SECOND)
            .max_attempts(3)
            .max_duration(10 * SECOND);
        assert_eq!(policy.decide(2, 9 * SECOND), Decision::Retry(SECOND));
        assert_eq!(policy.decide(3, SECOND), Decision::Terminal);
        assert_eq!(policy.decide(1, 10 * SECOND), Decision::Terminal);
        assert_eq!(
            policy.pause_on_exhaustion().decide(3, SECOND),
            Decision::Pause
        );
        let once = RetryPolicy::fixed(SECOND).max_attempts(0);
        assert_eq!(once.decide(1, Duration::ZERO), Decision::Terminal);
    }

    #[test]
    fn no_delay_stays_no_delay() {
        let policy = RetryPolicy::exponential(Duration::ZERO, 2.0);
        for count in [1, 2, 5000, u32::MAX] {
            let decision = policy.decide(count, Duration::ZERO);
            assert_eq!(decision, Decision::Retry(Duration::ZERO));
        }
    }

    #[test]
    fn odd_factors_count_as_one() {
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let policy = RetryPolicy::exponential(SECOND, factor);
            assert_eq!(policy.decide(50, Duration::ZERO), Decision::Retry(SECOND));
        }
    }
}
