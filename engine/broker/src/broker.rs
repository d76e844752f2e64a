//! The listener and the handle to everything a broker is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_router::Router;
use millstream_types::{SubjectError, check_filter};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::client;
use crate::conn::{Close, Conn, Ground, lock};
use crate::handler::{Attached, Handler};
use crate::options::Options;
use crate::publisher::Publisher;
use crate::queue::Pool;
use crate::sender::{Sender, Target};
use crate::stats::{ConnectionInfo, Counters, Stats};

/// Pause after a failed accept, for example when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections have to take their last bytes at shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// Why a broker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error(
        "cannot listen for clients on {listen}: {source}; choose another port with `-p`, or stop what uses it"
    )]
    Bind {
        /// Which address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a handler cannot be attached.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("handler cannot be attached: {0}")]
pub struct AttachError(#[from] SubjectError);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) address: SocketAddr,
    pub(crate) server_id: String,
    pub(crate) router: Arc<Router<Target>>,
    pub(crate) counters: Counters,
    pub(crate) slow_consumers: AtomicU64,
    pub(crate) connections: Mutex<BTreeMap<u64, Arc<Conn>>>,
    interest: watch::Sender<u64>,
    next_cid: AtomicU64,
    total: AtomicU64,
    pub(crate) stop: watch::Sender<bool>,
    /// Until clients are accepted.
    listener: Mutex<Option<TcpListener>>,
    ground: Arc<Ground>,
}

/// A running broker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
}

/// Keeps a handler attached; dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    inner: Arc<Inner>,
    filter: String,
    id: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.inner
            .router
            .remove(self.filter.as_bytes(), None, self.id);
        self.inner.interest_changed();
    }
}

impl Inner {
    pub(crate) fn next_id(&self) -> u64 {
        self.next_cid.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn sender(&self, cid: u64) -> Sender {
        let trace = self.options.trace;
        Sender::new(Arc::clone(&self.router), self.interest.clone(), cid, trace)
    }

    pub(crate) fn interest_changed(&self) {
        self.interest.send_replace(self.router.generation());
    }
}

/// An id as nats-server makes them: 56 letters and digits, beginning with `N`.
fn random_id() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0_u8; 55];
    if let Err(error) = getrandom::fill(&mut bytes) {
        warn!(target: "nats", "no system entropy for the server's id: {error}");
    }
    let letters = bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
    std::iter::once('N').chain(letters).collect()
}

impl Broker {
    /// Binds and accepts.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let broker = Self::bind(options).await?;
        broker.open();
        Ok(broker)
    }

    /// Binds. Clients that connect wait until [`Broker::open`], so that none of them comes before what it came for.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(options: Options) -> Result<Self, StartError> {
        let bind = |source| StartError::Bind {
            listen: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let inner = Arc::new(Inner {
            address,
            server_id: random_id(),
            router: Arc::new(Router::new()),
            counters: Counters::default(),
            slow_consumers: AtomicU64::new(0),
            connections: Mutex::default(),
            interest: watch::Sender::new(0),
            next_cid: AtomicU64::new(1),
            total: AtomicU64::new(0),
            stop: watch::Sender::new(false),
            listener: Mutex::new(Some(listener)),
            ground: Arc::new(Ground {
                pool: Pool::default(),
                runtime: Handle::current(),
                max_pending: options.max_pending,
                write_deadline: options.write_deadline,
            }),
            options,
        });
        Ok(Self { inner })
    }

    /// Accepts clients from now on.
    pub fn open(&self) {
        let mut listener = self
            .inner
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = listener.take() {
            info!(target: "nats", "Listening for client connections on {}", self.inner.address);
            tokio::spawn(accept(Arc::clone(&self.inner), listener));
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.address
    }

    /// Unique per run.
    #[must_use]
    pub fn server_id(&self) -> &str {
        &self.inner.server_id
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Has a handler get all messages of a filter, until the attachment is dropped.
    ///
    /// # Errors
    /// When the filter is none.
    pub fn attach(
        &self,
        filter: &str,
        handler: Arc<dyn Handler>,
    ) -> Result<Attachment, AttachError> {
        check_filter(filter.as_bytes())?;
        let id = self.inner.next_id();
        let target = Target::Handler(Attached { id, handler });
        self.inner
            .router
            .insert(filter.as_bytes(), None, id, target);
        self.inner.interest_changed();
        Ok(Attachment {
            inner: Arc::clone(&self.inner),
            filter: filter.to_owned(),
            id,
        })
    }

    /// A publisher for one task or thread of this process.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.inner), self.inner.next_id())
    }

    /// Whether anybody listens on a literal subject.
    #[must_use]
    pub fn has_interest(&self, subject: &[u8]) -> bool {
        self.inner.router.has_interest(subject)
    }

    /// Changes when somebody starts or stops listening.
    #[must_use]
    pub fn interest_changed(&self) -> watch::Receiver<u64> {
        self.inner.interest.subscribe()
    }

    /// Completes when fewer than `below` bytes wait for each client that listens on `subject`, or it is gone.
    pub async fn wait_drained(&self, subject: &[u8], below: usize) {
        let routes = self.inner.router.lookup(subject).routes;
        let clients = routes
            .plain
            .iter()
            .chain(routes.queues.iter().flat_map(|members| members.iter()));
        for target in clients {
            if let Target::Client(receiver) = target {
                receiver.conn.drained(below).await;
            }
        }
    }

    /// Numbers for monitoring.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let connections = lock(&self.inner.connections);
        let counters = &self.inner.counters;
        let subscriptions = connections
            .values()
            .map(|conn| lock(&conn.subscriptions).len())
            .sum();
        Stats {
            in_msgs: counters.in_msgs.load(Ordering::Relaxed),
            in_bytes: counters.in_bytes.load(Ordering::Relaxed),
            out_msgs: counters.out_msgs.load(Ordering::Relaxed),
            out_bytes: counters.out_bytes.load(Ordering::Relaxed),
            slow_consumers: self.inner.slow_consumers.load(Ordering::Relaxed),
            connections: connections.len(),
            total_connections: self.inner.total.load(Ordering::Relaxed),
            subscriptions,
        }
    }

    /// The clients, in the order they came.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let connections = lock(&self.inner.connections);
        connections.values().map(|conn| conn.info()).collect()
    }

    /// Stops accepting, lets every client take what waits for it, and closes the connections.
    pub async fn shutdown(&self) {
        self.inner.stop.send_replace(true);
        let all: Vec<Arc<Conn>> = {
            let connections = lock(&self.inner.connections);
            connections.values().cloned().collect()
        };
        let drain = async {
            for conn in &all {
                conn.end(Close::Shutdown);
            }
            for conn in &all {
                conn.drained(1).await;
            }
        };
        // Whoever does not take its bytes in time loses them.
        let _late = tokio::time::timeout(DRAIN, drain).await;
    }
}

async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    let mut stop = inner.stop.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => start(&inner, socket, peer),
            Err(error) => {
                error!(target: "nats", "Client accept failed: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(inner: &Arc<Inner>, socket: TcpStream, peer: SocketAddr) {
    if let Err(error) = socket.set_nodelay(true) {
        warn!(target: "nats", "{peer}: no-delay cannot be set: {error}");
    }
    let cid = inner.next_id();
    let socket = Arc::new(socket);
    let conn = Conn::new(cid, peer, Arc::clone(&socket), Arc::clone(&inner.ground));
    inner.total.fetch_add(1, Ordering::Relaxed);
    let over = {
        let mut connections = lock(&inner.connections);
        connections.insert(cid, Arc::clone(&conn));
        connections.len() > inner.options.max_connections
    };
    tokio::spawn(client::serve(Arc::clone(inner), conn, socket, over));
}
