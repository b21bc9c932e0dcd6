//! What tests ask of the server's admin API: deployments, Kafka, SQL, and the life of invocations.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::error::TestServerError;
use super::server::RestateServer;
use crate::admin::{AdminClient, AdminError, At, KafkaCluster, NewDeployment, Subscription};
use crate::client::admin::is_unreachable;

/// How long a registration waits for handlers that do not listen yet.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(15);

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
    /// A client of this server's admin API, for everything that these methods do not do.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{admin::AdminError, test_server::RestateServer};
    /// # async fn example(server: RestateServer) -> Result<(), AdminError> {
    /// let services = server.admin().services().await?;
    /// assert_eq!(services.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn admin(&self) -> AdminClient {
        AdminClient::with_client(self.admin_url(), self.client.clone())
    }

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
        let deployment = if uri.starts_with("arn:") {
            NewDeployment::lambda(uri)
        } else {
            NewDeployment::at(uri)
        };
        self.discover(deployment.force()).await
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
        self.discover(NewDeployment::at(uri).force().http1()).await
    }

    async fn discover(&self, deployment: NewDeployment) -> Result<Deployment, TestServerError> {
        let (admin, start) = (self.admin(), Instant::now());
        loop {
            match admin.register(&deployment).await {
                // The server has tried some times itself, with pauses between.
                Err(error) if is_unreachable(&error) && start.elapsed() < DISCOVERY_LIMIT => {}
                Err(error) => return Err(error.into()),
                Ok(found) => {
                    let services = found.services.into_iter().map(|service| service.name);
                    let mut services: Vec<_> = services.collect();
                    services.sort_unstable();
                    let id = found.id;
                    return Ok(Deployment { id, services });
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
        // A light broker may never expire the member that a killed server leaves in its consumer group;
        // under this name the restarted server takes its place.
        let cluster =
            KafkaCluster::new(name, bootstrap_servers).property("group.instance.id", "restate-1");
        self.admin().create_kafka_cluster(&cluster).await?;
        Ok(())
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
        let subscription = Subscription::new(source, sink);
        let subscription = options.iter().fold(subscription, |made, (name, value)| {
            made.option(*name, *value)
        });
        Ok(self.admin().subscribe(&subscription).await?.id)
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
        Ok(self.admin().unsubscribe(subscription).await?)
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
        Ok(self.admin().limit_concurrency(pattern, most).await?)
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
        Ok(self.admin().query(sql).await?)
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
        Ok(self.admin().cancel(invocation).await?)
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
        Ok(self.admin().kill(invocation).await?)
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
        Ok(self.admin().pause(invocation).await?)
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
        Ok(self.admin().resume(invocation).await?)
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
        Ok(self.admin().resume_at(invocation, &At::Latest).await?)
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
        Ok(self.admin().restart_as_new(invocation, from).await?)
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
        Ok(self.admin().purge(invocation).await?)
    }
}

impl From<AdminError> for TestServerError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Refused {
                request,
                status,
                message,
                ..
            } => Self::Refused {
                request,
                status,
                message,
            },
            AdminError::Invalid { request, source }
            | AdminError::Transport { request, source }
            | AdminError::Undecodable { request, source } => Self::Unanswered { request, source },
        }
    }
}
