//! TLS: the server's certificate, and what a client says before anything else.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The protocol's name, which clients say that begin with TLS.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those that sign it, in PEM.
    pub cert_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{file}`: {source}; name the files of the certificate in `tls`")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("`{file}` has no {what} in PEM: {source}")]
    Pem {
        /// The file.
        file: PathBuf,
        /// What it should have.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// A certificate and a key cannot be used.
    #[error("the certificate `{file}` cannot be used with its key: {source}")]
    Unusable {
        /// The certificate.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Read {
        file: file.to_owned(),
        source,
    })
}

/// What makes connections secret.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let wrong = |file: &Path, what, source| TlsError::Pem {
        file: file.to_owned(),
        what,
        source,
    };
    let text = read(&tls.cert_file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.and_then(|chain| match chain.is_empty() {
        true => Err(pem::Error::NoItemsFound),
        false => Ok(chain),
    });
    let chain = chain.map_err(|source| wrong(&tls.cert_file, "certificate", source))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key_file)?);
    let key = key.map_err(|source| wrong(&tls.key_file, "private key", source))?;
    let unusable = |source| TlsError::Unusable {
        file: tls.cert_file.clone(),
        source,
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let config = config.with_no_client_auth();
    let mut config = config.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![ALPN.to_owned()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
