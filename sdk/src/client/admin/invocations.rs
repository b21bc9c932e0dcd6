//! Invocations: found in the server's tables, and told to end, wait or go on.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{AdminClient, AdminError, literal};
use crate::client::http::encode_segment;

/// An invocation as the server's table `sys_invocation` shows it.
///
/// # Examples
///
/// See [`AdminClient::invocations`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Invocation {
    /// Its id.
    pub id: String,
    /// `Service/handler`, or `Service/key/handler`.
    pub target: String,
    /// The service's name.
    #[serde(rename = "target_service_name")]
    pub service: String,
    /// The key of an object or workflow.
    #[serde(rename = "target_service_key")]
    pub key: Option<String>,
    /// The handler's name.
    #[serde(rename = "target_handler_name")]
    pub handler: String,
    /// How it stands.
    pub status: InvocationStatus,
    /// `success` or `failure`, if it has ended.
    pub completion_result: Option<String>,
    /// The failure it has ended with.
    pub completion_failure: Option<String>,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
    /// Who made it: `ingress`, `service`, `subscription` …
    pub invoked_by: Option<String>,
    /// The invocation that made it.
    pub invoked_by_id: Option<String>,
    /// The Kafka subscription that made it.
    pub invoked_by_subscription_id: Option<String>,
    /// The deployment where it goes on.
    pub pinned_deployment_id: Option<String>,
    /// The entries of its journal.
    pub journal_size: Option<u32>,
    /// Attempts since it last made progress.
    pub retry_count: Option<u64>,
    /// Why its last attempt has failed.
    pub last_failure: Option<String>,
    /// When the next attempt begins, RFC 3339.
    pub next_retry_at: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: Option<String>,
    /// When it has ended, RFC 3339.
    pub completed_at: Option<String>,
}

/// How an invocation stands.
///
/// # Examples
///
/// ```no_run
/// use durably::admin::InvocationStatus;
///
/// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
/// let invocation = admin.invocation("inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT").await?;
/// if invocation.is_some_and(|found| found.status == InvocationStatus::Paused) {
///     println!("somebody has to look after it");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvocationStatus {
    /// It waits for its turn at its key.
    Pending,
    /// It begins later.
    Scheduled,
    /// It is about to be attempted.
    Ready,
    /// An attempt is at work.
    Running,
    /// It waits for something, without an attempt.
    Suspended,
    /// Its last attempt has failed, and it waits for the next.
    BackingOff,
    /// It waits to be resumed.
    Paused,
    /// It has ended.
    Completed,
    /// What this version of the crate does not know.
    Other(String),
}

impl InvocationStatus {
    const KNOWN: [Self; 8] = [
        Self::Pending,
        Self::Scheduled,
        Self::Ready,
        Self::Running,
        Self::Suspended,
        Self::BackingOff,
        Self::Paused,
        Self::Completed,
    ];

    /// As the server writes it.
    fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::BackingOff => "backing-off",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Other(other) => other,
        }
    }
}

impl fmt::Display for InvocationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for InvocationStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut known = Self::KNOWN.into_iter();
        Ok(known
            .find(|status| status.as_str() == text)
            .unwrap_or(Self::Other(text)))
    }
}

/// Which invocations are looked for: all, until something is said.
///
/// # Examples
///
/// ```no_run
/// use durably::admin::{AdminClient, InvocationFilter, InvocationStatus};
///
/// # async fn example(admin: AdminClient) -> Result<(), durably::admin::AdminError> {
/// let stuck = InvocationFilter::default()
///     .service("Orders")
///     .status(InvocationStatus::Paused)
///     .matching("last_failure LIKE '%timeout%'")
///     .limit(100);
/// for invocation in admin.invocations(&stuck).await? {
///     admin.resume(&invocation.id).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it is used by `AdminClient::invocations`"]
pub struct InvocationFilter {
    conditions: Vec<String>,
    statuses: Vec<InvocationStatus>,
    limit: Option<usize>,
}

impl InvocationFilter {
    fn equal(self, column: &str, value: &str) -> Self {
        self.matching(format!("{column} = {}", literal(value)))
    }

    /// Those of a service.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn service(self, name: &str) -> Self {
        self.equal("target_service_name", name)
    }

    /// Those of a handler of this name.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn handler(self, name: &str) -> Self {
        self.equal("target_handler_name", name)
    }

    /// Those of an object or workflow.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn key(self, key: &str) -> Self {
        self.equal("target_service_key", key)
    }

    /// Those with this idempotency key.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn idempotency_key(self, key: &str) -> Self {
        self.equal("idempotency_key", key)
    }

    /// Those that stand so; of several calls, so or so.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn status(mut self, status: InvocationStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Those for which a condition in SQL holds, over the columns of `sys_invocation`.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn matching(mut self, condition: impl Into<String>) -> Self {
        self.conditions.push(condition.into());
        self
    }

    /// At most so many.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    fn sql(&self) -> String {
        let mut conditions: Vec<_> = self
            .conditions
            .iter()
            .map(|one| format!("({one})"))
            .collect();
        if !self.statuses.is_empty() {
            let statuses: Vec<_> = self
                .statuses
                .iter()
                .map(|one| literal(one.as_str()))
                .collect();
            conditions.push(format!("status IN ({})", statuses.join(", ")));
        }
        let mut sql = "SELECT * FROM sys_invocation".to_owned();
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        sql.push_str(" ORDER BY created_at, id");
        if let Some(limit) = self.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        sql
    }
}

/// The deployment at which an invocation goes on.
///
/// # Examples
///
/// See [`AdminClient::resume_at`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// Where it was.
    #[default]
    Same,
    /// The latest one of its service: with other code.
    Latest,
    /// This one, by its id.
    Deployment(String),
}

impl At {
    fn as_str(&self) -> &str {
        match self {
            Self::Same => "keep",
            Self::Latest => "latest",
            Self::Deployment(id) => id,
        }
    }
}

impl AdminClient {
    /// The invocations that a filter lets through, the oldest first.
    ///
    /// # Errors
    ///
    /// When the server does not answer, or a condition is no SQL.
    ///
    /// # Examples
    ///
    /// See [`InvocationFilter`].
    pub async fn invocations(
        &self,
        filter: &InvocationFilter,
    ) -> Result<Vec<Invocation>, AdminError> {
        self.query(&filter.sql()).await
    }

    /// One invocation, by its id; nothing if the server knows none of that id.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Examples
    ///
    /// See [`InvocationStatus`].
    pub async fn invocation(&self, id: &str) -> Result<Option<Invocation>, AdminError> {
        let filter = InvocationFilter::default().equal("id", id);
        Ok(self.invocations(&filter).await?.pop())
    }

    /// Cancels an invocation, and what it has called: its handler sees a terminal error and may clean up.
    ///
    /// # Errors
    ///
    /// When there is no such invocation (status 404), or it has ended (409).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// admin.cancel(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(&self, id: &str) -> Result<(), AdminError> {
        self.tell(id, "cancel").await
    }

    /// Ends an invocation at once, with what it has called; their handlers learn nothing of it.
    ///
    /// # Errors
    ///
    /// As [`cancel`](Self::cancel).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// admin.kill(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn kill(&self, id: &str) -> Result<(), AdminError> {
        self.tell(id, "kill").await
    }

    /// Pauses an invocation until it is resumed. Its attempt goes on until it would suspend: an executing run comes to
    /// its end.
    ///
    /// # Errors
    ///
    /// As [`cancel`](Self::cancel), and when the invocation is suspended or has not begun.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// admin.pause(id).await?;
    /// admin.resume(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause(&self, id: &str) -> Result<(), AdminError> {
        self.tell(id, "pause").await
    }

    /// Lets a paused invocation go on where it was, or one that waits for its next attempt start it now.
    ///
    /// # Errors
    ///
    /// As [`cancel`](Self::cancel).
    ///
    /// # Examples
    ///
    /// See [`pause`](Self::pause).
    pub async fn resume(&self, id: &str) -> Result<(), AdminError> {
        self.tell(id, "resume").await
    }

    /// The same, at a deployment of your choice: where the code is repaired.
    ///
    /// # Errors
    ///
    /// As [`cancel`](Self::cancel); when there is no such deployment; and while an attempt is at work or nothing of the
    /// invocation is journaled yet (409).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::admin::At;
    ///
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// admin.resume_at(id, &At::Latest).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume_at(&self, id: &str, at: &At) -> Result<(), AdminError> {
        let at = encode_segment(at.as_str());
        self.tell(id, &format!("resume?deployment={at}")).await
    }

    /// Starts an invocation that has ended once more, and gives the id of the new one.
    ///
    /// Of the old journal the entries up to `from` are kept (at least the input, which has the index 0), with the
    /// completions of the commands among them. Workflows cannot be restarted.
    ///
    /// # Errors
    ///
    /// When there is no such invocation (status 404), it has not ended, or its journal is gone.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// let again = admin.restart_as_new(id, 0).await?;
    /// println!("{again} does it all again");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restart_as_new(&self, id: &str, from: u32) -> Result<String, AdminError> {
        #[derive(Deserialize)]
        struct Restarted {
            new_invocation_id: String,
        }
        let path = path(id, &format!("restart-as-new?from={from}"));
        let answer = self.exchange(Method::PATCH, &path, None::<&Value>).await?;
        Ok(answer.decode::<Restarted>()?.new_invocation_id)
    }

    /// Forgets an invocation that has ended: its output, journal, promises and idempotency key.
    ///
    /// # Errors
    ///
    /// When there is no such invocation (status 404), or it has not ended (409).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// admin.purge(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge(&self, id: &str) -> Result<(), AdminError> {
        self.tell(id, "purge").await
    }

    /// Forgets the journal of an invocation that has ended, and keeps its output.
    ///
    /// # Errors
    ///
    /// As [`purge`](Self::purge).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient, id: &str) -> Result<(), durably::admin::AdminError> {
    /// admin.purge_journal(id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge_journal(&self, id: &str) -> Result<(), AdminError> {
        self.tell(id, "purge-journal").await
    }

    async fn tell(&self, id: &str, what: &str) -> Result<(), AdminError> {
        self.exchange(Method::PATCH, &path(id, what), None::<&Value>)
            .await?;
        Ok(())
    }
}

fn path(id: &str, what: &str) -> String {
    format!("/invocations/{}/{what}", encode_segment(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_written_as_sql() {
        let all = InvocationFilter::default();
        assert_eq!(
            all.sql(),
            "SELECT * FROM sys_invocation ORDER BY created_at, id"
        );
        let some = all
            .service("It's")
            .key("k")
            .status(InvocationStatus::Paused)
            .status(InvocationStatus::BackingOff)
            .matching("a = 1 OR b = 2")
            .limit(7);
        assert_eq!(
            some.sql(),
            "SELECT * FROM sys_invocation WHERE (target_service_name = 'It''s') AND (target_service_key = 'k') AND \
             (a = 1 OR b = 2) AND status IN ('paused', 'backing-off') ORDER BY created_at, id LIMIT 7"
        );
    }

    #[test]
    fn statuses_are_read_as_the_server_writes_them() {
        for status in InvocationStatus::KNOWN {
            let text = format!("\"{status}\"");
            assert_eq!(
                serde_json::from_str::<InvocationStatus>(&text).unwrap(),
                status
            );
        }
        let other = serde_json::from_str::<InvocationStatus>("\"dreaming\"").unwrap();
        assert_eq!(other, InvocationStatus::Other("dreaming".to_owned()));
    }
}
