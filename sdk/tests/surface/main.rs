//! probe
#![allow(clippy::unwrap_used, reason = "a test")]
mod services;
#[tokio::main]
async fn main() {
    use durably::test_server::RestateServer;
    let mut b = RestateServer::builder().env("RESTATE_WORKER__CLEANUP_INTERVAL", "1s");
    if std::env::args().any(|a| a == "scopes") {
        b = b.scopes();
    }
    let server = b.start().await.unwrap();
    let _served = server.serve(services::services()).await.unwrap();
    println!("{} {}", server.ingress_url(), server.admin_url());
    use std::io::Read;
    tokio::task::spawn_blocking(|| {
        let mut s = String::new();
        std::io::stdin().read_to_string(&mut s).unwrap();
    })
    .await
    .unwrap();
    let _ = services::noted;
}
