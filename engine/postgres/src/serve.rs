//! The listener, and what all of its connections share.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_access::Authenticator;
use millstream_sql::query::Tables;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::catalog::Cache;
use crate::connection::serve;
use crate::session::Sessions;
use crate::tls::{Tls, TlsError, acceptor};

/// How to serve.
#[derive(Clone)]
pub struct Options {
    /// Where.
    pub listen: SocketAddr,
    /// The certificate; with one, only connections with TLS are served.
    pub tls: Option<Tls>,
    /// Who is let in.
    pub auth: Authenticator,
    /// What can be asked.
    pub tables: Arc<dyn Tables>,
    /// A turn for each question that runs, shared with the other doors.
    pub turns: Arc<Semaphore>,
    /// Bytes that a question may hold.
    pub memory: usize,
    /// How long a question may take unless its session says otherwise.
    pub time: Duration,
    /// How long it may take at all.
    pub most_time: Duration,
    /// Connections at the same time.
    pub connections: usize,
    /// The server's version.
    pub version: String,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Why it does not serve.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error(
        "cannot listen for PostgreSQL clients on `{listen}`: {source}; choose another address in `postgres`"
    )]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A listener that serves.
#[derive(Debug)]
pub struct Postgres {
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) tls: Option<TlsAcceptor>,
    /// What is known of the tables.
    pub(crate) cache: Arc<Cache>,
    pub(crate) sessions: Arc<Sessions>,
}

impl Postgres {
    /// Binds and serves.
    ///
    /// # Errors
    /// When the address cannot be bound, or the certificate cannot be used.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listen = options.listen;
        let tls = options.tls.as_ref().map(acceptor).transpose()?;
        let bind = |source| StartError::Bind { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, stopped) = watch::channel(false);
        let places = Arc::new(Semaphore::new(options.connections));
        let shared = Arc::new(Shared {
            tls,
            cache: Arc::default(),
            sessions: Arc::default(),
            options,
        });
        tokio::spawn(accept(listener, shared, places, stopped));
        info!(target: "nats", "Listening for PostgreSQL clients on {address}");
        Ok(Self { address, stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting and ends what runs.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
) {
    let mut stop = stopped.clone();
    loop {
        let accepted = tokio::select! {
            // An error means that the sender is gone: time to stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of descriptors, say: others go on.
                warn!(target: "nats", "cannot accept a PostgreSQL client: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        // One more is let in to be told that there are too many.
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let served = serve(socket, Arc::clone(&shared), place.is_none());
        let mut stop = stopped.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                served = served => if let Err(error) = served {
                    debug!(target: "nats", "PostgreSQL client went away: {error}");
                }
            }
        });
    }
}
