//! The benchmark endpoint: serves the services on `127.0.0.1:PORT` (default 9080) with `THREADS`
//! threads (default 1: a single-threaded runtime) until SIGTERM.

use std::{env, net::Ipv4Addr};

use anyhow::Context as _;
use durably::HttpServer;
use durably_benches::services;
use tokio::runtime;

fn main() -> anyhow::Result<()> {
    let port: u16 = number("PORT", 9080)?;
    let mut runtime = match number("THREADS", 1)? {
        1 => runtime::Builder::new_current_thread(),
        threads => {
            let mut runtime = runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads.max(1));
            runtime
        }
    };
    let server = HttpServer::new(services::endpoint()?);
    let serving = server.listen((Ipv4Addr::LOCALHOST, port));
    runtime.enable_all().build()?.block_on(serving)?;
    Ok(())
}

/// The number in a variable.
fn number<T>(variable: &str, default: T) -> anyhow::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    match env::var(variable) {
        Ok(value) => value
            .parse()
            .with_context(|| format!("{variable} is `{value}`")),
        Err(_) => Ok(default),
    }
}
