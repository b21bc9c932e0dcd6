//! To come.

use tokio::{net::TcpListener, sync::watch};

use crate::local::handle::Handle;

/// Serves connections until `stop` says so.
pub(crate) async fn serve(listener: TcpListener, handle: Handle, mut stop: watch::Receiver<bool>) {
    let _ = (listener, handle);
    let _ = stop.wait_for(|stop| *stop).await;
}
