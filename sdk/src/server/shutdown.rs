//! What makes a server stop: signals, and a future of the user's.

use std::future::Future;
use std::pin::Pin;

/// What may make the server stop.
pub(super) struct Triggers {
    pub(super) signals: bool,
    pub(super) shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Triggers {
    /// Ends when the server shall drain.
    pub(super) async fn first(&mut self) {
        let shutdown = async {
            match self.shutdown.as_mut() {
                Some(shutdown) => shutdown.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = signal(self.signals) => {}
        }
    }

    /// Ends when somebody has lost patience with a server that drains.
    pub(super) async fn second(&mut self) {
        signal(self.signals).await;
    }
}

/// Ends at the next SIGTERM or ctrl-c.
#[cfg(feature = "local")]
pub(crate) async fn signalled() {
    signal(true).await;
}

/// Ends at the next SIGTERM or ctrl-c; never if signals are not handled or cannot be.
async fn signal(handle: bool) {
    if handle {
        match next_signal().await {
            Ok(name) => return tracing::info!(signal = name, "received a signal"),
            Err(error) => tracing::warn!(%error, "cannot listen for signals"),
        }
    }
    std::future::pending().await
}

#[cfg(unix)]
async fn next_signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

#[cfg(not(unix))]
async fn next_signal() -> std::io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "ctrl-c")
}
