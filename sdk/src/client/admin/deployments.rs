//! Deployments: what serves handlers, and where.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AdminClient, AdminError, Change, Ensured};
use crate::client::http::encode_segment;

/// A deployment to be registered: the address of an endpoint, as the server reaches it.
///
/// # Examples
///
/// ```no_run
/// use durably::admin::{AdminClient, NewDeployment};
///
/// # async fn example() -> Result<(), durably::admin::AdminError> {
/// let admin = AdminClient::new("http://127.0.0.1:9070");
/// let deployment = NewDeployment::at("http://greeter-v2:9080").metadata("commit", "f400f75");
/// let deployment = admin.register(&deployment).await?;
/// println!("{}", deployment.id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use = "it is registered by `AdminClient::register`"]
pub struct NewDeployment {
    #[serde(flatten)]
    address: Address,
    force: bool,
    breaking: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    use_http_11: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    additional_headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// Where the server finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Address {
    Uri(String),
    Arn(String),
}

impl Address {
    /// Whether the server and the endpoint agree on a version of HTTP by themselves (ALPN).
    fn is_https(&self) -> bool {
        let scheme = match self {
            Self::Uri(uri) => uri.split_once("://").map_or("", |(scheme, _)| scheme),
            Self::Arn(_) => "",
        };
        scheme.eq_ignore_ascii_case("https")
    }
}

impl NewDeployment {
    /// The endpoint at this address.
    ///
    /// # Examples
    ///
    /// See [`NewDeployment`].
    pub fn at(uri: impl Into<String>) -> Self {
        Self::of(Address::Uri(uri.into()))
    }

    /// The endpoint in a function of AWS Lambda: the ARN with a version or an alias.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let arn = "arn:aws:lambda:eu-central-1:123456789012:function:greeter:7";
    /// let deployment = durably::admin::NewDeployment::lambda(arn);
    /// ```
    pub fn lambda(arn: impl Into<String>) -> Self {
        Self::of(Address::Arn(arn.into()))
    }

    fn of(address: Address) -> Self {
        Self {
            address,
            force: false,
            breaking: false,
            use_http_11: false,
            additional_headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
            dry_run: false,
        }
    }

    /// Asks the endpoint again what it serves, even if the address is known.
    ///
    /// The invocations that are in flight there go on with the code that is there now, as they do without this.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let deployment = durably::admin::NewDeployment::at("http://127.0.0.1:9080").force();
    /// ```
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Lets a service change its kind by a registration at another address.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let deployment = durably::admin::NewDeployment::at("http://127.0.0.1:9080").breaking();
    /// ```
    pub fn breaking(mut self) -> Self {
        self.breaking = true;
        self
    }

    /// Has the server speak HTTP/1.1, in request-response mode: for functions behind a gateway.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let deployment = durably::admin::NewDeployment::at("http://gateway/greeter").http1();
    /// ```
    pub fn http1(mut self) -> Self {
        self.use_http_11 = true;
        self
    }

    /// Has the server send this header with each request, for example to authorise itself.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::admin::NewDeployment;
    /// let deployment = NewDeployment::at("http://127.0.0.1:9080").header("x-tenant", "acme");
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into().to_ascii_lowercase();
        self.additional_headers.insert(name, value.into());
        self
    }

    /// Notes something beside the deployment, for people.
    ///
    /// # Examples
    ///
    /// See [`NewDeployment`].
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    fn dry_run(&self) -> Self {
        Self {
            force: true,
            dry_run: true,
            ..self.clone()
        }
    }

    /// Whether the server calls the deployment as this says.
    fn is_called_so(&self, found: &Deployment) -> bool {
        let http1 = found.http_version.as_deref() == Some("HTTP/1.1");
        // Whoever stands before the endpoint may speak nothing else.
        let is_agreed = self.address.is_https() && !self.use_http_11;
        let same = |wanted: &BTreeMap<_, _>, found: &BTreeMap<String, String>| {
            wanted.len() == found.len()
                && wanted.iter().all(|(key, value): (&String, &String)| {
                    found
                        .get(key)
                        .is_some_and(|found| super::is_same(value, found))
                })
        };
        (is_agreed || self.use_http_11 == http1)
            && same(&self.additional_headers, &found.additional_headers)
            && same(&self.metadata, &found.metadata)
    }
}

/// A deployment that the server knows.
///
/// # Examples
///
/// ```no_run
/// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
/// for deployment in admin.deployments().await? {
///     let services: Vec<_> = deployment.services.iter().map(|service| &*service.name).collect();
///     println!("{} at {:?}: {}", deployment.id, deployment.uri, services.join(", "));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// Its address; none for an AWS Lambda function.
    pub uri: Option<String>,
    /// The name of an AWS Lambda function.
    pub arn: Option<String>,
    /// What it serves. A service of the same name may have a later revision at another deployment.
    #[serde(default)]
    pub services: Vec<DeployedService>,
    /// When it was registered, RFC 3339.
    pub created_at: Option<String>,
    /// `HTTP/2.0` or `HTTP/1.1`.
    pub http_version: Option<String>,
    /// The SDK that serves it, such as `durably/0.1.0`.
    pub sdk_version: Option<String>,
    /// The lowest version of the service protocol that it speaks.
    pub min_protocol_version: Option<u32>,
    /// The highest one.
    pub max_protocol_version: Option<u32>,
    /// Headers of each request.
    #[serde(default)]
    pub additional_headers: BTreeMap<String, String>,
    /// Notes of those who registered it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A service at a deployment.
///
/// # Examples
///
/// See [`Deployment`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct DeployedService {
    /// Its name.
    pub name: String,
    /// Which revision of the service this is, from 1.
    pub revision: u32,
}

/// The answer to a registration: its services are compared as they are.
#[derive(Deserialize)]
struct Discovered {
    id: String,
    services: Vec<Value>,
}

impl Discovered {
    /// The services in one order, without what changes by itself.
    fn comparable(mut self) -> Vec<Value> {
        let name = |value: &Value| value.get("name").map(Value::to_string);
        for service in self.services.iter_mut().filter_map(Value::as_object_mut) {
            service.retain(|field, _| !["revision", "info", "deployment_id"].contains(&&**field));
            if let Some(handlers) = service.get_mut("handlers").and_then(Value::as_array_mut) {
                handlers.sort_by_key(name);
            }
        }
        self.services.sort_by_key(name);
        self.services
    }
}

impl AdminClient {
    /// Registers a deployment. Its services' new invocations go there from now on.
    ///
    /// An address that is known already is left as it is, without a look at it, unless the registration is a
    /// [forced](NewDeployment::force) one.
    ///
    /// # Errors
    ///
    /// When the server does not reach the endpoint (code `META0003`), or refuses what that serves.
    ///
    /// # Examples
    ///
    /// See [`NewDeployment`].
    pub async fn register(&self, deployment: &NewDeployment) -> Result<Deployment, AdminError> {
        let (_, discovered) = self.discover(deployment).await?;
        self.deployment(&discovered.id).await
    }

    /// Registers a deployment, unless the server knows it as it is.
    ///
    /// If the address is known, the endpoint is asked again what it serves, and the registration made anew where that
    /// has changed, or how it is to be called. What somebody has changed of a service by hand
    /// ([`change_service`](Self::change_service)) is overwritten then: the code is the truth.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    ///
    /// # Examples
    ///
    /// See the [module](crate::admin).
    pub async fn ensure_deployment(
        &self,
        deployment: &NewDeployment,
    ) -> Result<Ensured<Deployment>, AdminError> {
        let unforced = NewDeployment {
            force: false,
            ..deployment.clone()
        };
        let (created, known) = self.discover(&unforced).await?;
        let id = known.id.clone();
        let found = self.deployment(&id).await?;
        if created {
            return Ok(Ensured::new(Change::Created, found));
        }
        let (_, now) = self.discover(&deployment.dry_run()).await?;
        if deployment.is_called_so(&found) && known.comparable() == now.comparable() {
            return Ok(Ensured::new(Change::Nothing, found));
        }
        self.discover(&deployment.clone().force()).await?;
        let found = self.deployment(&id).await?;
        Ok(Ensured::new(Change::Updated, found))
    }

    /// Whether the deployment is new, and what is there.
    async fn discover(&self, deployment: &NewDeployment) -> Result<(bool, Discovered), AdminError> {
        let answer = self
            .exchange(Method::POST, "/deployments", Some(deployment))
            .await?;
        Ok((answer.status == 201, answer.decode()?))
    }

    /// The deployments that the server knows.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Examples
    ///
    /// See [`Deployment`].
    pub async fn deployments(&self) -> Result<Vec<Deployment>, AdminError> {
        #[derive(Deserialize)]
        struct Deployments {
            deployments: Vec<Deployment>,
        }
        let answer: Deployments = self.get("/deployments").await?;
        Ok(answer.deployments)
    }

    /// One deployment, by its id.
    ///
    /// # Errors
    ///
    /// When the server knows no such deployment (status 404).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
    /// let deployment = admin.deployment("dp_12ikzqcbLDUd5dCC6JRNuVj").await?;
    /// println!("{:?}", deployment.sdk_version);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn deployment(&self, id: &str) -> Result<Deployment, AdminError> {
        self.get(&format!("/deployments/{}", encode_segment(id)))
            .await
    }

    /// Forgets a deployment, by force: the server has no other way yet.
    ///
    /// Invocations that are in flight there cannot go on, and services that are nowhere else are gone. So see before
    /// that nothing is: `SELECT id FROM sys_invocation WHERE pinned_deployment_id = '…' AND status != 'completed'`.
    ///
    /// # Errors
    ///
    /// When the server knows no such deployment (status 404).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
    /// admin.delete_deployment("dp_12ikzqcbLDUd5dCC6JRNuVj").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_deployment(&self, id: &str) -> Result<(), AdminError> {
        let path = format!("/deployments/{}?force=true", encode_segment(id));
        self.exchange(Method::DELETE, &path, None::<&Value>).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_registration_is_what_the_server_takes() {
        let plain = NewDeployment::at("http://a:1");
        let body = json!({"uri": "http://a:1", "force": false, "breaking": false});
        assert_eq!(serde_json::to_value(&plain).unwrap(), body);
        let all = plain
            .force()
            .breaking()
            .http1()
            .header("X-A", "1")
            .metadata("m", "2");
        let body = json!({"uri": "http://a:1", "force": true, "breaking": true, "use_http_11": true,
            "additional_headers": {"x-a": "1"}, "metadata": {"m": "2"}});
        assert_eq!(serde_json::to_value(&all).unwrap(), body);
        let lambda = serde_json::to_value(NewDeployment::lambda("arn:a")).unwrap();
        assert_eq!(
            lambda,
            json!({"arn": "arn:a", "force": false, "breaking": false})
        );
        let dry = serde_json::to_value(NewDeployment::at("http://a:1").dry_run()).unwrap();
        assert_eq!(
            (&dry["dry_run"], &dry["force"]),
            (&json!(true), &json!(true))
        );
    }

    #[test]
    fn over_https_any_version_is_as_wanted_unless_one_is_said() {
        let found = |version: &str| -> Deployment {
            serde_json::from_value(json!({"id": "dp_1", "http_version": version})).unwrap()
        };
        let (one, two) = (found("HTTP/1.1"), found("HTTP/2.0"));
        let secure = NewDeployment::at("https://gateway/greeter");
        assert!(secure.is_called_so(&one) && secure.is_called_so(&two));
        let secure = secure.http1();
        assert!(secure.is_called_so(&one) && !secure.is_called_so(&two));
        let plain = NewDeployment::at("http://gateway/greeter");
        assert!(!plain.is_called_so(&one) && plain.is_called_so(&two));
    }

    #[test]
    fn services_are_compared_without_what_changes_by_itself() {
        let found = |services| {
            let id = String::new();
            Discovered { id, services }.comparable()
        };
        let one = found(vec![
            json!({"name": "B", "revision": 1, "handlers": [{"name": "y"}, {"name": "x"}]}),
            json!({"name": "A", "deployment_id": "dp_1"}),
        ]);
        let other = found(vec![
            json!({"name": "A", "deployment_id": "dp_2"}),
            json!({"name": "B", "revision": 2, "handlers": [{"name": "x"}, {"name": "y"}]}),
        ]);
        assert_eq!(one, other);
        let renamed = vec![
            json!({"name": "A"}),
            json!({"name": "B", "handlers": [{"name": "x"}, {"name": "z"}]}),
        ];
        assert_ne!(found(renamed), other);
    }
}
