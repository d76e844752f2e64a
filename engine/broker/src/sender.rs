//! From one publisher to all receivers. Each connection and each in-process publisher has its own, so nothing here is
//! shared but the receivers' buffers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_router::{RouteCache, Router};

use crate::conn::{Conn, Receiver};
use crate::handler::{Attached, Collector, Origin, Published};

/// Who can be routed to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Client(Receiver),
    Handler(Attached),
}

/// What became of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) receivers: u32,
    pub(crate) pending: usize,
}

struct Kept {
    collector: Box<dyn Collector>,
    touched: bool,
}

/// A publisher's memory: routes, collectors, and whom it must flush.
pub(crate) struct Sender {
    router: Arc<Router<Target>>,
    pub(crate) origin: Arc<Origin>,
    cache: RouteCache<Target>,
    collectors: HashMap<u64, Kept, foldhash::fast::RandomState>,
    touched_collectors: Vec<u64>,
    touched: Vec<Arc<Conn>>,
    random: u64,
    /// Messages and bytes sent to clients since they were last counted.
    pub(crate) out_msgs: u64,
    pub(crate) out_bytes: u64,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Sender {
    pub(crate) fn new(router: Arc<Router<Target>>, cid: u64) -> Self {
        Self {
            router,
            origin: Arc::new(Origin::new(cid)),
            cache: RouteCache::default(),
            collectors: HashMap::default(),
            touched_collectors: Vec::new(),
            touched: Vec::new(),
            random: cid.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            out_msgs: 0,
            out_bytes: 0,
        }
    }

    /// Sends to everybody who listens on `route`; they see `message.subject`. `skip` is a connection that gets nothing.
    pub(crate) fn send(&mut self, route: &[u8], message: &Published<'_>, skip: Option<u64>) -> Delivered {
        let routes = self.cache.get(&self.router, route);
        let mut delivered = Delivered::default();
        for target in &routes.plain {
            self.one(target, message, skip, &mut delivered);
        }
        for members in &routes.queues {
            let start = self.next_random(members.len());
            // The first member that can take it, from a random one on.
            for step in 0..members.len() {
                let target = &members[(start + step) % members.len()];
                if self.one(target, message, skip, &mut delivered) {
                    break;
                }
            }
        }
        delivered
    }

    fn one(
        &mut self,
        target: &Target,
        message: &Published<'_>,
        skip: Option<u64>,
        delivered: &mut Delivered,
    ) -> bool {
        match target {
            Target::Handler(attached) => {
                self.collect(attached, message);
                delivered.receivers += 1;
                true
            }
            Target::Client(receiver) => {
                if skip == Some(receiver.conn.cid) || !self.to_client(receiver, message) {
                    return false;
                }
                delivered.receivers += 1;
                delivered.pending = delivered.pending.max(receiver.conn.pending());
                true
            }
        }
    }

    fn to_client(&mut self, receiver: &Receiver, message: &Published<'_>) -> bool {
        let Receiver { conn, subscription } = receiver;
        let count = subscription.delivered.fetch_add(1, Ordering::AcqRel) + 1;
        let max = subscription.max.load(Ordering::Acquire);
        if max > 0 && count >= max {
            self.router.remove(&subscription.filter, subscription.queue.as_deref(), subscription.id);
            if let Ok(mut subscriptions) = conn.subscriptions.lock() {
                subscriptions.remove(&subscription.sid);
            }
            if count > max {
                return false;
            }
        }
        let Published { subject, reply, headers, payload } = *message;
        match conn.append_message(subject, &subscription.sid, reply, headers, payload) {
            None => false,
            Some(must_flush) => {
                if must_flush {
                    self.touched.push(Arc::clone(conn));
                }
                let bytes = (headers.len() + payload.len()) as u64;
                conn.counters.out_msgs.fetch_add(1, Ordering::Relaxed);
                conn.counters.out_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.out_msgs += 1;
                self.out_bytes += bytes;
                true
            }
        }
    }

    fn collect(&mut self, attached: &Attached, message: &Published<'_>) {
        let origin = &self.origin;
        let kept = self.collectors.entry(attached.id).or_insert_with(|| Kept {
            collector: attached.handler.collector(origin),
            touched: false,
        });
        if !kept.touched {
            kept.touched = true;
            self.touched_collectors.push(attached.id);
        }
        kept.collector.push(message);
    }

    fn next_random(&mut self, below: usize) -> usize {
        // xorshift64: fair enough to share work, and costs nothing.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 1).unwrap_or(0) % below.max(1)
    }

    /// Ends a batch: handlers get what was gathered, sockets get what was appended.
    pub(crate) fn flush(&mut self) {
        for id in self.touched_collectors.drain(..) {
            if let Some(kept) = self.collectors.get_mut(&id) {
                kept.touched = false;
                kept.collector.flush();
            }
        }
        for conn in self.touched.drain(..) {
            conn.flush();
        }
        // Handlers come and go with streams; what is gone is not kept for ever.
        if self.collectors.len() > 1024 {
            self.collectors.clear();
        }
    }
}
