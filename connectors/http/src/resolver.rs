//! Name resolution that gives only addresses a sink may reach. The client connects to what was checked here and to nothing
//! else, so a name that changes between check and use gains nothing.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use crate::is_public;

/// A destination that must not be reached.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{host}` is a private or local address: set `allow_private: true` if the sink may reach it"
)]
pub(crate) struct PrivateAddress {
    pub(crate) host: String,
}

impl PrivateAddress {
    /// Finds it among the causes of a client's error.
    pub(crate) fn among<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// Resolves with the system and drops what is not public; an error when nothing is left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = found
                .iter()
                .copied()
                .filter(|address| is_public(address.ip()))
                .collect();
            if public.is_empty() && !found.is_empty() {
                return Err(PrivateAddress { host }.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Checks a host that is an address itself, which the client does not resolve.
pub(crate) fn check_literal(host: &str) -> Result<(), PrivateAddress> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse() {
        Ok(address) if !is_public(address) => Err(PrivateAddress {
            host: host.to_owned(),
        }),
        _ => Ok(()),
    }
}
