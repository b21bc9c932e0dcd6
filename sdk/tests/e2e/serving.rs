//! An endpoint that is served by other means than a plain `HttpServer`: within an axum router, over TLS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::{Router, routing::get};
use durably::test_server::free_port;
use durably::{Endpoint, prelude::*};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::harness::{Result, endpoint, ms};
use crate::suite::{DEFAULT, Mode, Suite};

struct Mounted;

#[durably::service]
impl Mounted {
    /// A step, a nap and a step.
    #[handler]
    async fn walk(&self, ctx: &Context, name: String) -> HandlerResult<String> {
        let there: String = ctx.run("there", async || step("there")).await?;
        ctx.sleep(ms(50)).await?;
        let back: String = ctx.run("back", async || step("back")).await?;
        Ok(format!("{name} went {there} and {back}"))
    }

    /// Naps until it is woken.
    #[handler]
    async fn nap(&self, ctx: &Context) -> HandlerResult<()> {
        NAPS.fetch_add(1, Ordering::SeqCst);
        Ok(ctx.signal::<()>("wake").await?)
    }

    #[handler]
    async fn wake(&self, ctx: &Context, id: String) -> HandlerResult<()> {
        ctx.invocation(&id)?.resolve_signal("wake", &());
        Ok(())
    }
}

/// How many attempts at `nap` there were.
static NAPS: AtomicUsize = AtomicUsize::new(0);

fn step(what: &str) -> HandlerResult<String> {
    Ok(what.to_owned())
}

fn mounted() -> Endpoint {
    endpoint(|builder| builder.bind(Mounted))
}

/// Where the endpoint is mounted.
const PREFIX: &str = "/durable/handlers";

fn router(endpoint: Endpoint) -> Router {
    Router::new()
        .route("/own", get(async || "mine"))
        .nest_service(PREFIX, endpoint)
}

const MODES: &[Mode] = &[Mode::Default, Mode::Suspend, Mode::V7, Mode::Http1];

pub(crate) fn cases(suite: &mut Suite) {
    suite.alone("beside_the_routes_of_an_axum_router", MODES, async |mode| {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(axum::serve(listener, router(mounted())).into_future());

        let server = mode.server().start().await?;
        let uri = format!("http://{address}{PREFIX}");
        let deployment = mode.register(&server, &uri).await?;
        assert_eq!(deployment.services, ["Mounted"]);
        let walked: String = server.ingress().call("Mounted", "walk", "Ada").await?;
        assert_eq!(walked, "Ada went there and back");
        Ok(())
    });

    suite.alone("axum_shuts_down_without_waiting_for_naps", DEFAULT, drains);

    #[cfg(feature = "tls")]
    suite.alone("over_tls", MODES, over_tls);
}

async fn drains(mode: Mode) -> Result {
    // It is bound twice, so it must be a port that no connection takes meanwhile.
    let listener = TcpListener::bind(("127.0.0.1", free_port()?)).await?;
    let address = listener.local_addr()?;
    let endpoint = mounted();
    let routes = router(endpoint.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move {
        drop(stopped.await);
        endpoint.drain();
    });
    let serving = tokio::spawn(serving.into_future());

    let server = mode.server().start().await?;
    server
        .register(&format!("http://{address}{PREFIX}"))
        .await?;
    let ingress = server.ingress();
    let nap = ingress.send("Mounted", "nap", &()).await?;
    while NAPS.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(ms(10)).await;
    }
    drop(stop);
    // The runtime would let the nap lie for a minute.
    tokio::time::timeout(Duration::from_secs(40), serving).await???;

    let listener = TcpListener::bind(address).await?;
    tokio::spawn(axum::serve(listener, router(mounted())).into_future());
    let id = &nap.invocation_id;
    ingress.call::<()>("Mounted", "wake", id).await?;
    ingress.attach::<()>(id).await?;
    assert!(NAPS.load(Ordering::SeqCst) > 1, "the nap did not suspend");
    Ok(())
}

#[cfg(feature = "tls")]
async fn over_tls(mode: Mode) -> Result {
    use durably::{HttpServer, TlsConfig};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(["127.0.0.1".to_owned()])?;
    let certificate = params.signed_by(&key, &authority)?;
    let directory = tempfile::tempdir()?;
    let trusted = directory.path().join("authority.pem");
    std::fs::write(&trusted, authority.pem())?;

    let tls = TlsConfig::from_pem(certificate.pem(), key.serialize_pem())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let handlers = HttpServer::new(mounted()).handle_signals(false).tls(tls);
    tokio::spawn(handlers.serve(listener));

    // The server trusts what the system trusts; this variable says where that is.
    let server = mode.server().env("SSL_CERT_FILE", trusted).start().await?;
    let deployment = mode
        .register(&server, &format!("https://{address}"))
        .await?;
    assert_eq!(deployment.services, ["Mounted"]);
    let walked: String = server.ingress().call("Mounted", "walk", "Ada").await?;
    assert_eq!(walked, "Ada went there and back");
    Ok(())
}
