//! TLS: certificates in, accepted connections out.
//!
//! This module owns how a [`TlsConfig`] is made and replaced, and the handshake: its deadline, and what
//! is said of one that fails. The rest is rustls's; what is inside is HTTP like anywhere else.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::endpoint::drain::DrainWatch;

/// What connections may speak, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Certificates for an [`HttpServer`](crate::HttpServer), which then speaks HTTPS.
///
/// A clone is cheap and the same certificates: keep one to [`reload`](Self::reload) them while the server
/// runs.
///
/// # Cryptography
///
/// rustls takes its cryptography from a provider: the process's default one if it has
/// installed one (`rustls::crypto::CryptoProvider::install_default`), else *ring*. For AWS-LC, say, add rustls with
/// its feature `aws_lc_rs` to your own dependencies and install that provider before this is made.
///
/// # Examples
///
/// ```no_run
/// use durably::{Endpoint, HttpServer, TlsConfig};
///
/// # async fn example(endpoint: Endpoint) -> Result<(), Box<dyn std::error::Error>> {
/// let tls = TlsConfig::from_pem_files("certificate.pem", "key.pem")?;
/// HttpServer::new(endpoint).tls(tls).listen("0.0.0.0:9443").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    config: Arc<ServerConfig>,
    files: Option<Arc<Files>>,
}

/// Where certificates came from, and where they are.
struct Files {
    certificates: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
}

impl TlsConfig {
    /// Certificates in a PEM file (the server's own first, then those that lead to its root), and the
    /// private key to the first of them in another.
    ///
    /// # Errors
    ///
    /// A file cannot be read or lacks what it should have, or the key does not belong to the
    /// certificate.
    ///
    /// # Examples
    ///
    /// See [`TlsConfig`].
    pub fn from_pem_files(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let (certificates, key) = (certificates.into(), key.into());
        let provider = provider();
        let certified = read(&certificates, &key, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        Ok(Self {
            config: server_config(&provider, Arc::clone(&current) as _)?,
            files: Some(Arc::new(Files {
                certificates,
                key,
                provider,
                current,
            })),
        })
    }

    /// As [`from_pem_files`](Self::from_pem_files), from memory.
    ///
    /// # Errors
    ///
    /// One of the texts lacks what it should have, or the key does not belong to the certificate.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::TlsConfig;
    ///
    /// let error = TlsConfig::from_pem("no certificate", "no key").unwrap_err();
    /// assert_eq!(error.to_string(), "there is no certificate in the certificates' PEM");
    /// ```
    pub fn from_pem(
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let certified = certified(certificates.as_ref(), key.as_ref(), &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        Ok(Self {
            config: server_config(&provider, current)?,
            files: None,
        })
    }

    /// Settings of your own: client certificates, several hosts, other versions.
    ///
    /// If they name no application protocols (ALPN), `h2` and `http/1.1` are added; a Restate server
    /// speaks HTTP/2 only to those who offer `h2`.
    ///
    /// # Examples
    ///
    /// Only clients with a certificate of ours:
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use durably::{TlsConfig, rustls};
    /// use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    /// use rustls::server::WebPkiClientVerifier;
    /// use rustls::{RootCertStore, ServerConfig};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ours = RootCertStore::empty();
    /// ours.add(CertificateDer::from_pem_file("clients.pem")?)?;
    /// let provider = Arc::new(rustls::crypto::ring::default_provider());
    /// let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(ours), provider.clone());
    /// let config = ServerConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_client_cert_verifier(clients.build()?)
    ///     .with_single_cert(
    ///         vec![CertificateDer::from_pem_file("certificate.pem")?],
    ///         PrivateKeyDer::from_pem_file("key.pem")?,
    ///     )?;
    /// let tls = TlsConfig::from_rustls(config);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_rustls(mut config: ServerConfig) -> Self {
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        }
        Self {
            config: Arc::new(config),
            files: None,
        }
    }

    /// Reads the files again; connections from now on get the new certificate. Those that are open stay.
    ///
    /// If that fails, nothing changes.
    ///
    /// # Errors
    ///
    /// As [`from_pem_files`](Self::from_pem_files); and if this was made in another way.
    ///
    /// # Examples
    ///
    /// Once a day, whatever renews them:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use durably::{TlsConfig, TlsError};
    /// # async fn example() -> Result<(), TlsError> {
    /// let tls = TlsConfig::from_pem_files("certificate.pem", "key.pem")?;
    /// let kept = tls.clone();
    /// tokio::spawn(async move {
    ///     loop {
    ///         tokio::time::sleep(Duration::from_secs(86_400)).await;
    ///         if let Err(error) = kept.reload() {
    ///             eprintln!("still serving with the old certificate: {error}");
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = self.files.as_deref().ok_or(TlsError::NoFiles)?;
        let new = Arc::new(read(&files.certificates, &files.key, &files.provider)?);
        let mut current = files
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = new;
        Ok(())
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.as_deref();
        f.debug_struct("TlsConfig")
            .field("certificates", &files.map(|files| &files.certificates))
            .finish_non_exhaustive()
    }
}

/// The certificate that is shown at present, to whomever.
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    let installed = CryptoProvider::get_default().cloned();
    installed.unwrap_or_else(|| Arc::new(ring::default_provider()))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

fn read(
    certificates: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::File {
            path: path.to_owned(),
            source,
        })
    };
    certified(&read(certificates)?, &read(key)?, provider)
}

fn certified(
    certificates: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.map_err(TlsError::Certificates)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = match PrivateKeyDer::from_pem_slice(key) {
        Ok(key) => key,
        Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKey),
        Err(error) => return Err(TlsError::Key(error)),
    };
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// Why certificates cannot be used.
///
/// # Examples
///
/// ```
/// use durably::{TlsConfig, TlsError};
///
/// let error = TlsConfig::from_pem_files("/no/such.pem", "/no/such/key.pem").unwrap_err();
/// assert!(matches!(error, TlsError::File { .. }));
/// assert!(error.to_string().contains("/no/such.pem"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate.
    #[error("there is no certificate in the certificates' PEM")]
    NoCertificate,
    /// There is no private key.
    #[error("there is no private key in the key's PEM")]
    NoKey,
    /// The certificates are not in order.
    #[error("the certificates' PEM cannot be read: {0}")]
    Certificates(pem::Error),
    /// The private key is not in order.
    #[error("the key's PEM cannot be read: {0}")]
    Key(pem::Error),
    /// They cannot be used, or not together.
    #[error("the certificate and its key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// There are no files to be read again.
    #[error("these certificates were not made with `TlsConfig::from_pem_files`: nothing to reload")]
    NoFiles,
}

/// Makes TLS connections of TCP connections.
#[derive(Clone)]
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    timeout: Duration,
}

impl Handshakes {
    pub(super) fn new(tls: &TlsConfig, timeout: Duration) -> Self {
        Self {
            acceptor: TlsAcceptor::from(Arc::clone(&tls.config)),
            timeout,
        }
    }

    /// The connection; none if the peer does not shake hands in time, or the server drains meanwhile:
    /// nothing has been asked on it yet.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        mut drain: DrainWatch,
    ) -> Option<TlsStream<TcpStream>> {
        // Boxed: it is large, and gone when the connection has begun.
        let accept = Box::pin(self.acceptor.accept(stream));
        tokio::select! {
            biased;
            accepted = accept => match accepted {
                Ok(stream) => return Some(stream),
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            },
            () = drain.drained() => {}
            () = tokio::time::sleep(self.timeout) => {
                tracing::debug!(timeout = ?self.timeout, "a TLS handshake took too long");
            }
        }
        None
    }
}
