//! Whom a call is for.

use std::{borrow::Cow, fmt};

/// A handler of some service, and the key if it has one.
///
/// # Examples
///
/// ```
/// use durably::Target;
///
/// let greeter = Target::service("Greeter", "greet");
/// let counter = Target::object("Counter", "my-counter", "add");
/// assert_eq!(counter.key(), Some("my-counter"));
/// # let _ = greeter;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    service: Cow<'static, str>,
    key: Option<String>,
    handler: Cow<'static, str>,
}

impl Target {
    /// A handler of a service.
    ///
    /// # Examples
    ///
    /// See [`Target`].
    pub fn service(
        service: impl Into<Cow<'static, str>>,
        handler: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            service: service.into(),
            key: None,
            handler: handler.into(),
        }
    }

    /// A handler of a virtual object.
    ///
    /// # Examples
    ///
    /// See [`Target`].
    pub fn object(
        service: impl Into<Cow<'static, str>>,
        key: impl Into<String>,
        handler: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            service: service.into(),
            key: Some(key.into()),
            handler: handler.into(),
        }
    }

    /// A handler of a workflow.
    ///
    /// # Examples
    ///
    /// ```
    /// let run = durably::Target::workflow("Signup", "user-7", "run");
    /// assert_eq!(run.service_name(), "Signup");
    /// ```
    pub fn workflow(
        service: impl Into<Cow<'static, str>>,
        key: impl Into<String>,
        handler: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::object(service, key, handler)
    }

    /// The name of the service.
    ///
    /// # Examples
    ///
    /// See [`Target::workflow`].
    #[must_use]
    pub fn service_name(&self) -> &str {
        &self.service
    }

    /// The key, for a handler of a virtual object or workflow.
    ///
    /// # Examples
    ///
    /// See [`Target`].
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The name of the handler.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(durably::Target::service("Greeter", "greet").handler_name(), "greet");
    /// ```
    #[must_use]
    pub fn handler_name(&self) -> &str {
        &self.handler
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}/{key}/{}", self.service, self.handler),
            None => write!(f, "{}/{}", self.service, self.handler),
        }
    }
}
