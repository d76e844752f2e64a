//! How a broker works. Defaults are nats-server's.

use std::net::SocketAddr;
use std::time::Duration;

use millstream_access::Authenticator;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// For people.
    pub server_name: String,
    /// The nats-server version whose behaviour clients may expect.
    pub version: String,
    /// Largest message, headers included.
    pub max_payload: usize,
    /// Longest protocol line.
    pub max_control_line: usize,
    /// Bytes that may wait for one client; beyond it it is a slow consumer.
    pub max_pending: usize,
    /// Most clients.
    pub max_connections: usize,
    /// How often a silent client is asked whether it lives.
    pub ping_interval: Duration,
    /// How many such questions may go unanswered.
    pub ping_max: u32,
    /// How long a client may take nothing while bytes wait for it.
    pub write_deadline: Duration,
    /// How long a client may take to say who it is.
    pub auth_timeout: Duration,
    /// Whether INFO announces JetStream.
    pub jetstream: bool,
    /// Whether every operation is logged.
    pub trace: bool,
    /// Who may connect.
    pub auth: Authenticator,
}

impl Options {
    /// The defaults, listening on `listen`.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            server_name: "millstream".to_owned(),
            version: "2.14.3".to_owned(),
            max_payload: 1024 * 1024,
            max_control_line: 4096,
            max_pending: 64 * 1024 * 1024,
            max_connections: 65_536,
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            write_deadline: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(2),
            jetstream: false,
            trace: false,
            auth: Authenticator::none(),
        }
    }
}
