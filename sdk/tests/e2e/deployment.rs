//! How an endpoint meets the server: path prefixes, manifests with every option, identity.

use std::time::Instant;

use durably::prelude::*;

use crate::harness::{endpoint, ms, serve_in};
use crate::suite::{DEFAULT, SERVER, Suite};

struct Optioned;

/// All options of a workflow.
#[durably::workflow(
    name = "options.Workflow-v1",
    metadata("team" = "payments"),
    inactivity_timeout = "30s",
    abort_timeout = "1m 30s",
    journal_retention = "7d",
    idempotency_retention = "12h",
    lazy_state,
    ingress_private = false,
    retry(
        initial_interval = "100ms",
        max_interval = "10s",
        factor = 2.0,
        max_attempts = 5,
        on_max_attempts = "kill"
    )
)]
impl Optioned {
    /// The whole of it.
    #[handler(name = "start", workflow_retention = "1d", lazy_state = false)]
    async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<String> {
        Ok(format!("{} {}", ctx.service_name(), ctx.handler_name()))
    }

    #[handler(
        metadata("a" = "b"),
        inactivity_timeout = "1s",
        abort_timeout = "2s",
        journal_retention = "3s",
        idempotency_retention = "4s",
        ingress_private,
        retry(max_attempts = 1, on_max_attempts = "pause")
    )]
    async fn status(&self, _ctx: &SharedWorkflowContext, verbose: bool) -> HandlerResult<bool> {
        Ok(verbose)
    }
}

struct Prefixed;

#[durably::service]
impl Prefixed {
    #[handler]
    async fn ping(&self, _ctx: &Context) -> HandlerResult<String> {
        Ok("pong".to_owned())
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "a_manifest_with_every_option_is_taken",
        DEFAULT,
        async |env| {
            let served = env
                .server()
                .serve(endpoint(|builder| builder.bind(Optioned)))
                .await?;
            assert_eq!(served.deployment().services, ["options.Workflow-v1"]);
            let started: String = env
                .ingress()
                .call_object("options.Workflow-v1", "key", "start", &())
                .await?;
            assert_eq!(started, "options.Workflow-v1 start");
            let private = env
                .ingress()
                .call_object::<bool>("options.Workflow-v1", "key", "status", &true)
                .await;
            assert_eq!(private.unwrap_err().status(), Some(400));
            Ok(())
        },
    );

    suite.case(
        "an_endpoint_may_be_anywhere_below_a_path",
        DEFAULT,
        async |env| {
            let served = env
                .server()
                .serve(endpoint(|builder| builder.bind(Prefixed)))
                .await?;
            for prefix in ["/restate", "/a/b/invoke/c", "/discover/"] {
                env.server()
                    .register(&format!("{}{prefix}", served.uri()))
                    .await?;
                let pong: String = env.ingress().call("Prefixed", "ping", &()).await?;
                assert_eq!(pong, "pong", "{prefix}");
            }
            Ok(())
        },
    );

    #[cfg(feature = "identity")]
    suite.alone(
        "only_the_server_with_the_key_is_served",
        SERVER,
        async |mode| {
            use base64::Engine as _;
            use base64::prelude::BASE64_STANDARD;
            use durably::test_server::Ingress;

            // An Ed25519 key as PKCS #8: a fixed header before the 32 bytes.
            let seed = [7; 32];
            let mut der =
                b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
            der.extend(seed);
            let directory = tempfile::tempdir()?;
            let pem = directory.path().join("key.pem");
            let text = BASE64_STANDARD.encode(der);
            std::fs::write(
                &pem,
                format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"),
            )?;
            let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
            let public = format!(
                "publickeyv1_{}",
                bs58::encode(public.as_bytes()).into_string()
            );
            let other = ed25519_dalek::SigningKey::from_bytes(&[8; 32]).verifying_key();
            let other = format!(
                "publickeyv1_{}",
                bs58::encode(other.as_bytes()).into_string()
            );

            let server = mode
                .server()
                .env("RESTATE_REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE", pem)
                .start()
                .await?;
            let services = endpoint(|builder| {
                builder
                    .bind(Prefixed)
                    .bind(crate::calls::Adder)
                    .identity_key(&other)
                    .identity_key(&public)
            });
            let served = serve_in(mode, &server, services).await?;
            let pong: String = server.ingress().call("Prefixed", "ping", &()).await?;
            assert_eq!(pong, "pong");
            server
                .register(&format!("{}/some/prefix", served.uri()))
                .await?;
            let sum: u64 = server
                .ingress()
                .call_object("Adder", "ä key/", "add", &3)
                .await?;
            assert_eq!(sum, 3);
            let rows = server
                .query("SELECT COUNT(1) AS n FROM sys_deployment")
                .await?;
            assert_eq!(rows, [serde_json::json!({ "n": 2 })]);

            // Nobody else is: this asks the endpoint itself, unsigned.
            let stranger = Ingress::new(served.uri())?;
            let error = stranger
                .call::<String>("Prefixed", "ping", &())
                .await
                .unwrap_err();
            assert_eq!(error.status(), Some(401), "{error}");
            Ok(())
        },
    );

    suite.case(
        "a_registration_that_is_refused_ends_at_once",
        DEFAULT,
        async |env| {
            // Whoever cannot be reached is asked for 15 seconds.
            let at_once = |start: Instant| {
                let took = start.elapsed();
                assert!(took < ms(14_000), "{took:?}");
            };
            let start = Instant::now();
            // The ingress is no endpoint.
            let error = env
                .server()
                .register(env.server().ingress_url())
                .await
                .unwrap_err();
            assert!(error.to_string().contains("'400 Bad Request'"), "{error}");
            at_once(start);
            #[cfg(feature = "identity")]
            {
                let start = Instant::now();
                let key = "publickeyv1_w7YHemBctH5Ck2nQRQ47iBBqhNHy4FV7t2Usbye2A6f";
                let services = endpoint(|builder| builder.bind(Prefixed).identity_key(key));
                let error = env
                    .server()
                    .serve(services)
                    .await
                    .err()
                    .ok_or("it was registered")?;
                assert!(error.to_string().contains("'401 Unauthorized'"), "{error}");
                at_once(start);
            }
            Ok(())
        },
    );
}
