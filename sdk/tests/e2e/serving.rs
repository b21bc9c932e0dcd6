//! An endpoint that is served by other means than a plain `HttpServer`: within an axum router, over TLS.

use durably::{Endpoint, prelude::*};

use crate::harness::{Result, endpoint, ms};
use crate::suite::{Mode, Suite};

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
}

fn step(what: &str) -> HandlerResult<String> {
    Ok(what.to_owned())
}

fn mounted() -> Endpoint {
    endpoint(|builder| builder.bind(Mounted))
}

const MODES: &[Mode] = &[Mode::Default, Mode::Suspend, Mode::V7, Mode::Http1];

pub(crate) fn cases(suite: &mut Suite) {
    suite.alone("beside_the_routes_of_an_axum_router", MODES, async |mode| {
        let routes = axum::Router::new()
            .route("/own", axum::routing::get(async || "mine"))
            .nest_service("/durable/handlers", mounted());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let server = mode.server().start().await?;
        let uri = format!("http://{address}/durable/handlers");
        let deployment = mode.register(&server, &uri).await?;
        assert_eq!(deployment.services, ["Mounted"]);
        let walked: String = server.ingress().call("Mounted", "walk", "Ada").await?;
        assert_eq!(walked, "Ada went there and back");
        Ok(())
    });

    #[cfg(feature = "tls")]
    suite.alone("over_tls", MODES, over_tls);
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
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
