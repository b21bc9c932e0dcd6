//! Calls to handlers through the server's HTTP ingress, by name.
//!
//! In: a handler's name, its input as a value or as bytes. Out: its output, or a failure with the
//! status and message that the ingress answered. This is [`IngressClient`] for tests: without types, and
//! it never tries again.

mod reply;
mod request;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::reply::{Reply, Sent};
pub use self::request::IngressRequest;
use super::client;
use crate::ingress::{IngressClient, IngressError};
use crate::{Raw, RetryPolicy, Target};

/// A client of a server's ingress. Cheap to clone; stays valid when the server restarts.
///
/// Inputs are any `serde` type, sent as JSON; `&()` sends no body. Outputs are decoded from JSON.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::RestateServer;
/// # async fn example(server: RestateServer) -> Result<(), Box<dyn std::error::Error>> {
/// let ingress = server.ingress();
/// let greeting: String = ingress.call("Greeter", "greet", &"Ada").await?;
/// let count: u64 = ingress.call_object("Counter", "visits", "add", &1).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Ingress {
    client: IngressClient,
}

impl Ingress {
    /// A client of the ingress at an address such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// When that is no address, or the system does not allow a client.
    ///
    /// # Examples
    ///
    /// ```
    /// let ingress = durably::test_server::Ingress::new("http://127.0.0.1:8080")?;
    /// # Ok::<(), durably::ingress::IngressError>(())
    /// ```
    pub fn new(url: impl Into<String>) -> Result<Self, IngressError> {
        let url = url.into();
        let client = client::client().map_err(|error| IngressError::Invalid {
            request: url.clone(),
            source: client::describe(error),
        })?;
        Self::with_client(client, url)
    }

    pub(super) fn with_client(client: reqwest::Client, url: String) -> Result<Self, IngressError> {
        let client = IngressClient::builder(url)
            .retry(RetryPolicy::fixed(Duration::ZERO).max_attempts(1))
            .reqwest(client)
            .build()?;
        Ok(Self { client })
    }

    /// The typed client of this ingress.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{Target, ingress::IngressError, test_server::RestateServer};
    /// # async fn example(server: RestateServer) -> Result<(), IngressError> {
    /// let ingress = server.ingress();
    /// let request = ingress.client().request::<_, String>(Target::service("Greeter", "greet"), "Ada");
    /// let greeting = request.timeout(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn client(&self) -> &IngressClient {
        &self.client
    }

    /// Calls a service's handler and waits for its output.
    ///
    /// # Errors
    ///
    /// [`IngressError::Terminal`] for a terminal error of the handler, else what went wrong on the way.
    ///
    /// # Examples
    ///
    /// See [`Ingress`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        service: &str,
        handler: &str,
        input: &(impl Serialize + ?Sized),
    ) -> Result<T, IngressError> {
        self.service(service, handler).json(input).call().await
    }

    /// Calls the handler of a virtual object or a workflow and waits for its output.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`].
    ///
    /// # Examples
    ///
    /// See [`Ingress`].
    pub async fn call_object<T: DeserializeOwned>(
        &self,
        service: &str,
        key: &str,
        handler: &str,
        input: &(impl Serialize + ?Sized),
    ) -> Result<T, IngressError> {
        self.object(service, key, handler).json(input).call().await
    }

    /// Starts a service's handler without waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`], except that the handler's own errors are not seen.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// let sent = ingress.send("Greeter", "greet", &"Ada").await?;
    /// let greeting: String = ingress.attach(&sent.invocation_id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(
        &self,
        service: &str,
        handler: &str,
        input: &(impl Serialize + ?Sized),
    ) -> Result<Sent, IngressError> {
        self.service(service, handler).json(input).send().await
    }

    /// Starts the handler of a virtual object or a workflow without waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Ingress::send`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// let sent = ingress.send_object("Signup", "ada", "run", &"ada@example.com").await?;
    /// assert!(!sent.already);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_object(
        &self,
        service: &str,
        key: &str,
        handler: &str,
        input: &(impl Serialize + ?Sized),
    ) -> Result<Sent, IngressError> {
        self.object(service, key, handler).json(input).send().await
    }

    /// Starts a request to a service's handler, to say more than [`Ingress::call`] can.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn service(&self, service: &str, handler: &str) -> IngressRequest {
        let target = Target::service(service.to_owned(), handler.to_owned());
        IngressRequest::new(self.client.clone(), target)
    }

    /// Starts a request to the handler of a virtual object or a workflow.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn object(&self, service: &str, key: &str, handler: &str) -> IngressRequest {
        let target = Target::object(service.to_owned(), key, handler.to_owned());
        IngressRequest::new(self.client.clone(), target)
    }

    /// Waits for the output of an invocation that was sent before.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`].
    ///
    /// # Examples
    ///
    /// See [`Ingress::send`].
    pub async fn attach<T: DeserializeOwned>(&self, invocation: &str) -> Result<T, IngressError> {
        json(self.client.invocation(invocation).attach().await?)
    }

    /// The output of an invocation that was sent before, or `None` while it has not ended.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress, id: String) -> Result<(), Box<dyn std::error::Error>> {
    /// match ingress.output::<String>(&id).await? {
    ///     Some(greeting) => println!("{greeting}"),
    ///     None => println!("still running"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn output<T: DeserializeOwned>(
        &self,
        invocation: &str,
    ) -> Result<Option<T>, IngressError> {
        let output: Option<Raw> = self.client.invocation(invocation).output().await?;
        output.map(json).transpose()
    }

    /// Waits for the output of a workflow.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`]; status 404 if the workflow was never started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// let outcome: String = ingress.attach_workflow("Signup", "ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn attach_workflow<T: DeserializeOwned>(
        &self,
        workflow: &str,
        key: &str,
    ) -> Result<T, IngressError> {
        json(
            self.client
                .workflow_invocation(workflow, key)
                .attach()
                .await?,
        )
    }

    /// The output of a workflow, or `None` while it has not ended.
    ///
    /// # Errors
    ///
    /// As [`Ingress::attach_workflow`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// assert_eq!(ingress.output_workflow::<String>("Signup", "ada").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn output_workflow<T: DeserializeOwned>(
        &self,
        workflow: &str,
        key: &str,
    ) -> Result<Option<T>, IngressError> {
        let workflow = self.client.workflow_invocation(workflow, key);
        let output: Option<Raw> = workflow.output().await?;
        output.map(json).transpose()
    }

    /// Completes an awakeable with a value.
    ///
    /// # Errors
    ///
    /// When the id is none of an awakeable. The ingress accepts ids whose invocation has ended.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress, id: String) -> Result<(), Box<dyn std::error::Error>> {
    /// ingress.resolve_awakeable(&id, &"approved").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resolve_awakeable(
        &self,
        id: &str,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), IngressError> {
        self.client.resolve_awakeable(id, value).await
    }

    /// Completes an awakeable with a terminal failure.
    ///
    /// # Errors
    ///
    /// As [`Ingress::resolve_awakeable`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress, id: String) -> Result<(), Box<dyn std::error::Error>> {
    /// ingress.reject_awakeable(&id, "nobody answered").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reject_awakeable(&self, id: &str, reason: &str) -> Result<(), IngressError> {
        self.client.reject_awakeable(id, reason).await
    }
}

/// Reads an output like [`Reply::decode`].
fn json<T: DeserializeOwned>(output: Raw) -> Result<T, IngressError> {
    Reply::of(output.0).decode()
}
