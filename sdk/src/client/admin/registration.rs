//! What a program wants of the server at each start, in one value.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    AdminClient, AdminError, Deployment, Ensured, KafkaCluster, NewDeployment, Subscribed,
    Subscription,
};

/// The server's code for an endpoint that cannot be reached or does not answer as one.
const DISCOVERY_FAILED: &str = "META0003";

/// How long a server that cannot reach the endpoint is asked again.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(30);

/// The pauses between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a program wants of a server at each start: that it knows its deployment, its Kafka clusters and its
/// subscriptions.
///
/// [`HttpServer::register`](crate::HttpServer::register) does it once it listens; where the endpoint is served by
/// something else, [`ensure`](Self::ensure) does it.
///
/// # Examples
///
/// A service that is fed by Kafka, in one binary:
///
/// ```no_run
/// use durably::{
///     admin::{KafkaCluster, Registration, Subscription},
///     prelude::*,
/// };
///
/// # struct Orders;
/// # #[durably::object]
/// # impl Orders {
/// #     #[handler]
/// #     async fn on_event(&self, _ctx: &ObjectContext, _event: KafkaEvent<String>) -> HandlerResult<()> { Ok(()) }
/// # }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let registration = Registration::at("http://127.0.0.1:9070")
///     .advertise("http://127.0.0.1:9080")
///     .kafka_cluster(KafkaCluster::new("events", "127.0.0.1:9092"))
///     .subscription(Subscription::new("kafka://events/orders", "Orders/on_event").from_earliest());
/// let endpoint = Endpoint::builder().bind(Orders).build()?;
/// HttpServer::new(endpoint).register(registration).listen("127.0.0.1:9080").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is done by `HttpServer::register` or `ensure`"]
pub struct Registration {
    admin: AdminClient,
    deployment: Option<NewDeployment>,
    clusters: Vec<KafkaCluster>,
    subscriptions: Vec<Subscription>,
    patience: Option<Duration>,
}

/// What the server has after a [`Registration`].
///
/// # Examples
///
/// See [`Registration::ensure`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registered {
    /// The deployment, if one was advertised.
    pub deployment: Option<Ensured<Deployment>>,
    /// The Kafka clusters, in the order in which they were given.
    pub kafka_clusters: Vec<Ensured<KafkaCluster>>,
    /// The subscriptions, in the order in which they were given.
    pub subscriptions: Vec<Ensured<Subscribed>>,
}

impl Registration {
    /// With the server whose admin API has this address.
    ///
    /// # Examples
    ///
    /// See [`Registration`].
    pub fn at(admin_url: impl Into<String>) -> Self {
        Self::with(AdminClient::new(admin_url))
    }

    /// With the server of this client.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::admin::{AdminClient, Registration};
    ///
    /// let admin = AdminClient::new("http://admin.internal:9070").bearer_token("…");
    /// let registration = Registration::with(admin).advertise("http://orders:9080");
    /// ```
    pub fn with(admin: AdminClient) -> Self {
        Self {
            admin,
            deployment: None,
            clusters: Vec::new(),
            subscriptions: Vec::new(),
            patience: None,
        }
    }

    /// Registers the endpoint under this address, as the server reaches it. Nobody can know it here, so without it (or
    /// [`deployment`](Self::deployment)) only clusters and subscriptions are ensured.
    ///
    /// # Examples
    ///
    /// See [`Registration`].
    pub fn advertise(self, uri: impl Into<String>) -> Self {
        self.deployment(NewDeployment::at(uri))
    }

    /// Registers the endpoint, with all that can be said of it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::admin::{NewDeployment, Registration};
    ///
    /// let deployment = NewDeployment::at("http://orders:9080").breaking();
    /// let registration = Registration::at("http://127.0.0.1:9070").deployment(deployment);
    /// ```
    pub fn deployment(mut self, deployment: NewDeployment) -> Self {
        self.deployment = Some(deployment);
        self
    }

    /// Makes a Kafka cluster known.
    ///
    /// # Examples
    ///
    /// See [`Registration`].
    pub fn kafka_cluster(mut self, cluster: KafkaCluster) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Makes a subscription.
    ///
    /// # Examples
    ///
    /// See [`Registration`].
    pub fn subscription(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    /// How long a server that does not answer is waited for; without end by default, since it may be started later. A
    /// request that has begun may take its own [time](AdminClient::timeout) on top.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use durably::admin::Registration;
    ///
    /// let registration = Registration::at("http://127.0.0.1:9070")
    ///     .advertise("http://127.0.0.1:9080")
    ///     .patience(Duration::from_secs(60));
    /// ```
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Brings the server to that, and waits for it until it is up. What is so already stays as it is.
    ///
    /// # Errors
    ///
    /// When the server refuses something, or cannot be asked at all ([`AdminError::Invalid`]); when it does not reach the
    /// endpoint, for 30 seconds; or when it does not answer for longer than one is [patient](Self::patience).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::admin::Registration;
    ///
    /// # async fn example() -> Result<(), durably::admin::AdminError> {
    /// let registration = Registration::at("http://127.0.0.1:9070").advertise("http://127.0.0.1:9080");
    /// let registered = registration.ensure().await?;
    /// println!("{:?}", registered.deployment.map(|deployment| deployment.change));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ensure(&self) -> Result<Registered, AdminError> {
        let start = Instant::now();
        let mut unreachable = Unreachable::default();
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = Instant::now();
            let error = match self.try_ensure().await {
                Ok(registered) => return Ok(registered),
                Err(error) => error,
            };
            let is_too_long = unreachable.is_too_long(&reason(&error), tried, pause);
            let mut patience = self.patience.into_iter();
            if is_too_long || patience.any(|patience| start.elapsed() + pause > patience) {
                return Err(error);
            }
            tracing::warn!(%error, again_in = ?pause, "not registered yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_ensure(&self) -> Result<Registered, AdminError> {
        let mut kafka_clusters = Vec::new();
        for cluster in &self.clusters {
            kafka_clusters.push(self.admin.ensure_kafka_cluster(cluster).await?);
        }
        // A subscription's handler must be known.
        let deployment = match &self.deployment {
            Some(deployment) => Some(self.admin.ensure_deployment(deployment).await?),
            None => None,
        };
        let mut subscriptions = Vec::new();
        for subscription in &self.subscriptions {
            subscriptions.push(self.admin.ensure_subscription(subscription).await?);
        }
        Ok(Registered {
            deployment,
            kafka_clusters,
            subscriptions,
        })
    }
}

/// Why it did not work.
#[derive(Debug, PartialEq)]
enum Reason {
    /// The server is not there yet.
    Silence,
    /// It does not reach the endpoint.
    Unreachable,
    /// It means it.
    Refusal,
}

/// Since when the endpoint is all that is missing.
#[derive(Debug, Default)]
struct Unreachable(Option<Instant>);

impl Unreachable {
    /// Whether what went wrong, in a try that began then, is not to be waited for, or not for so long.
    fn is_too_long(&mut self, reason: &Reason, tried: Instant, pause: Duration) -> bool {
        match reason {
            Reason::Silence => {
                // A server that has been away has not looked for the endpoint meanwhile.
                self.0 = None;
                false
            }
            Reason::Unreachable => {
                self.0.get_or_insert(tried).elapsed() + pause > DISCOVERY_PATIENCE
            }
            Reason::Refusal => true,
        }
    }
}

fn reason(error: &AdminError) -> Reason {
    match error {
        AdminError::Transport { .. } => Reason::Silence,
        AdminError::Refused {
            status: 502..=504, ..
        } => Reason::Silence,
        error if is_unreachable(error) => Reason::Unreachable,
        _ => Reason::Refusal,
    }
}

/// Whether the server did not reach an endpoint that may still come up: one that does not listen yet will, but one that
/// answers with a status of 4xx means it.
pub(crate) fn is_unreachable(error: &AdminError) -> bool {
    matches!(
        error,
        AdminError::Refused { code: Some(code), message, .. }
            if code == DISCOVERY_FAILED && !message.contains("got status code '4")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_still_come_is_waited_for() {
        let refused = |status, code: Option<&str>, message: &str| AdminError::Refused {
            request: String::new(),
            status,
            code: code.map(str::to_owned),
            message: message.to_owned(),
        };
        let silence = AdminError::Transport {
            request: String::new(),
            source: "nobody".into(),
        };
        assert_eq!(reason(&silence), Reason::Silence);
        assert_eq!(reason(&refused(503, None, "")), Reason::Silence);
        let discovery = |message| refused(500, Some(DISCOVERY_FAILED), message);
        assert_eq!(
            reason(&discovery("Connection refused")),
            Reason::Unreachable
        );
        let unauthorized = discovery("got status code '401 Unauthorized'");
        assert_eq!(reason(&unauthorized), Reason::Refusal);
        assert_eq!(reason(&refused(409, None, "")), Reason::Refusal);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_waited_for_while_the_server_is_there() {
        let second = Duration::from_secs(1);
        let mut unreachable = Unreachable::default();
        let mut fails = |reason: Reason, tried| unreachable.is_too_long(&reason, tried, second);
        assert!(!fails(Reason::Unreachable, Instant::now()));
        tokio::time::advance(20 * second).await;
        assert!(!fails(Reason::Unreachable, Instant::now()));
        assert!(!fails(Reason::Silence, Instant::now()));
        tokio::time::advance(20 * second).await;
        assert!(!fails(Reason::Unreachable, Instant::now()));
        tokio::time::advance(30 * second).await;
        assert!(fails(Reason::Unreachable, Instant::now()));
        assert!(fails(Reason::Refusal, Instant::now()));

        // The server may have looked for it for as long in one try.
        let tried = Instant::now();
        tokio::time::advance(51 * second).await;
        assert!(Unreachable::default().is_too_long(&Reason::Unreachable, tried, second));
    }

    #[tokio::test]
    async fn what_can_never_be_sent_is_not_waited_for() {
        for address in ["localhost:9070", "http://127.0.0.1:1/ui/#/"] {
            let wrong = Registration::at(address)
                .advertise("http://127.0.0.1:2")
                .patience(Duration::from_secs(20));
            let error = wrong.ensure().await.unwrap_err();
            // Not `Transport`, which comes when the patience has ended.
            assert!(matches!(error, AdminError::Invalid { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn patience_ends() {
        let nobody = Registration::at("http://127.0.0.1:1")
            .advertise("http://127.0.0.1:2")
            .patience(Duration::from_millis(300));
        let error = nobody.ensure().await.unwrap_err();
        assert!(matches!(error, AdminError::Transport { .. }), "{error}");
    }
}
