//! A typed client of the server's admin API (feature `admin`).
//!
//! [`AdminClient`] asks one server, by default at port 9070: for its deployments, services, Kafka clusters and
//! subscriptions, for the life of invocations, and for its tables in SQL.
//!
//! ```no_run
//! use durably::admin::AdminClient;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Row {
//!     id: String,
//!     target: String,
//! }
//!
//! # async fn example() -> Result<(), durably::admin::AdminError> {
//! let admin = AdminClient::new("http://127.0.0.1:9070");
//! let stuck = "SELECT id, target FROM sys_invocation WHERE status = 'paused'";
//! for Row { id, target } in admin.query::<Row>(stuck).await? {
//!     println!("{id} of {target} is paused");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # At every start
//!
//! The `ensure_…` methods bring the server to what a program wants, and change nothing if that is so already. A program
//! may run them at each start, and many copies of it at once. [`Registration`] is all of that in one value, which
//! [`HttpServer::register`](crate::HttpServer::register) takes: then a service that is fed by Kafka is one binary.
//!
//! ```no_run
//! use durably::admin::{AdminClient, KafkaCluster, NewDeployment, Subscription};
//!
//! # async fn example() -> Result<(), durably::admin::AdminError> {
//! let admin = AdminClient::new("http://127.0.0.1:9070");
//! admin.ensure_kafka_cluster(&KafkaCluster::new("events", "127.0.0.1:9092")).await?;
//! admin.ensure_deployment(&NewDeployment::at("http://127.0.0.1:9080")).await?;
//! let orders = Subscription::new("kafka://events/orders", "Orders/on_event").from_earliest();
//! let ensured = admin.ensure_subscription(&orders).await?;
//! println!("{:?}: {}", ensured.change, ensured.value.id);
//! # Ok(())
//! # }
//! ```
//!
//! # TLS
//!
//! The client is built without TLS. For an address that begins with `https`, enable a TLS feature of
//! `reqwest` in your own `Cargo.toml` (`reqwest = { version = "0.12", features = ["rustls-tls"] }`).

mod deployments;
mod error;
mod invocations;
mod kafka;
mod limits;
mod registration;
mod services;

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[cfg(feature = "test-server")]
pub(crate) use self::registration::is_unreachable;
pub use self::{
    deployments::{DeployedService, Deployment, NewDeployment},
    error::AdminError,
    invocations::{At, Invocation, InvocationFilter, InvocationStatus},
    kafka::{KafkaCluster, Subscribed, Subscription},
    registration::{Registered, Registration},
    services::{Service, ServiceChange, ServiceHandler},
};
use super::http::{describe, is_impossible, said, without_userinfo};
use crate::error::BoxError;

/// How long an answer may take. The server asks an endpoint five times when it is told of it, and tries for 10
/// seconds to connect each time: where packets get lost, what it says of that comes only then.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How much of an answer that is no JSON is repeated in a message.
const MAX_TEXT: usize = 2000;

/// A client of one server's admin API.
///
/// A clone is cheap and shares the connections.
///
/// # Examples
///
/// See the [module](self).
#[derive(Clone)]
pub struct AdminClient {
    /// Without a slash at the end.
    url: String,
    /// Or why there is none, which each request says.
    client: Result<reqwest::Client, String>,
    token: Option<String>,
    timeout: Duration,
}

impl AdminClient {
    /// A client of the admin API at this address, such as `http://127.0.0.1:9070`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let admin = durably::admin::AdminClient::new("http://127.0.0.1:9070");
    /// assert_eq!(admin.url(), "http://127.0.0.1:9070");
    /// ```
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build();
        Self::of(
            url.into(),
            client.map_err(|error| describe(error).to_string()),
        )
    }

    /// A client that sends its requests by another one, with its proxies, certificates and pools.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example() -> Result<(), reqwest::Error> {
    /// let direct = reqwest::Client::builder().no_proxy().build()?;
    /// let admin = durably::admin::AdminClient::with_client("http://10.0.0.7:9070", direct);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_client(url: impl Into<String>, client: reqwest::Client) -> Self {
        Self::of(url.into(), Ok(client))
    }

    fn of(mut url: String, client: Result<reqwest::Client, String>) -> Self {
        url.truncate(url.trim_end_matches('/').len());
        Self {
            url,
            client,
            token: None,
            timeout: TIMEOUT,
        }
    }

    /// Sends a bearer token with each request.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::admin::AdminClient;
    ///
    /// let token = std::env::var("RESTATE_ADMIN_TOKEN").unwrap_or_default();
    /// let admin = AdminClient::new("http://admin.internal:9070").bearer_token(token);
    /// ```
    #[must_use]
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long an answer may take; 60 seconds by default. Registering a deployment takes as long as the
    /// server tries to reach it: up to 52 seconds by its defaults.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # use durably::admin::AdminClient;
    ///
    /// let admin = AdminClient::new("http://127.0.0.1:9070").timeout(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The address, without a slash at the end.
    ///
    /// # Examples
    ///
    /// See [`new`](Self::new).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks the server's tables in SQL (`sys_invocation`, `sys_journal`, `state`, …), each row as the type
    /// that you ask for.
    ///
    /// Columns that are null are left out of a row, so their fields are `Option`s. Times are text
    /// (RFC 3339), durations too (ISO 8601), and bytes are hexadecimal text. The type of any row is
    /// [`serde_json::Value`].
    ///
    /// # Errors
    ///
    /// When there is no server, the query is wrong, or a row is not of this type.
    ///
    /// # Examples
    ///
    /// See the [module](self).
    pub async fn query<Row: DeserializeOwned>(&self, sql: &str) -> Result<Vec<Row>, AdminError> {
        #[derive(Deserialize)]
        #[serde(bound = "Row: DeserializeOwned")]
        struct Rows<Row> {
            #[serde(default = "Vec::new")]
            rows: Vec<Row>,
        }
        let answer = self
            .exchange(Method::POST, "/query", Some(&json!({ "query": sql })))
            .await?;
        answer.decode::<Rows<Row>>().map(|answer| answer.rows)
    }

    /// How errors name a request.
    fn name(&self, method: &Method, path: &str) -> String {
        format!("{method} {}{path}", without_userinfo(&self.url))
    }

    /// What requests are sent by, if they can be sent at all.
    fn usable(&self) -> Result<&reqwest::Client, BoxError> {
        let scheme = self.url.split_once("://").map_or("", |(scheme, _)| scheme);
        if !["http", "https"]
            .iter()
            .any(|web| scheme.eq_ignore_ascii_case(web))
        {
            return Err(
                "an address of the admin API begins with `http://` or `https://` and a host".into(),
            );
        }
        // Everything behind them, the path of each request too, would be dropped.
        if self.url.contains(['?', '#']) {
            return Err("an address of the admin API has no query and no fragment".into());
        }
        self.client.as_ref().map_err(|error| error.clone().into())
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        let answer = self.exchange(Method::GET, path, None::<&Value>).await?;
        answer.decode()
    }

    /// One request and its answer. The path may have a query.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Answer, AdminError> {
        let request = self.name(&method, path);
        let client = match self.usable() {
            Ok(client) => client,
            Err(source) => return Err(AdminError::Invalid { request, source }),
        };
        // Without this header a query is answered in a binary format.
        let mut builder = client
            .request(method, format!("{}{path}", self.url))
            .header("accept", "application/json")
            .timeout(self.timeout);
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        if let Some(body) = body {
            builder = builder.json(body);
        }
        let answer = async {
            let answer = builder.send().await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        match answer.await {
            Err(error) if is_impossible(&error) => {
                let source = describe(error);
                Err(AdminError::Invalid { request, source })
            }
            Err(error) => {
                let source = describe(error);
                Err(AdminError::Transport { request, source })
            }
            Ok((status, body)) if !status.is_success() => {
                Err(refused(request, status.as_u16(), &body))
            }
            Ok((status, body)) => Ok(Answer {
                request,
                status: status.as_u16(),
                body,
            }),
        }
    }
}

/// The body of a refusal is an object with a message, or some text.
fn refused(request: String, status: u16, body: &[u8]) -> AdminError {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
        restate_code: Option<String>,
    }
    let refusal = serde_json::from_slice(body).unwrap_or_else(|_| Refusal {
        message: said(status, body, MAX_TEXT),
        restate_code: None,
    });
    AdminError::Refused {
        request,
        status,
        code: refusal.restate_code,
        message: refusal.message,
    }
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is nobody's business.
        f.debug_struct("AdminClient")
            .field("url", &without_userinfo(&self.url))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(crate) struct Answer {
    request: String,
    pub(crate) status: u16,
    body: Bytes,
}

impl Answer {
    /// Its body; an empty one is JSON's `null`.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<T, AdminError> {
        let decoded = if self.body.is_empty() {
            serde_json::from_value(Value::Null).map_err(BoxError::from)
        } else {
            let mut input = serde_json::Deserializer::from_slice(&self.body);
            // An error names the field.
            serde_path_to_error::deserialize(&mut input).map_err(BoxError::from)
        };
        decoded.map_err(|source| AdminError::Undecodable {
            request: self.request,
            source,
        })
    }
}

/// What an `ensure_…` method did.
///
/// # Examples
///
/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Everything was as it should be.
    Nothing,
    /// It was not there.
    Created,
    /// It was there, and different.
    Updated,
}

/// What an `ensure_…` method found or made, and what it did for that.
///
/// # Examples
///
/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ensured<T> {
    /// What was done.
    pub change: Change,
    /// What the server has now.
    pub value: T,
}

impl<T> Ensured<T> {
    fn new(change: Change, value: T) -> Self {
        Self { change, value }
    }
}

/// What the server shows in the place of a secret.
const REDACTED: &str = "***";

/// Whether a property is as wanted, as far as one can see.
fn is_same(wanted: &str, found: &str) -> bool {
    wanted == found || found == REDACTED
}

/// A text as a literal of SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_last_slash_and_tokens_stay_secret() {
        let admin = AdminClient::new("http://somewhere:1/").bearer_token("hush");
        assert_eq!(admin.url(), "http://somewhere:1");
        assert!(!format!("{admin:?}").contains("hush"));
        let admin = AdminClient::new("http://ada:hush@somewhere:1");
        assert!(!format!("{admin:?}").contains("hush"));
        assert_eq!(
            admin.name(&Method::GET, "/services"),
            "GET http://somewhere:1/services"
        );
    }

    #[test]
    fn refusals_keep_what_the_server_says() {
        let request = || "GET http://somewhere".to_owned();
        let coded = br#"{"message": "no such thing", "restate_code": "META0001"}"#;
        let error = refused(request(), 404, coded);
        assert_eq!(error.status(), Some(404));
        assert_eq!(
            error.to_string(),
            "GET http://somewhere was refused with status 404: [META0001] no such thing"
        );
        let error = refused(request(), 502, b"bad gateway");
        assert_eq!(
            error.to_string(),
            "GET http://somewhere was refused with status 502: bad gateway"
        );
        let error = refused(request(), 405, b"");
        assert_eq!(
            error.to_string(),
            "GET http://somewhere was refused with status 405: Method Not Allowed"
        );
        let page = "x".repeat(1 << 20);
        let error = refused(request(), 502, page.as_bytes());
        assert!(error.to_string().len() < 3000);
    }

    #[test]
    fn what_cannot_be_decoded_names_the_field() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[expect(dead_code, reason = "only decoded")]
            count: u32,
        }
        let answer = Answer {
            request: "POST http://somewhere/query".to_owned(),
            status: 200,
            body: Bytes::from_static(br#"[{"count": 1}, {"count": "two"}]"#),
        };
        let error = answer.decode::<Vec<Row>>().unwrap_err();
        assert!(error.to_string().contains("[1].count"), "{error}");
    }

    #[test]
    fn literals_of_sql_are_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_of_the_transport() {
        let admin = AdminClient::new("http://127.0.0.1:1");
        let error = admin.query::<Value>("SELECT 1").await.unwrap_err();
        assert!(matches!(error, AdminError::Transport { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_told_apart() {
        let without_tls = "https://127.0.0.1:1";
        for url in [
            "no address at all",
            "localhost:9070",
            "http://",
            "http://127.0.0.1:1/ui/#/",
            "http://127.0.0.1:1?a=b",
            without_tls,
        ] {
            let error = AdminClient::new(url).services().await.unwrap_err();
            assert!(matches!(error, AdminError::Invalid { .. }), "{error}");
            assert_eq!(error.status(), None);
        }
        let admin = AdminClient::new("http://127.0.0.1:1").bearer_token("a\nb");
        let error = admin.services().await.unwrap_err();
        assert!(matches!(error, AdminError::Invalid { .. }), "{error}");
    }
}
