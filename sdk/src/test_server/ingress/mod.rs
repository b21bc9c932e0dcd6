//! Calls to handlers through the server's HTTP ingress, as any client outside makes them.
//!
//! In: a handler's name, its input as a value or as bytes. Out: its output, or a failure with the
//! status and message that the ingress answered. This is a plain client for tests and examples; it
//! never retries.

mod reply;
mod request;

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::reply::{IngressError, Reply, Sent};
pub use self::request::IngressRequest;
use super::client;

/// The ingress answers so for an invocation that has not ended yet.
const NOT_READY: u16 = 470;

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
    client: reqwest::Client,
    base: String,
}

impl Ingress {
    /// A client of the ingress at an address such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// When the system does not allow a client.
    ///
    /// # Examples
    ///
    /// ```
    /// let ingress = durably::test_server::Ingress::new("http://127.0.0.1:8080")?;
    /// # Ok::<(), durably::test_server::IngressError>(())
    /// ```
    pub fn new(url: impl Into<String>) -> Result<Self, IngressError> {
        let base = url.into();
        client::client()
            .map(|client| Self::with_client(client, &base))
            .map_err(|error| IngressError::Unsendable {
                request: base.clone(),
                source: client::describe(error),
            })
    }

    pub(super) fn with_client(client: reqwest::Client, base: &str) -> Self {
        Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// Calls a service's handler and waits for its output.
    ///
    /// # Errors
    ///
    /// [`IngressError::Failed`] for a terminal error of the handler, else what went wrong on the way.
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
        self.post(&[service, handler])
    }

    /// Starts a request to the handler of a virtual object or a workflow.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn object(&self, service: &str, key: &str, handler: &str) -> IngressRequest {
        self.post(&[service, key, handler])
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
        self.get(&["restate", "attach", invocation]).await?.decode()
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
        ready(self.get(&["restate", "output", invocation]).await)
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
        self.get(&["restate", "workflow", workflow, key, "attach"])
            .await?
            .decode()
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
        ready(
            self.get(&["restate", "workflow", workflow, key, "output"])
                .await,
        )
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
        self.post(&["restate", "awakeables", id, "resolve"])
            .json(value)
            .exchange()
            .await?;
        Ok(())
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
        let body = Bytes::copy_from_slice(reason.as_bytes());
        let request = self.post(&["restate", "awakeables", id, "reject"]);
        request.raw("text/plain", body).exchange().await?;
        Ok(())
    }

    async fn get(&self, path: &[&str]) -> Result<Reply, IngressError> {
        IngressRequest::new(self, Method::GET, path)
            .exchange()
            .await
    }

    fn post(&self, path: &[&str]) -> IngressRequest {
        IngressRequest::new(self, Method::POST, path)
    }
}

/// Turns the answer for an invocation that has not ended into `None`.
fn ready<T: DeserializeOwned>(
    reply: Result<Reply, IngressError>,
) -> Result<Option<T>, IngressError> {
    match reply {
        Ok(reply) => reply.decode().map(Some),
        Err(error) if error.status() == Some(NOT_READY) => Ok(None),
        Err(error) => Err(error),
    }
}
