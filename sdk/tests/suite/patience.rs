//! What tests on a real server wait with: until there is an answer, and never for ever.

use std::time::{Duration, Instant};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            other if start.elapsed() > Duration::from_secs(90) => {
                other?;
                return Err(format!("never came: {what}").into());
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Nothing here takes long, unless it hangs: invocations that fail are tried again for ever.
pub(crate) async fn in_time(test: impl Future<Output = Result>) -> Result {
    tokio::time::timeout(Duration::from_secs(270), test).await?
}
