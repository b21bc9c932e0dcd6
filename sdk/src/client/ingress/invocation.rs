//! Invocations that are there already: their results, however they are found.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header as names};
use serde::Serialize;

use super::{
    CallOptions, IngressClient, IngressError, IngressFuture, exchange::Exchange, path::Path,
    request, response,
};
use crate::{Decode, InvocationId, RetryPolicy, Target};

/// The ingress answers so for an invocation that has not ended.
const NOT_READY: u16 = 470;

/// An invocation that was started before, by its id, its idempotency key or its workflow's key.
///
/// # Examples
///
/// ```no_run
/// use durably::ingress::{IngressClient, IngressError};
///
/// # async fn example(ingress: IngressClient, id: String) -> Result<(), IngressError> {
/// let invocation = ingress.invocation(&id);
/// match invocation.output::<String>().await? {
///     Some(greeting) => println!("{greeting}"),
///     None => println!("not yet; waiting: {}", invocation.attach::<String>().await?),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct IngressInvocation {
    client: IngressClient,
    which: Which,
    headers: Vec<(String, String)>,
    options: CallOptions,
}

/// An invocation as the ingress' JSON names it.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "target",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Which {
    Invocation {
        invocation_id: String,
    },
    Workflow {
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        workflow_name: String,
        workflow_key: String,
    },
    IdempotentInvocation {
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        service: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        handler: String,
        idempotency_key: String,
    },
}

/// Whether this may be what the ingress (server 1.7) says when there is nothing to attach to: it looks
/// like the terminal error of a handler. Asked for the output, it says more clearly who does not find what.
fn is_not_found(error: &IngressError) -> bool {
    error.as_terminal().is_some_and(|error| {
        error.code() == 404 && error.message() == "not found" && error.metadata().is_empty()
    })
}

impl IngressInvocation {
    fn new(client: IngressClient, which: Which) -> Self {
        Self {
            client,
            which,
            headers: Vec::new(),
            options: CallOptions::default(),
        }
    }

    pub(super) fn by_id(client: IngressClient, id: &str) -> Self {
        let invocation_id = id.to_owned();
        Self::new(client, Which::Invocation { invocation_id })
    }

    pub(super) fn of_workflow(client: IngressClient, name: &str, key: &str) -> Self {
        let which = Which::Workflow {
            scope: None,
            workflow_name: name.to_owned(),
            workflow_key: key.to_owned(),
        };
        Self::new(client, which)
    }

    pub(super) fn by_idempotency_key(client: IngressClient, target: Target, key: &str) -> Self {
        let which = Which::IdempotentInvocation {
            scope: None,
            service: target.service_name().to_owned(),
            key: target.key().map(str::to_owned),
            handler: target.handler_name().to_owned(),
            idempotency_key: key.to_owned(),
        };
        Self::new(client, which)
    }

    /// With what was said of a request.
    pub(super) fn with(
        mut self,
        scope: Option<String>,
        headers: Vec<(String, String)>,
        options: CallOptions,
    ) -> Self {
        self.headers = headers;
        self.options = options;
        match scope {
            Some(scope) => self.scope(scope),
            None => self,
        }
    }

    /// The scope in which it runs, for one that is found by a key; an id says it already.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::ingress::{IngressClient, IngressError};
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let signup = ingress.workflow_invocation("Signup", "ada").scope("tenant-7");
    /// let confirmed: bool = signup.attach().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn scope(mut self, of: impl Into<String>) -> Self {
        match &mut self.which {
            Which::Invocation { .. } => {}
            Which::Workflow { scope, .. } | Which::IdempotentInvocation { scope, .. } => {
                *scope = Some(of.into());
            }
        }
        self
    }

    /// The time that each operation has, all its tries included, instead of the client's.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use durably::ingress::{IngressClient, IngressError};
    /// # async fn example(ingress: IngressClient, id: String) -> Result<(), IngressError> {
    /// let greeting = ingress.invocation(&id).timeout(Duration::from_secs(5)).attach::<String>().await;
    /// if greeting.is_err_and(|error| error.is_timeout()) {
    ///     println!("still running");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// When an operation is tried again, instead of the client's policy.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{ingress::{IngressClient, IngressError}, prelude::*};
    /// # async fn example(ingress: IngressClient, id: String) -> Result<(), IngressError> {
    /// // For as long as it takes, through restarts of the server.
    /// let forever = RetryPolicy::fixed(Duration::from_secs(1));
    /// let greeting: String = ingress.invocation(&id).retry(forever).attach().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Waits for the output.
    ///
    /// # Errors
    ///
    /// The terminal error of the handler, or what went wrong on the way; status 404 if there is no such
    /// invocation, or it is forgotten already.
    ///
    /// # Examples
    ///
    /// See [`IngressInvocation`].
    pub fn attach<T: Decode + 'static>(&self) -> IngressFuture<T> {
        let (client, exchange) = (self.client.clone(), self.exchange("attach"));
        let doubt = self.exchange("output");
        Box::pin(async move {
            let exchange = exchange?;
            let name = exchange.name();
            match client.exchange(exchange).await {
                Ok(response) => Ok(response::decode(name, response)?.output),
                Err(error) if is_not_found(&error) => match client.exchange(doubt?).await {
                    Err(refused @ IngressError::Refused { status: 404, .. }) => Err(refused),
                    _ => Err(error),
                },
                Err(error) => Err(error),
            }
        })
    }

    /// The output if the invocation has ended, `None` if not; does not wait.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    ///
    /// # Examples
    ///
    /// See [`IngressInvocation`].
    pub fn output<T: Decode + 'static>(&self) -> IngressFuture<Option<T>> {
        let (client, exchange) = (self.client.clone(), self.exchange("output"));
        Box::pin(async move {
            let exchange = exchange?;
            let name = exchange.name();
            match client.exchange(exchange).await {
                Ok(response) => Ok(Some(response::decode(name, response)?.output)),
                Err(IngressError::Refused { status, .. }) if status == NOT_READY => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// The id that it has, or would have: the server reckons it from the key, without looking whether
    /// there is such an invocation.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::ingress::{IngressClient, IngressError};
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let id = ingress.workflow_invocation("Signup", "ada").id().await?;
    /// println!("{id}"); // for the admin API, say
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(&self) -> IngressFuture<InvocationId> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            invocation_id: String,
        }
        let (client, exchange) = (self.client.clone(), self.exchange("lookup"));
        Box::pin(async move {
            let exchange = exchange?;
            let name = exchange.name();
            let response = client.exchange(exchange).await?;
            let answer: Answer = response::json(name, &response)?;
            Ok(InvocationId::known(answer.invocation_id))
        })
    }

    fn exchange(&self, verb: &str) -> Result<Exchange, IngressError> {
        let mut exchange = Exchange {
            method: Method::POST,
            path: Path::new(["restate", verb]),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            options: self.options.clone(),
            repeatable: true,
        };
        if let Which::Invocation { invocation_id } = &self.which
            && verb != "lookup"
        {
            exchange.method = Method::GET;
            exchange.path.push(invocation_id);
        } else {
            // Plain strings always become JSON.
            exchange.body = serde_json::to_vec(&self.which).unwrap_or_default().into();
            let json = HeaderValue::from_static("application/json");
            exchange.headers.insert(names::CONTENT_TYPE, json);
        }
        if let Err(source) = request::append(&mut exchange.headers, &self.headers) {
            return Err(super::invalid(&exchange, source));
        }
        exchange.checked()
    }
}
