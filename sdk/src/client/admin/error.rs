//! What goes wrong between a program and the admin API.

use crate::error::BoxError;

/// Why the admin API did not do what it was asked.
///
/// # Examples
///
/// ```no_run
/// use durably::admin::{AdminClient, AdminError};
/// use serde_json::Value;
///
/// # async fn example() {
/// let admin = AdminClient::new("http://127.0.0.1:9070");
/// match admin.query::<Value>("SELECT * FROM sys_nothing").await {
///     Err(AdminError::Refused { status, message, .. }) => println!("{status}: {message}"),
///     Err(error) => println!("is there a server? {error}"),
///     Ok(rows) => println!("{} rows", rows.len()),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The request cannot be sent, now or later: the address is none of a web server, begins with `https` while
    /// there is no TLS, or what is to be sent makes no sense.
    #[error("{request} cannot be sent: {source}")]
    Invalid {
        /// The request's method and address.
        request: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// There is no answer: nobody listens there, the connection broke, or it took too long.
    ///
    /// What was asked for may have been done all the same, unless nobody listens.
    #[error("{request} got no answer: {source}")]
    Transport {
        /// The request's method and address.
        request: String,
        /// Why there is no answer.
        source: BoxError,
    },
    /// The server answered that it will not do this.
    #[error(
        "{request} was refused with status {status}: {}{message}",
        code.as_deref().map(|code| format!("[{code}] ")).unwrap_or_default()
    )]
    Refused {
        /// The request's method and address.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The server's own code, such as `META0003`, if it gave one.
        code: Option<String>,
        /// The server's explanation.
        message: String,
    },
    /// The answer is not what this client understands.
    #[error("the answer to {request} cannot be decoded: {source}")]
    Undecodable {
        /// The request's method and address.
        request: String,
        /// What is wrong with it.
        source: BoxError,
    },
}

impl AdminError {
    /// The HTTP status of a refusal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) {
    /// if let Err(error) = admin.query::<serde_json::Value>("SELECT").await {
    ///     println!("refused with {:?}", error.status());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Invalid { .. } | Self::Transport { .. } | Self::Undecodable { .. } => None,
        }
    }
}
