//! The virtual time, and running until everything waits.

use std::time::Duration;

use super::{TestRuntime, millis, waiting::Time};

impl TestRuntime {
    /// Virtual time, since the Unix epoch.
    ///
    /// # Examples
    ///
    /// See [`advance`](Self::advance).
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.driver.engine.now())
    }

    /// Moves the time on by hand. What is due meanwhile happens, each thing at its time.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{TestRuntime, service}};
    ///
    /// struct Nap;
    ///
    /// #[durably::service]
    /// impl Nap {
    ///     #[handler]
    ///     async fn nap(&self, ctx: &Context) -> HandlerResult<()> {
    ///         Ok(ctx.sleep(Duration::from_secs(60)).await?)
    ///     }
    /// }
    ///
    /// let endpoint = Endpoint::builder().bind(Nap).build()?;
    /// let mut runtime = TestRuntime::builder(endpoint).manual_time().build();
    /// let begun = runtime.now();
    /// let id = runtime.send(service::<NapClient>().nap())?;
    /// runtime.advance(Duration::from_secs(59));
    /// assert_eq!(runtime.output::<()>(&id)?, None);
    /// runtime.advance(Duration::from_secs(1));
    /// assert_eq!(runtime.output::<()>(&id)?, Some(()));
    /// assert_eq!(runtime.now() - begun, Duration::from_secs(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) {
        // What goes on now belongs to the time before.
        self.settle();
        let until = self.driver.engine.now().saturating_add(millis(duration));
        self.run_until(Time::Until(until), |_| None::<()>);
        self.driver.advance_to(until);
        self.settle();
    }

    /// As [`advance`](Self::advance), for async tests.
    ///
    /// # Examples
    ///
    /// See [`advance`](Self::advance) and [`call_async`](Self::call_async).
    pub async fn advance_async(&mut self, duration: Duration) {
        self.settle_async().await;
        let until = self.driver.engine.now().saturating_add(millis(duration));
        self.run_until_async(Time::Until(until), |_| None::<()>)
            .await;
        self.driver.advance_to(until);
        self.settle_async().await;
    }

    /// Runs until everything waits, without moving the time.
    ///
    /// # Examples
    ///
    /// See [`resolve_awakeable`](Self::resolve_awakeable).
    #[track_caller]
    pub fn settle(&mut self) {
        self.run_until(Time::Still, |_| None::<()>);
    }

    /// As [`settle`](Self::settle), for async tests.
    ///
    /// # Examples
    ///
    /// See [`call_async`](Self::call_async).
    pub async fn settle_async(&mut self) {
        self.run_until_async(Time::Still, |_| None::<()>).await;
    }

    /// Runs until everything has ended or waits for somebody outside. The time moves from timer to timer,
    /// unless it moves by hand only.
    ///
    /// # Panics
    ///
    /// Where that never is, as with a handler that sends itself a delayed message each time: after the time has moved
    /// a million times. Use [`advance`](Self::advance) there.
    ///
    /// # Examples
    ///
    /// See [`output`](Self::output).
    #[track_caller]
    pub fn run_until_idle(&mut self) {
        self.run_until(Time::Free, |_| None::<()>);
    }

    /// As [`run_until_idle`](Self::run_until_idle), for async tests.
    ///
    /// # Examples
    ///
    /// See [`call_async`](Self::call_async).
    pub async fn run_until_idle_async(&mut self) {
        self.run_until_async(Time::Free, |_| None::<()>).await;
    }
}
