//! One client's reader: reads what there is, takes every whole operation of it in place, then ends the batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream_access::{Credentials, Decision};
use millstream_types::{Timestamp, check_filter, check_subject};
use millstream_wire::{ClientOp, ConnectOptions, Limits, Parser, ServerInfo, put_error, put_info};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{debug, error, trace, warn};

use crate::broker::Inner;
use crate::conn::{Close, Conn, Receiver, Subscription};
use crate::handler::Published;
use crate::sender::{Sender, Target};

const MIN_BUFFER: usize = 4 * 1024;
const MAX_BUFFER: usize = 256 * 1024;
/// INFO, PING and their like go out behind these status bytes when nobody listens (ADR-4).
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503\r\n\r\n";

struct Client {
    inner: Arc<Inner>,
    conn: Arc<Conn>,
    sender: Sender,
    verbose: bool,
    pedantic: bool,
    no_responders: bool,
    authorized: bool,
    pings_out: u32,
    ping_sent: Option<Instant>,
    in_msgs: u64,
    in_bytes: u64,
}

/// Serves a client until it goes.
pub(crate) async fn serve(inner: Arc<Inner>, conn: Arc<Conn>, over: bool) {
    let sender = Sender::new(Arc::clone(&inner.router), conn.cid);
    let mut client = Client {
        verbose: true,
        pedantic: false,
        no_responders: false,
        authorized: !inner.options.auth.required(),
        pings_out: 0,
        ping_sent: None,
        in_msgs: 0,
        in_bytes: 0,
        inner,
        conn,
        sender,
    };
    debug!(target: "nats", "{} - cid:{} - Client connection created", client.conn.peer, client.conn.cid);
    client.greet();
    if over {
        client.conn.end(Close::Error("maximum connections exceeded"));
    }
    client.read().await;
    client.leave();
}

impl Client {
    fn greet(&self) {
        let options = &self.inner.options;
        let info = ServerInfo {
            server_id: self.inner.server_id.clone(),
            server_name: options.server_name.clone(),
            version: options.version.clone(),
            go: "rust".to_owned(),
            host: self.inner.address.ip().to_string(),
            port: self.inner.address.port(),
            headers: true,
            max_payload: options.max_payload,
            proto: 1,
            client_id: self.conn.cid,
            auth_required: options.auth.required(),
            jetstream: options.jetstream,
            client_ip: self.conn.peer.ip().to_string(),
            api_lvl: 4,
        };
        self.conn.say(|out| put_info(out, &info));
    }

    async fn read(&mut self) {
        let options = &self.inner.options;
        let limits = Limits { max_control_line: options.max_control_line, max_payload: options.max_payload };
        let mut parser = Parser::new(limits);
        let mut buffer = Buffer::default();
        let mut ping = ticker(options.ping_interval);
        let auth = tokio::time::sleep(options.auth_timeout);
        tokio::pin!(auth);
        let mut stop = self.inner.stop.subscribe();
        let conn = Arc::clone(&self.conn);
        loop {
            tokio::select! {
                biased;
                () = conn.closing.notified() => return,
                _ = stop.wait_for(|stop| *stop) => {
                    conn.end(Close::Error("Server Shutdown"));
                    return;
                }
                () = &mut auth, if !self.authorized => {
                    conn.end(Close::Error("Authentication Timeout"));
                    return;
                }
                _ = ping.tick() => {
                    if !self.ping() {
                        return;
                    }
                    continue;
                }
                ready = conn.socket.readable() => {
                    if ready.is_err() {
                        return;
                    }
                }
            }
            if !self.take(&mut parser, &mut buffer) {
                return;
            }
            self.sender.origin.ready().await;
        }
    }

    /// Reads once and handles what is whole; `false` ends the connection.
    fn take(&mut self, parser: &mut Parser, buffer: &mut Buffer) -> bool {
        match self.conn.socket.try_read(buffer.space(parser.needed())) {
            Ok(0) => return false,
            Ok(count) => buffer.filled(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
        self.pings_out = 0;
        let mut go_on = true;
        while go_on {
            match parser.next(buffer.bytes()) {
                Ok(None) => break,
                Ok(Some((op, used))) => {
                    go_on = self.handle(&op);
                    buffer.consume(used);
                }
                Err(breach) => {
                    let text = breach.text();
                    error!(target: "nats", "{} - cid:{} - {text}", self.conn.peer, self.conn.cid);
                    self.conn.end(Close::Error(text));
                    go_on = false;
                }
            }
        }
        self.end_batch();
        go_on && self.conn.close_reason().is_none()
    }

    fn end_batch(&mut self) {
        self.sender.flush();
        self.conn.last_activity.store(Timestamp::now().0, Ordering::Relaxed);
        for (total, own, count) in [
            (&self.inner.counters.in_msgs, &self.conn.counters.in_msgs, &mut self.in_msgs),
            (&self.inner.counters.in_bytes, &self.conn.counters.in_bytes, &mut self.in_bytes),
        ] {
            total.fetch_add(*count, Ordering::Relaxed);
            own.fetch_add(*count, Ordering::Relaxed);
            *count = 0;
        }
        let counters = &self.inner.counters;
        counters.out_msgs.fetch_add(std::mem::take(&mut self.sender.out_msgs), Ordering::Relaxed);
        counters.out_bytes.fetch_add(std::mem::take(&mut self.sender.out_bytes), Ordering::Relaxed);
    }

    fn handle(&mut self, op: &ClientOp<'_>) -> bool {
        if self.inner.options.trace {
            trace!(target: "nats", "{} - cid:{} - <<- {op:?}", self.conn.peer, self.conn.cid);
        }
        if !self.authorized && !matches!(op, ClientOp::Connect(_) | ClientOp::Ignored) {
            return self.violate();
        }
        match *op {
            ClientOp::Publish { subject, reply, headers, payload } => {
                self.publish(&Published { subject, reply, headers, payload })
            }
            ClientOp::Subscribe { subject, queue, sid } => self.subscribe(subject, queue, sid),
            ClientOp::Unsubscribe { sid, max } => self.unsubscribe(sid, max),
            ClientOp::Ping => {
                self.conn.say(|out| out.extend_from_slice(b"PONG\r\n"));
                true
            }
            ClientOp::Pong => {
                if let Some(sent) = self.ping_sent.take() {
                    let rtt = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    self.conn.rtt_nanos.store(rtt, Ordering::Relaxed);
                }
                true
            }
            ClientOp::Connect(json) => self.connect(json),
            ClientOp::Ignored => true,
        }
    }

    fn ok(&self) -> bool {
        if self.verbose {
            self.conn.say(|out| out.extend_from_slice(b"+OK\r\n"));
        }
        true
    }

    fn violate(&self) -> bool {
        warn!(target: "nats", "{} - cid:{} - authentication error", self.conn.peer, self.conn.cid);
        self.conn.end(Close::Error("Authorization Violation"));
        false
    }

    fn connect(&mut self, json: &[u8]) -> bool {
        let Ok(options) = serde_json::from_slice::<ConnectOptions>(json) else {
            self.conn.end(Close::Error("Invalid Client Protocol"));
            return false;
        };
        let credentials = Credentials {
            user: options.user.as_deref(),
            pass: options.pass.as_deref(),
            token: options.auth_token.as_deref(),
        };
        let user = match self.inner.options.auth.check(&credentials) {
            Decision::Deny => return self.violate(),
            Decision::Allow { user } => user,
        };
        self.authorized = true;
        self.verbose = options.verbose;
        self.pedantic = options.pedantic;
        self.no_responders = options.no_responders && options.headers;
        self.conn.echo.store(options.echo, Ordering::Relaxed);
        // The secrets are not kept.
        let options = ConnectOptions { user: None, pass: None, auth_token: None, ..options };
        if let Ok(mut known) = self.conn.options.lock() {
            *known = (options, user);
        }
        self.ok()
    }

    fn publish(&mut self, message: &Published<'_>) -> bool {
        self.in_msgs += 1;
        self.in_bytes += (message.headers.len() + message.payload.len()) as u64;
        if self.pedantic && check_subject(message.subject).is_err() {
            self.conn.say(|out| put_error(out, "Invalid Publish Subject"));
        }
        let skip = (!self.conn.echo.load(Ordering::Relaxed)).then_some(self.conn.cid);
        let delivered = self.sender.send(message.subject, message, skip);
        if delivered.receivers == 0
            && self.no_responders
            && let Some(reply) = message.reply
        {
            let nobody = Published { subject: reply, reply: None, headers: NO_RESPONDERS, payload: &[] };
            self.sender.send(reply, &nobody, None);
        }
        self.ok()
    }

    fn subscribe(&mut self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> bool {
        if check_filter(subject).is_err() || queue.is_some_and(|queue| check_filter(queue).is_err()) {
            self.conn.say(|out| put_error(out, "Invalid Subject"));
            return true;
        }
        let subscription = Arc::new(Subscription {
            id: self.inner.next_id(),
            sid: sid.into(),
            filter: subject.into(),
            queue: queue.map(Into::into),
            max: 0.into(),
            delivered: 0.into(),
        });
        let known = self.conn.subscriptions.lock().map(|mut subscriptions| {
            if subscriptions.contains_key(sid) {
                return true;
            }
            subscriptions.insert(sid.into(), Arc::clone(&subscription));
            false
        });
        // The same number twice is the same subscription, as in nats-server.
        if !known.unwrap_or(true) {
            let id = subscription.id;
            let receiver = Receiver { conn: Arc::clone(&self.conn), subscription };
            self.inner.router.insert(subject, queue, id, Target::Client(receiver));
            self.inner.interest_changed();
        }
        self.ok()
    }

    fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>) -> bool {
        let found = self.conn.subscriptions.lock().ok().and_then(|mut subscriptions| match max {
            Some(max) => {
                let subscription = subscriptions.get(sid)?;
                subscription.max.store(max, Ordering::Release);
                if subscription.delivered.load(Ordering::Acquire) < max {
                    return None;
                }
                subscriptions.remove(sid)
            }
            None => subscriptions.remove(sid),
        });
        if let Some(subscription) = found {
            self.remove(&subscription);
            self.inner.interest_changed();
        }
        self.ok()
    }

    fn remove(&self, subscription: &Subscription) {
        let Subscription { filter, queue, id, .. } = subscription;
        self.inner.router.remove(filter, queue.as_deref(), *id);
    }

    /// Asks whether the client lives; `false` when it was asked too often.
    fn ping(&mut self) -> bool {
        if self.pings_out >= self.inner.options.ping_max {
            debug!(target: "nats", "{} - cid:{} - Stale Client Connection - Closing", self.conn.peer, self.conn.cid);
            self.conn.end(Close::Error("Stale Connection"));
            return false;
        }
        self.pings_out += 1;
        self.ping_sent = Some(Instant::now());
        self.conn.say(|out| out.extend_from_slice(b"PING\r\n"));
        true
    }

    /// Forgets the client.
    fn leave(&mut self) {
        self.end_batch();
        let subscriptions = self.conn.subscriptions.lock().map(|mut all| std::mem::take(&mut *all));
        for subscription in subscriptions.unwrap_or_default().values() {
            self.remove(subscription);
        }
        self.inner.interest_changed();
        if let Ok(mut connections) = self.inner.connections.lock() {
            connections.remove(&self.conn.cid);
        }
        let (peer, cid) = (self.conn.peer, self.conn.cid);
        match self.conn.close_reason() {
            Some(why @ (Close::SlowPending | Close::SlowDeadline)) => {
                self.inner.slow_consumers.fetch_add(1, Ordering::Relaxed);
                let what = if why == Close::SlowPending {
                    format!("MaxPending of {} Exceeded", self.inner.options.max_pending)
                } else {
                    format!("WriteDeadline of {:?} exceeded", self.inner.options.write_deadline)
                };
                warn!(target: "nats", "{peer} - cid:{cid} - Slow Consumer Detected: {what}");
            }
            Some(Close::Error(text)) if !text.is_empty() => {
                debug!(target: "nats", "{peer} - cid:{cid} - Client connection closed: {text}");
            }
            _ => debug!(target: "nats", "{peer} - cid:{cid} - Client connection closed: Client Closed"),
        }
        // Ends the writer too, and with it the socket.
        self.conn.end(Close::Error(""));
        self.conn.wake.notify_one();
    }
}

fn ticker(every: Duration) -> Interval {
    let mut ticker = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// What was read and not handled yet. Grows while reads fill it, shrinks when they leave it mostly empty.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    small_reads: u8,
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Room to read into; `needed` is what the operation that begins the buffer is known to need in all.
    fn space(&mut self, needed: usize) -> &mut [u8] {
        let held = self.end - self.start;
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
        let full = held == self.bytes.len();
        let want = needed.max(if full { (self.bytes.len() * 2).min(MAX_BUFFER.max(held + MIN_BUFFER)) } else { 0 });
        if self.bytes.len() < want.max(MIN_BUFFER) {
            self.bytes.resize(want.max(MIN_BUFFER), 0);
        }
        &mut self.bytes[self.end..]
    }

    fn filled(&mut self, count: usize) {
        let room = self.bytes.len() - self.end;
        self.end += count;
        if count == room && self.bytes.len() < MAX_BUFFER {
            let larger = (self.bytes.len() * 2).min(MAX_BUFFER);
            self.bytes.resize(larger, 0);
            self.small_reads = 0;
        } else if self.bytes.len() > MIN_BUFFER && self.end < self.bytes.len() / 8 {
            self.small_reads += 1;
            if self.small_reads >= 16 {
                self.bytes.truncate((self.bytes.len() / 2).max(MIN_BUFFER).max(self.end));
                self.bytes.shrink_to_fit();
                self.small_reads = 0;
            }
        } else {
            self.small_reads = 0;
        }
    }
}
