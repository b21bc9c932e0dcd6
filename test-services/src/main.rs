//! The test services: one process that serves fourteen fixed services over HTTP, by which outside
//! tools judge the SDK.
//!
//! In: the variables `PORT` (default 9080), `SERVICES` (names, separated by commas; unset or `*`: all)
//! and `E2E_REQUEST_SIGNING` or `E2E_REQUEST_SIGNING_ENV` (public keys, separated by commas). What each
//! service does is in its own file under `services/`; this file only puts them together.
//!
//! With `LOCAL_PATH`, a folder, the services run on the embedded runtime, with nobody to call them but itself:
//! it takes requests at `INGRESS_PORT` (default 8080) and operators at `ADMIN_PORT` (default 9070), on loopback.
//! `ALWAYS_SUSPEND` lets every wait suspend.

mod services;
#[cfg(test)]
mod tests;

use std::{env, io::IsTerminal, net::Ipv4Addr};

use anyhow::Context as _;
use durably::{Endpoint, HttpServer, local::LocalRuntime};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal())
        .init();

    let mut endpoint = Endpoint::builder();
    let mut wanted = list("SERVICES");
    let all = wanted.is_empty() || wanted == ["*"];
    for service in services::all() {
        let position = wanted.iter().position(|name| name == service.name());
        if let Some(position) = position {
            wanted.swap_remove(position);
        }
        if all || position.is_some() {
            endpoint = endpoint.bind(service);
        }
    }
    if !all && !wanted.is_empty() {
        tracing::warn!(?wanted, "SERVICES names services that are not here");
    }

    let mut keys = list("E2E_REQUEST_SIGNING");
    if keys.is_empty() {
        keys = list("E2E_REQUEST_SIGNING_ENV");
    }
    for key in keys {
        endpoint = endpoint.identity_key(key);
    }

    let endpoint = endpoint.build()?;
    let Some(path) = env::var_os("LOCAL_PATH") else {
        return Ok(HttpServer::new(endpoint).run().await?);
    };
    let mut local = LocalRuntime::builder(endpoint)
        .path(path)
        .ingress((Ipv4Addr::LOCALHOST, port("INGRESS_PORT", 8080)?))
        .admin((Ipv4Addr::LOCALHOST, port("ADMIN_PORT", 9070)?));
    if env::var_os("ALWAYS_SUSPEND").is_some() {
        local = local.always_suspend();
    }
    Ok(local.run().await?)
}

fn port(variable: &str, default: u16) -> anyhow::Result<u16> {
    match env::var(variable) {
        Ok(port) => port.parse().with_context(|| format!("{variable}={port}")),
        Err(_) => Ok(default),
    }
}

/// The items of a variable that are separated by commas; none if it is unset.
fn list(variable: &str) -> Vec<String> {
    let value = env::var(variable).unwrap_or_default();
    let items = value.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}
