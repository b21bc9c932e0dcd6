//! Limits of concurrency by scope and limit key.

use reqwest::Method;
use serde_json::json;

use super::{AdminClient, AdminError};

impl AdminClient {
    /// Lets at most so many invocations run at a time whose scope and limit key match a pattern: `"bank"`, `"*"`,
    /// `"bank/eu"`.
    ///
    /// Scopes are experimental in servers of version 1.7, and must be enabled there.
    ///
    /// # Errors
    ///
    /// When the server refuses, for example because the pattern makes no sense to it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
    /// admin.limit_concurrency("bank", 16).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn limit_concurrency(&self, pattern: &str, most: u32) -> Result<(), AdminError> {
        let rules = json!([{ "pattern": pattern, "limits": { "concurrency": most } }]);
        self.exchange(Method::PUT, "/limits/rules", Some(&rules))
            .await?;
        Ok(())
    }
}
