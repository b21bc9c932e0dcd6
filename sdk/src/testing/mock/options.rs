//! What a handler meets: everything about the invocation and the mock that is set before it begins.

use std::time::Duration;

use super::MockContext;
#[cfg(doc)]
use super::Running;
#[cfg(doc)]
use crate::Context;

/// What a handler meets.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) service: String,
    pub(super) handler: String,
    pub(super) invocation_id: String,
    pub(super) key: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) attempt_headers: http::HeaderMap,
    pub(super) idempotency_key: Option<String>,
    pub(super) scope: Option<String>,
    pub(super) limit_key: Option<String>,
    pub(super) seed: u64,
    pub(super) retry_count: u32,
    pub(super) lazy_state: bool,
    pub(super) manual_time: bool,
    pub(super) forbid_runs: bool,
    pub(super) explicit_cancellation: bool,
    pub(super) run_limit: Duration,
    pub(super) max_commands: usize,
}

impl Setup {
    pub(super) fn new(key: String) -> Self {
        Self {
            service: "Mock".into(),
            handler: "handler".into(),
            invocation_id: format!("inv_1{:033}", 0),
            key,
            headers: Vec::new(),
            attempt_headers: http::HeaderMap::new(),
            idempotency_key: None,
            scope: None,
            limit_key: None,
            seed: 0,
            retry_count: 0,
            lazy_state: false,
            manual_time: false,
            forbid_runs: false,
            explicit_cancellation: false,
            run_limit: Duration::from_secs(10),
            max_commands: 10_000,
        }
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $example:literal |$setup:ident| $change:expr;)*) => {
        impl<C> MockContext<C> {
            $(
                $(#[$doc])*
                ///
                /// # Examples
                ///
                /// ```
                /// use durably::testing::MockContext;
                /// use std::time::Duration;
                ///
                #[doc = $example]
                /// ```
                #[must_use]
                pub fn $name(mut self, $($arg: $ty),*) -> Self {
                    let $setup = &mut self.world.setup;
                    $change;
                    self
                }
            )*
        }
    };
}

options! {
    /// The name of the service; `Mock` without this.
    service_name(name: impl Into<String>)
        "let mock = MockContext::service().service_name(\"Greeter\");\n\
         assert_eq!(mock.call_blocking(async |ctx| ctx.service_name().to_owned()), \"Greeter\");"
        |setup| setup.service = name.into();

    /// The name of the handler; `handler` without this.
    handler_name(name: impl Into<String>)
        "let mock = MockContext::service().handler_name(\"greet\");\n\
         assert_eq!(mock.call_blocking(async |ctx| ctx.handler_name().to_owned()), \"greet\");"
        |setup| setup.handler = name.into();

    /// The id of the invocation, for what is done once for each; without this it is the same for all.
    invocation_id(id: impl Into<String>)
        "let mock = MockContext::service().invocation_id(\"inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz\");\n\
         mock.call_blocking(async |ctx| assert!(ctx.invocation_id().starts_with(\"inv_1gdJ\")));"
        |setup| setup.invocation_id = id.into();

    /// Adds a header of the invocation.
    header(name: impl Into<String>, value: impl Into<String>)
        "let mock = MockContext::service().header(\"x-tenant\", \"acme\");\n\
         mock.call_blocking(async |ctx| assert_eq!(ctx.headers().get(\"x-tenant\"), Some(\"acme\")));"
        |setup| setup.headers.push((name.into(), value.into()));

    /// The HTTP headers of the attempt.
    attempt_headers(headers: http::HeaderMap)
        "let mock = MockContext::service().attempt_headers(Default::default());\n\
         assert!(mock.call_blocking(async |ctx| ctx.attempt_headers().is_empty()));"
        |setup| setup.attempt_headers = headers;

    /// The idempotency key of the invocation.
    idempotency_key(key: impl Into<String>)
        "let mock = MockContext::service().idempotency_key(\"click-1\");\n\
         mock.call_blocking(async |ctx| assert_eq!(ctx.idempotency_key(), Some(\"click-1\")));"
        |setup| setup.idempotency_key = Some(key.into());

    /// The scope in which the invocation runs.
    scope(scope: impl Into<String>)
        "let mock = MockContext::service().scope(\"acme\");\n\
         mock.call_blocking(async |ctx| assert_eq!(ctx.scope(), Some(\"acme\")));"
        |setup| setup.scope = Some(scope.into());

    /// The limit key under which the invocation runs.
    limit_key(key: impl Into<String>)
        "let mock = MockContext::service().scope(\"acme\").limit_key(\"orders\");\n\
         mock.call_blocking(async |ctx| assert_eq!(ctx.limit_key(), Some(\"orders\")));"
        |setup| setup.limit_key = Some(key.into());

    /// The seed of [`Context::random`]; 0 without this.
    random_seed(seed: u64)
        "let draw = |seed| {\n    \
             let mock = MockContext::service().random_seed(seed);\n    \
             mock.call_blocking(async |ctx| ctx.random().u64())\n\
         };\n\
         assert_eq!(draw(7), draw(7));\n\
         assert_ne!(draw(7), draw(8));"
        |setup| setup.seed = seed;

    /// How often the runtime has tried before; see [`Context::retry_count`].
    retry_count(count: u32)
        "let mock = MockContext::service().retry_count(2);\n\
         assert_eq!(mock.call_blocking(async |ctx| ctx.retry_count()), 2);"
        |setup| setup.retry_count = count;

    /// The state is not sent along with the invocation: each read asks for it, as with state that is too
    /// large or a service that says so.
    lazy_state()
        "let mock = MockContext::object(\"order-7\").state(\"seen\", &3).lazy_state();\n\
         let seen = mock.call_blocking(async |ctx| ctx.get::<u64>(\"seen\").await);\n\
         assert_eq!(seen, Ok(Some(3)));"
        |setup| setup.lazy_state = true;

    /// Time moves only by [`Running::advance`]; without this, sleeps are skipped.
    manual_time()
        "let mock = MockContext::service().manual_time();\n\
         let mut running = mock.start(async |ctx| ctx.sleep(Duration::from_secs(60)).await);\n\
         running.advance(Duration::from_secs(59));\n\
         assert!(!running.is_finished());\n\
         running.advance(Duration::from_secs(1));\n\
         assert_eq!(running.finish_blocking(), Ok(()));"
        |setup| setup.manual_time = true;

    /// No run closure is executed: runs that are not scripted with [`run`](Self::run) fail the test.
    /// `ctx.now()` stays possible.
    forbid_runs()
        "let mock = MockContext::service().forbid_runs();\n\
         mock.run(\"charge the card\").returns(&42);\n\
         let charge = async || -> std::io::Result<u64> { unreachable!(\"not in a test\") };\n\
         let receipt = mock.call_blocking(async |ctx| ctx.run(\"charge the card\", charge).await);\n\
         assert_eq!(receipt, Ok(42));"
        |setup| setup.forbid_runs = true;

    /// A cancellation fails nothing by itself; see
    /// [`HandlerDefinition::explicit_cancellation`](crate::HandlerDefinition::explicit_cancellation).
    explicit_cancellation()
        "let mock = MockContext::service().explicit_cancellation();\n\
         let mut running = mock.start(async |ctx| durably::select! {\n    \
             cancelled = ctx.cancellation() => cancelled.is_ok(),\n    \
             go = ctx.signal::<bool>(\"go\") => go.unwrap(),\n\
         });\n\
         running.cancel();\n\
         assert!(running.finish_blocking());"
        |setup| setup.explicit_cancellation = true;

    /// How long, in real time, a run closure may wait for the world outside without anything happening
    /// before the test fails; 10 seconds without this.
    run_limit(limit: Duration)
        "let mock = MockContext::service().run_limit(Duration::from_secs(1));\n\
         assert_eq!(mock.call_blocking(async |_| 1), 1);"
        |setup| setup.run_limit = limit;

    /// How many commands a handler may issue, and how many scripted signals it may get, before it is taken
    /// for one that never ends; 10,000 of each without this.
    max_commands(commands: usize)
        "let mock = MockContext::object(\"order-7\").max_commands(2);\n\
         mock.call_blocking(async |ctx| ctx.set(\"seen\", &1));"
        |setup| setup.max_commands = commands;
}
