//! The HTTP client of a sink: no redirects, no proxies, checked addresses, roots that do not depend on the machine.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::resolver::PublicOnly;

/// Longest wait for a connection, within the whole time limit.
const CONNECT: Duration = Duration::from_secs(5);

/// # Errors
/// A text for people when the client cannot be made; not expected.
pub(crate) fn client(timeout: Duration, allow_private: bool) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls().map_err(|error| error.to_string())?)
        .redirect(Policy::none())
        .no_proxy()
        .timeout(timeout)
        .connect_timeout(CONNECT.min(timeout))
        .user_agent(concat!("millstream/", env!("CARGO_PKG_VERSION")));
    if !allow_private {
        builder = builder.dns_resolver(PublicOnly);
    }
    builder.build().map_err(|error| error.to_string())
}

/// The provider is named here, so that nothing depends on one being installed for the process.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
