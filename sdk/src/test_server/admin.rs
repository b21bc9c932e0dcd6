//! What tests ask of the server's admin API: deployments, Kafka, SQL, and the life of invocations.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::client::{self, encode_segment};
use super::error::TestServerError;
use super::server::RestateServer;

/// No answer of the admin API takes longer, discovery with its retries included.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a registration waits for handlers that do not listen yet.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(15);

/// The server's code for an endpoint that cannot be reached or does not answer as one.
const DISCOVERY_FAILED: &str = "META0003";

/// Handlers that were registered with a server.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::{RestateServer, TestServerError};
/// # async fn example(server: RestateServer) -> Result<(), TestServerError> {
/// let deployment = server.register("http://127.0.0.1:9080").await?;
/// assert_eq!(deployment.services, ["Greeter"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Deployment {
    /// The deployment's id.
    pub id: String,
    /// The names of the services that were found there, sorted.
    pub services: Vec<String>,
}

impl RestateServer {
    /// Registers the handlers that are served at an address: a URI, or the ARN of a function of AWS
    /// Lambda (`arn:…`).
    ///
    /// A former registration of the same address is replaced. If nobody listens there yet, this
    /// waits for up to 15 seconds, so handlers may be started at the same time. An answer that says
    /// no, as to a server whose signature is not trusted, is an error at once.
    ///
    /// # Errors
    ///
    /// When the handlers cannot be reached, or the server refuses what they declare.
    ///
    /// # Examples
    ///
    /// See [`Deployment`].
    pub async fn register(&self, uri: &str) -> Result<Deployment, TestServerError> {
        let address = if uri.starts_with("arn:") {
            "arn"
        } else {
            "uri"
        };
        self.discover(json!({ address: uri, "force": true })).await
    }

    /// Registers handlers that are to be called by HTTP/1.1, in request-response mode.
    ///
    /// # Errors
    ///
    /// As [`RestateServer::register`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer) -> Result<(), TestServerError> {
    /// server.register_http1("http://127.0.0.1:9080").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_http1(&self, uri: &str) -> Result<Deployment, TestServerError> {
        self.discover(json!({ "uri": uri, "force": true, "use_http_11": true }))
            .await
    }

    async fn discover(&self, body: Value) -> Result<Deployment, TestServerError> {
        let start = Instant::now();
        loop {
            match self
                .admin(reqwest::Method::POST, "/deployments", Some(&body))
                .await
            {
                // The server has tried some times itself, with pauses between.
                Err(TestServerError::Refused { message, .. })
                    if is_worth_another_try(&message) && start.elapsed() < DISCOVERY_LIMIT => {}
                Err(error) => return Err(error),
                Ok(answer) => {
                    let services = answer.get("services").and_then(Value::as_array);
                    let services = services.into_iter().flatten();
                    let mut services: Vec<_> =
                        services.map(|service| text(service, "name")).collect();
                    services.sort_unstable();
                    return Ok(Deployment {
                        id: text(&answer, "id"),
                        services,
                    });
                }
            }
        }
    }

    /// Tells the server about a Kafka cluster.
    ///
    /// The name is what subscriptions call it, in the form of a host name.
    ///
    /// # Errors
    ///
    /// When the server refuses, for example because it knows a cluster of that name already.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{KafkaBroker, RestateServer, TestServerError};
    /// # async fn example(server: RestateServer) -> Result<(), TestServerError> {
    /// let broker = KafkaBroker::start().await?;
    /// broker.create_topic("orders", 2).await?;
    /// server.create_kafka_cluster("events", broker.bootstrap_servers()).await?;
    /// let earliest = [("auto.offset.reset", "earliest")];
    /// server.subscribe("kafka://events/orders", "service://Orders/on_event", &earliest).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_kafka_cluster(
        &self,
        name: &str,
        bootstrap_servers: &str,
    ) -> Result<(), TestServerError> {
        let body = json!({
            "name": name,
            "properties": {
                "bootstrap.servers": bootstrap_servers,
                // A light broker may never expire the member that a killed server leaves in its
                // consumer group; under this name the restarted server takes its place.
                "group.instance.id": "restate-1",
            },
        });
        self.admin(reqwest::Method::POST, "/kafka-clusters", Some(&body))
            .await
            .map(|_| ())
    }

    /// Lets the server call a handler for each record of a topic, and gives the subscription's id.
    ///
    /// The source is `kafka://cluster/topic`, the sink `service://Service/handler`, also for virtual
    /// objects and workflows; the handler must be registered. Options are properties of the
    /// consumer: without `auto.offset.reset` = `earliest`, records from before are skipped.
    ///
    /// # Errors
    ///
    /// When the server refuses, for example because it knows no such handler.
    ///
    /// # Examples
    ///
    /// See [`RestateServer::create_kafka_cluster`].
    pub async fn subscribe(
        &self,
        source: &str,
        sink: &str,
        options: &[(&str, &str)],
    ) -> Result<String, TestServerError> {
        let options: Map<String, Value> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let body = json!({ "source": source, "sink": sink, "options": options });
        let answer = self
            .admin(reqwest::Method::POST, "/subscriptions", Some(&body))
            .await?;
        Ok(text(&answer, "id"))
    }

    /// Ends a subscription. What was taken in goes on; the offsets stay with the consumer group, for another
    /// subscription with the same `group.id`.
    ///
    /// # Errors
    ///
    /// When there is no such subscription.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer) -> Result<(), TestServerError> {
    /// let group = [("group.id", "orders")];
    /// let id = server.subscribe("kafka://events/orders", "service://Orders/on_event", &group).await?;
    /// server.unsubscribe(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unsubscribe(&self, subscription: &str) -> Result<(), TestServerError> {
        let path = format!("/subscriptions/{}", encode_segment(subscription));
        self.admin(reqwest::Method::DELETE, &path, None)
            .await
            .map(|_| ())
    }

    /// Lets at most so many invocations run at a time whose scope and limit key match a pattern: `"bank"`, `"*"`,
    /// `"bank/eu"`. Needs a server with [scopes](super::RestateServerBuilder::scopes).
    ///
    /// # Errors
    ///
    /// When the server refuses, for example because the pattern makes no sense to it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example() -> Result<(), TestServerError> {
    /// let server = RestateServer::builder().scopes().start().await?;
    /// server.limit_concurrency("bank", 16).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn limit_concurrency(&self, pattern: &str, most: u32) -> Result<(), TestServerError> {
        let rules = json!([{ "pattern": pattern, "limits": { "concurrency": most } }]);
        self.admin(reqwest::Method::PUT, "/limits/rules", Some(&rules))
            .await
            .map(|_| ())
    }

    /// Asks the server's tables (`sys_invocation`, `sys_journal`, `state`, …) in SQL. Each row is
    /// a JSON object.
    ///
    /// # Errors
    ///
    /// When the query is wrong or the server is not there.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer) -> Result<(), TestServerError> {
    /// let rows = server.query("SELECT id, status FROM sys_invocation").await?;
    /// assert!(rows.iter().all(|row| row["status"] == "completed"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query(&self, sql: &str) -> Result<Vec<Value>, TestServerError> {
        let answer = self
            .admin(
                reqwest::Method::POST,
                "/query",
                Some(&json!({ "query": sql })),
            )
            .await?;
        match answer {
            Value::Object(mut answer) => match answer.remove("rows") {
                Some(Value::Array(rows)) => Ok(rows),
                _ => Ok(Vec::new()),
            },
            _ => Ok(Vec::new()),
        }
    }

    /// Cancels an invocation: its handler sees a terminal error and may clean up.
    ///
    /// # Errors
    ///
    /// When there is no such invocation, or it has ended.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer, id: String) -> Result<(), TestServerError> {
    /// server.cancel(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(&self, invocation: &str) -> Result<(), TestServerError> {
        self.change(invocation, "cancel").await
    }

    /// Ends an invocation at once; its handler learns nothing of it.
    ///
    /// # Errors
    ///
    /// As [`RestateServer::cancel`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer, id: String) -> Result<(), TestServerError> {
    /// server.kill(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn kill(&self, invocation: &str) -> Result<(), TestServerError> {
        self.change(invocation, "kill").await
    }

    /// Pauses an invocation until it is resumed.
    ///
    /// Its attempt goes on until it would suspend: an executing run comes to its end.
    ///
    /// # Errors
    ///
    /// As [`RestateServer::cancel`], and when the invocation is suspended or has not started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer, id: String) -> Result<(), TestServerError> {
    /// server.pause(&id).await?;
    /// server.resume(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause(&self, invocation: &str) -> Result<(), TestServerError> {
        self.change(invocation, "pause").await
    }

    /// Lets a paused invocation go on, or one that waits for its next attempt start it now.
    ///
    /// It goes on at the deployment where it was, as far as it has a journal.
    ///
    /// # Errors
    ///
    /// As [`RestateServer::cancel`].
    ///
    /// # Examples
    ///
    /// See [`RestateServer::pause`].
    pub async fn resume(&self, invocation: &str) -> Result<(), TestServerError> {
        self.change(invocation, "resume").await
    }

    /// Lets a paused invocation go on at the latest deployment of its service: with other code.
    ///
    /// # Errors
    ///
    /// As [`RestateServer::cancel`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer, id: String) -> Result<(), TestServerError> {
    /// server.register("http://127.0.0.1:9081").await?; // where it is repaired
    /// server.resume_on_latest(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume_on_latest(&self, invocation: &str) -> Result<(), TestServerError> {
        self.change(invocation, "resume?deployment=latest").await
    }

    /// Starts an invocation that has ended once more, and gives the id of the new one.
    ///
    /// Of the old journal the entries up to `from` are kept (at least the input, which has the
    /// index 0), with the completions of the commands among them.
    ///
    /// # Errors
    ///
    /// When there is no such invocation, it has not ended, or its journal is gone.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// # async fn example(
    /// #     server: RestateServer,
    /// #     id: String,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let again = server.restart_as_new(&id, 0).await?;
    /// server.ingress().attach::<()>(&again).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restart_as_new(
        &self,
        invocation: &str,
        from: u32,
    ) -> Result<String, TestServerError> {
        let answer = self
            .patch(invocation, &format!("restart-as-new?from={from}"))
            .await?;
        Ok(text(&answer, "new_invocation_id"))
    }

    /// Forgets an invocation that has ended: its output, journal, promises and idempotency key.
    ///
    /// # Errors
    ///
    /// When there is no such invocation, or it has not ended.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{RestateServer, TestServerError};
    /// # async fn example(server: RestateServer, id: String) -> Result<(), TestServerError> {
    /// server.purge(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge(&self, invocation: &str) -> Result<(), TestServerError> {
        self.change(invocation, "purge").await
    }

    async fn change(&self, invocation: &str, verb: &str) -> Result<(), TestServerError> {
        self.patch(invocation, verb).await.map(|_| ())
    }

    async fn patch(&self, invocation: &str, verb: &str) -> Result<Value, TestServerError> {
        let path = format!("/invocations/{}/{verb}", encode_segment(invocation));
        self.admin(reqwest::Method::PATCH, &path, None).await
    }

    pub(super) async fn admin_get(&self, path: &str) -> Result<Value, TestServerError> {
        self.admin(reqwest::Method::GET, path, None).await
    }

    /// One exchange with the admin API. An empty answer is `null`.
    async fn admin(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, TestServerError> {
        let url = format!("{}{path}", self.admin_url());
        let request = format!("{method} {url}");
        // Without this header a query is answered in a binary format.
        let mut builder = self
            .client
            .request(method, url)
            .header("accept", "application/json");
        if let Some(body) = body {
            builder = builder.json(body);
        }
        let exchange = async {
            let answer = builder.timeout(LIMIT).send().await?;
            Ok((answer.status(), answer.bytes().await?))
        };
        let (status, answer) = exchange
            .await
            .map_err(|error| TestServerError::Unanswered {
                request: request.clone(),
                source: client::describe(error),
            })?;
        if !status.is_success() {
            let message = match serde_json::from_slice::<Value>(&answer) {
                Ok(answer) if answer.get("message").is_some() => text(&answer, "message"),
                _ => String::from_utf8_lossy(&answer).into_owned(),
            };
            return Err(TestServerError::Refused {
                request,
                status: status.as_u16(),
                message,
            });
        }
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|error| TestServerError::Unanswered {
            request,
            source: error.into(),
        })
    }
}

/// Whether a discovery that failed with this message may still succeed: handlers that do not listen
/// yet will, but those that answer with a status of 4xx mean it.
fn is_worth_another_try(message: &str) -> bool {
    message.contains(DISCOVERY_FAILED) && !message.contains("got status code '4")
}

/// A text field of a JSON object, or nothing.
fn text(object: &Value, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
