//! TLS: what is spoken inside, who is let in, and what becomes of handshakes that are none.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

/// A certificate authority of the test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM and not.
struct Identity {
    chain_pem: String,
    key_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self) -> Identity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            chain_pem: certificate.pem() + &self.0.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(self.0.der().clone()).unwrap();
        store
    }

    /// A client that trusts this authority, offers these protocols and shows this certificate.
    fn client(&self, protocols: &[&str], shows: Option<Identity>) -> TlsConnector {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.store());
        let mut config = match shows {
            None => config.with_no_client_auth(),
            Some(shows) => config
                .with_client_auth_cert(vec![shows.certificate], shows.key)
                .unwrap(),
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        TlsConnector::from(Arc::new(config))
    }
}

impl Identity {
    fn tls(&self) -> TlsConfig {
        TlsConfig::from_pem(&self.chain_pem, &self.key_pem).unwrap()
    }
}

async fn shake(connector: &TlsConnector, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    connector.connect(name, stream).await
}

/// The protocol mode that a client finds, over HTTP/2.
async fn discovered(connector: &TlsConnector, address: SocketAddr) -> io::Result<String> {
    let io = TokioIo::new(shake(connector, address).await?);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let response = client.send_request(discover()).await;
    Ok(protocol_mode(response.map_err(io::Error::other)?).await)
}

#[tokio::test]
async fn the_handshake_chooses_the_protocol_within() {
    let authority = Authority::new();
    let tls = authority.issue().tls();
    let rig = Rig::start(|server| server.tls(tls)).await;

    let client = authority.client(&["h2", "http/1.1"], None);
    let stream = shake(&client, rig.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    // Both directions at once.
    let (sender, body) = fed();
    feed(&sender, journal("\"hi\""));
    let invoke = invoke("/invoke/Echo/echo", body);
    let mut body = requests.send_request(invoke).await.unwrap().into_body();
    let mut bytes = Vec::new();
    while terminator(&bytes) != Some(END) {
        let frame = body.frame().await.unwrap().unwrap();
        bytes.extend_from_slice(&frame.into_data().unwrap());
    }
    drop(sender);
    assert_ends(body).await;

    let client = authority.client(&["http/1.1"], None);
    let stream = shake(&client, rig.address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let io = TokioIo::new(stream);
    let (mut requests, connection) = http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
    tokio::spawn(connection);
    let response = requests.send_request(discover()).await.unwrap();
    assert_eq!(protocol_mode(response).await, "REQUEST_RESPONSE");

    // Who offers none is understood by what he says.
    let client = authority.client(&[], None);
    assert_eq!(
        discovered(&client, rig.address).await.unwrap(),
        "BIDI_STREAM"
    );
    assert!(
        shake(&authority.client(&["h3"], None), rig.address)
            .await
            .is_err()
    );
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_handshake_gets_no_further() {
    let authority = Authority::new();
    let tls = authority.issue().tls();
    let rig = Rig::start(|server| server.tls(tls)).await;
    for nonsense in [
        &b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        // A ClientHello that announces more than there is, and one that is nonsense.
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("HTTP") && answer.len() < 64, "{answer}");
    }
    // Who does not trust the certificate leaves.
    let stranger = Authority::new().client(&["h2"], None);
    assert!(shake(&stranger, rig.address).await.is_err());
    // The next one is served.
    let client = authority.client(&["h2"], None);
    assert_eq!(
        discovered(&client, rig.address).await.unwrap(),
        "BIDI_STREAM"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let authority = Authority::new();
    let tls = authority.issue().tls();
    let timeout = Duration::from_millis(200);
    let rig = Rig::start(|server| {
        server
            .tls(tls)
            .tls_handshake_timeout(timeout)
            .max_connections(3)
    })
    .await;
    let mut stalled = Vec::new();
    for start in [
        &b""[..],
        b"\x16\x03\x01",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        stalled.push(stream);
    }
    // They hold all connections that there may be; once they are given up, others are served. (On a
    // busy machine not each of those is in time itself.)
    let begin = Instant::now();
    let client = authority.client(&["h2"], None);
    let mode = loop {
        match discovered(&client, rig.address).await {
            Ok(mode) => break mode,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(9), "{error}"),
        }
    };
    assert_eq!(mode, "BIDI_STREAM");
    // By default it would be ten seconds.
    assert!(begin.elapsed() < Duration::from_secs(9));
    for mut stream in stalled {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert!(
            tokio::time::timeout(Duration::from_secs(30), end)
                .await
                .is_ok()
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_stalled_handshake_does_not_hold_a_drain_up() {
    let tls = Authority::new().issue().tls();
    let rig = Rig::start(|server| {
        server
            .tls(tls)
            .tls_handshake_timeout(Duration::from_secs(60))
            .drain_deadline(Duration::from_secs(60))
    })
    .await;
    let mut silent = TcpStream::connect(rig.address).await.unwrap();
    silent.write_all(b"\x16\x03\x01").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(rig.stop().await < Duration::from_secs(20));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_its_handshake() {
    let authority = Authority::new();
    let tls = authority.issue().tls();
    let timeout = Duration::from_millis(100);
    let rig = Rig::start(|server| server.tls(tls).header_read_timeout(timeout)).await;
    let client = authority.client(&["h2"], None);
    let mut silent = shake(&client, rig.address).await.unwrap();
    let io = TokioIo::new(shake(&client, rig.address).await.unwrap());
    let (requests, connection) = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io)
        .await
        .unwrap();
    let mut rest = Vec::new();
    let both = async { tokio::join!(silent.read_to_end(&mut rest), connection) };
    let (_, ended) = tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .unwrap();
    // With a goodbye, so that nobody can cut a connection short unseen.
    ended.unwrap();
    drop(requests);
    rig.stop().await;
}

#[tokio::test]
async fn clients_may_have_to_show_a_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(clients.store()), provider.clone());
    let identity = authority.issue();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![identity.certificate], identity.key)
        .unwrap();
    let tls = TlsConfig::from_rustls(config);
    assert!(matches!(tls.reload(), Err(TlsError::NoFiles)));
    let rig = Rig::start(|server| server.tls(tls)).await;
    for (shows, served) in [
        (None, false),
        (Some(Authority::new().issue()), false),
        (Some(authority.issue()), false),
        (Some(clients.issue()), true),
    ] {
        let client = authority.client(&["h2"], shows);
        assert_eq!(discovered(&client, rig.address).await.is_ok(), served);
    }
    rig.stop().await;
}

#[tokio::test]
async fn certificates_are_replaced_while_the_server_runs() {
    let (first, second) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (
        directory.path().join("chain.pem"),
        directory.path().join("key.pem"),
    );
    let write = |identity: &Identity| {
        std::fs::write(&chain, &identity.chain_pem).unwrap();
        std::fs::write(&key, &identity.key_pem).unwrap();
    };
    write(&first.issue());
    let tls = TlsConfig::from_pem_files(&chain, &key).unwrap();
    let kept = tls.clone();
    let rig = Rig::start(|server| server.tls(tls)).await;
    let client = first.client(&["h2"], None);
    let io = TokioIo::new(shake(&client, rig.address).await.unwrap());
    let (mut open, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    open.send_request(discover()).await.unwrap();

    // A key that does not belong to the certificate changes nothing.
    write(&second.issue());
    std::fs::write(&key, first.issue().key_pem).unwrap();
    assert!(matches!(kept.reload(), Err(TlsError::Rustls(_))));
    discovered(&first.client(&["h2"], None), rig.address)
        .await
        .unwrap();

    write(&second.issue());
    kept.reload().unwrap();
    discovered(&second.client(&["h2"], None), rig.address)
        .await
        .unwrap();
    assert!(
        discovered(&first.client(&["h2"], None), rig.address)
            .await
            .is_err()
    );
    let response = open.send_request(discover()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    drop(open);
    rig.stop().await;
}

#[test]
fn what_is_wrong_with_certificates_is_said() {
    let identity = Authority::new().issue();
    let other = Authority::new().issue();
    let error = |chain: &str, key: &str| TlsConfig::from_pem(chain, key).unwrap_err().to_string();
    let Identity {
        chain_pem, key_pem, ..
    } = &identity;
    assert!(error("", key_pem).starts_with("there is no certificate"));
    assert!(error(key_pem, key_pem).starts_with("there is no certificate"));
    assert!(error(chain_pem, "").starts_with("there is no private key"));
    assert!(error(chain_pem, chain_pem).starts_with("there is no private key"));
    assert!(error(&chain_pem[..100], key_pem).contains("the certificates' PEM cannot be read"));
    assert!(error(chain_pem, &key_pem[..60]).contains("the key's PEM cannot be read"));
    assert!(error(chain_pem, &other.key_pem).contains("cannot be used"));
    let error = TlsConfig::from_pem_files("/no/such.pem", "/no/key.pem").unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read /no/such.pem: "),
        "{error}"
    );
}
