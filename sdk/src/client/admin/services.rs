//! Services, as the server knows them from their latest deployment.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AdminClient, AdminError};
use crate::client::http::encode_segment;

/// A service that the server knows.
///
/// # Examples
///
/// ```no_run
/// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
/// let orders = admin.service("Orders").await?;
/// println!("{} is a {}, revision {}", orders.name, orders.kind, orders.revision);
/// println!("journals are kept for {:?}", orders.other.get("journal_retention"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `Service`, `VirtualObject` or `Workflow`.
    #[serde(rename = "ty")]
    pub kind: String,
    /// The deployment where new invocations go.
    pub deployment_id: String,
    /// Which revision that is, from 1.
    pub revision: u32,
    /// Whether it can be called through the ingress.
    #[serde(default)]
    pub public: bool,
    /// Its handlers.
    pub handlers: Vec<ServiceHandler>,
    /// Everything else that the server says of it, by the server's names.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A handler that the server knows.
///
/// # Examples
///
/// ```no_run
/// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
/// for handler in admin.service("Orders").await?.handlers {
///     println!("{} ({:?})", handler.name, handler.kind);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct ServiceHandler {
    /// Its name.
    pub name: String,
    /// `Exclusive`, `Shared` or `Workflow`; none for a plain service.
    #[serde(rename = "ty")]
    pub kind: Option<String>,
    /// Whether it can be called through the ingress.
    #[serde(default)]
    pub public: bool,
    /// Everything else that the server says of it, by the server's names.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A change of a service's options, until its next registration.
///
/// Better set them in the code: the next [forced](super::NewDeployment::force) registration, and the next deployment,
/// bring back what the code says.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use durably::admin::{AdminClient, ServiceChange};
///
/// # async fn example(admin: AdminClient) -> Result<(), durably::admin::AdminError> {
/// let change = ServiceChange::default()
///     .public(false)
///     .journal_retention(Duration::from_secs(2 * 24 * 3600));
/// admin.change_service("Orders", &change).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[must_use = "it is made by `AdminClient::change_service`"]
pub struct ServiceChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_retention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_retention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow_completion_retention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inactivity_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abort_timeout: Option<String>,
}

macro_rules! durations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Examples
            ///
            /// See [`ServiceChange`].
            pub fn $name(mut self, duration: Duration) -> Self {
                self.$name = Some(format!("{}ms", duration.as_millis()));
                self
            }
        )*
    };
}

impl ServiceChange {
    /// Whether it can be called through the ingress.
    ///
    /// # Examples
    ///
    /// See [`ServiceChange`].
    pub fn public(mut self, public: bool) -> Self {
        self.public = Some(public);
        self
    }

    durations! {
        /// How long the journals of invocations are kept that have ended.
        journal_retention,
        /// How long the outcome of an invocation with an idempotency key is kept.
        idempotency_retention,
        /// How long the outcome and the promises of a workflow are kept.
        workflow_completion_retention,
        /// How long an attempt may be silent before it is asked to suspend.
        inactivity_timeout,
        /// How long it may take to do so.
        abort_timeout,
    }
}

impl AdminClient {
    /// The services that the server knows.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
    /// for service in admin.services().await? {
    ///     println!("{} is at {}", service.name, service.deployment_id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn services(&self) -> Result<Vec<Service>, AdminError> {
        #[derive(Deserialize)]
        struct Services {
            services: Vec<Service>,
        }
        let answer: Services = self.get("/services").await?;
        Ok(answer.services)
    }

    /// One service, by its name.
    ///
    /// # Errors
    ///
    /// When the server knows no such service (status 404).
    ///
    /// # Examples
    ///
    /// See [`Service`].
    pub async fn service(&self, name: &str) -> Result<Service, AdminError> {
        self.get(&format!("/services/{}", encode_segment(name)))
            .await
    }

    /// Changes options of a service, for its invocations from now on.
    ///
    /// # Errors
    ///
    /// When the server knows no such service (status 404).
    ///
    /// # Examples
    ///
    /// See [`ServiceChange`].
    pub async fn change_service(
        &self,
        name: &str,
        change: &ServiceChange,
    ) -> Result<Service, AdminError> {
        let path = format!("/services/{}", encode_segment(name));
        let answer = self.exchange(Method::PATCH, &path, Some(change)).await?;
        answer.decode()
    }
}
