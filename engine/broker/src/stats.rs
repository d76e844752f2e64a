//! Numbers for monitoring.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_types::Timestamp;

/// Counters that are added to once per read batch.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) in_msgs: AtomicU64,
    pub(crate) in_bytes: AtomicU64,
    pub(crate) out_msgs: AtomicU64,
    pub(crate) out_bytes: AtomicU64,
}

impl Counters {
    /// Adds messages and bytes that went to clients.
    pub(crate) fn sent(&self, (msgs, bytes): (u64, u64)) {
        self.out_msgs.fetch_add(msgs, Ordering::Relaxed);
        self.out_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The broker in numbers, since its start.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Messages from clients.
    pub in_msgs: u64,
    /// Their bytes, headers and payloads.
    pub in_bytes: u64,
    /// Messages to clients.
    pub out_msgs: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Clients cut off because they read too slowly.
    pub slow_consumers: u64,
    /// Clients connected now.
    pub connections: usize,
    /// Clients that ever connected.
    pub total_connections: u64,
    /// Subscriptions now.
    pub subscriptions: usize,
}

/// A subscription of a client.
#[derive(Clone, Debug)]
pub struct SubscriptionInfo {
    /// Its filter.
    pub subject: String,
    /// Its group.
    pub queue: Option<String>,
    /// The client's number for it.
    pub sid: String,
    /// Messages sent for it.
    pub msgs: u64,
}

/// A client in numbers.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The connection's number.
    pub cid: u64,
    /// From where.
    pub peer: SocketAddr,
    /// Since when.
    pub start: Timestamp,
    /// When it last sent something.
    pub last_activity: Timestamp,
    /// How long its last PONG took.
    pub rtt: Duration,
    /// Bytes that wait for it.
    pub pending_bytes: usize,
    /// Messages from it.
    pub in_msgs: u64,
    /// Messages to it.
    pub out_msgs: u64,
    /// Bytes from it.
    pub in_bytes: u64,
    /// Bytes to it.
    pub out_bytes: u64,
    /// What it listens to.
    pub subscriptions: Vec<SubscriptionInfo>,
    /// Its name.
    pub name: String,
    /// Its library's language.
    pub lang: String,
    /// Its library's version.
    pub version: String,
    /// As whom it is connected.
    pub user: Option<String>,
}
