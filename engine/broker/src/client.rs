//! One client's reader: reads what there is, takes every whole operation of it in place, then ends the batch.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use millstream_access::{Credentials, Decision};
use millstream_types::{Timestamp, check_filter, check_subject};
use millstream_wire::{
    ClientOp, ConnectOptions, Limits, OK, PING, PONG, Parser, ServerInfo, put_error, put_info,
};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tracing::{debug, error, trace, warn};

use crate::broker::Inner;
use crate::buffer::Buffer;
use crate::conn::{Close, Conn, Receiver, Subscription, lock};
use crate::handler::Published;
use crate::pace::{SLOWED, linger, stall, ticker};
use crate::read::read;
use crate::sender::{Sender, Target};
use crate::trace::describe;

/// Reads after which other tasks of this thread get their turn.
const READS: u32 = 8;
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

/// Serves a client until it goes. `over`: there are too many already.
pub(crate) async fn serve(inner: Arc<Inner>, conn: Arc<Conn>, socket: Arc<TcpStream>, over: bool) {
    let sender = inner.sender(conn.cid);
    let mut client = Client {
        // What nats-server assumes until CONNECT says otherwise.
        verbose: true,
        pedantic: true,
        no_responders: false,
        authorized: !inner.options.auth.required(),
        pings_out: 0,
        ping_sent: None,
        in_msgs: 0,
        in_bytes: 0,
        inner,
        conn: Arc::clone(&conn),
        sender,
    };
    debug!(target: "nats", "{} - cid:{} - Client connection created", conn.peer, conn.cid);
    client.greet();
    if over {
        error!(target: "nats", "{} - cid:{} - maximum connections exceeded", conn.peer, conn.cid);
        conn.end(Close::Error("maximum connections exceeded"));
    }
    client.read(&socket).await;
    drop(client);
    if matches!(conn.close_reason(), Some(Close::Error(_))) {
        linger(&conn, &socket).await;
    }
}

/// Completes with the sleep, and never when there is none.
async fn expired(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

impl Client {
    fn greet(&self) {
        let options = &self.inner.options;
        let info = ServerInfo {
            server_id: self.inner.server_id.clone(),
            server_name: options.server_name.clone(),
            version: options.version.clone(),
            go: "rustc".to_owned(),
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
            ..ServerInfo::default()
        };
        let mut line = Vec::with_capacity(512);
        put_info(&mut line, &info);
        self.conn.say(&line);
    }

    async fn read(&mut self, socket: &TcpStream) {
        let inner = Arc::clone(&self.inner);
        let options = &inner.options;
        let limits = Limits {
            max_control_line: options.max_control_line,
            max_payload: options.max_payload,
        };
        let mut parser = Parser::new(limits);
        let mut buffer = Buffer::default();
        let mut ping = ticker(options.ping_interval);
        // Not in the future itself, which is as large as this for as long as the client stays.
        let mut auth =
            (!self.authorized).then(|| Box::pin(tokio::time::sleep(options.auth_timeout)));
        let mut stop = inner.stop.subscribe();
        let conn = Arc::clone(&self.conn);
        let mut reads = 0;
        let mut most = usize::MAX;
        loop {
            tokio::select! {
                biased;
                () = conn.closing.notified() => return,
                _ = stop.wait_for(|stop| *stop) => {
                    conn.end(Close::Shutdown);
                    return;
                }
                () = expired(&mut auth), if !self.authorized => {
                    debug!(target: "nats", "{} - cid:{} - Authentication Timeout", conn.peer, conn.cid);
                    conn.end(Close::Error("Authentication Timeout"));
                    return;
                }
                _ = ping.tick() => {
                    buffer.release();
                    if !self.ping() {
                        return;
                    }
                    continue;
                }
                ready = socket.readable() => {
                    if ready.is_err() {
                        return;
                    }
                }
            }
            if !self.take(socket, &mut parser, &mut buffer, most) {
                return;
            }
            tokio::select! {
                biased;
                () = self.sender.origin().ready() => {}
                () = conn.closing.notified() => return,
            }
            most = match self.sender.take_slow() {
                Some(slow) if !Arc::ptr_eq(&slow, &conn) => {
                    stall(&slow).await;
                    SLOWED
                }
                _ => usize::MAX,
            };
            reads += 1;
            if reads % READS == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads at most `most` bytes once and handles what is whole; `false` ends the connection.
    fn take(
        &mut self,
        socket: &TcpStream,
        parser: &mut Parser,
        buffer: &mut Buffer,
        most: usize,
    ) -> bool {
        let space = buffer.space(parser.needed());
        let most = space.len().min(most);
        match read(socket, &mut space[..most]) {
            Ok(0) => return false,
            Ok(count) => buffer.filled(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                buffer.rest();
                return true;
            }
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
                    // Who has not said who it is learns nothing.
                    go_on = self.authorized && self.breach(breach.text());
                    if !self.authorized {
                        self.violate();
                    }
                }
            }
        }
        buffer.rest();
        self.end_batch();
        go_on && self.conn.close_reason().is_none()
    }

    fn end_batch(&mut self) {
        // Counted first: who has an answer finds itself in the numbers.
        self.conn
            .last_activity
            .store(Timestamp::now().0, Ordering::Relaxed);
        let totals = &self.inner.counters;
        let own = &self.conn.counters;
        for (counters, count) in [
            ([&totals.in_msgs, &own.in_msgs], &mut self.in_msgs),
            ([&totals.in_bytes, &own.in_bytes], &mut self.in_bytes),
        ] {
            for counter in counters {
                counter.fetch_add(*count, Ordering::Relaxed);
            }
            *count = 0;
        }
        totals.sent(self.sender.take_counts());
        self.sender.flush();
    }

    #[inline]
    fn handle(&mut self, op: &ClientOp<'_>) -> bool {
        if self.inner.options.trace {
            trace!(target: "nats", "{} - cid:{} - {}", self.conn.peer, self.conn.cid, describe(op));
        }
        if !self.authorized && !matches!(op, ClientOp::Connect(_)) {
            return self.violate();
        }
        match *op {
            ClientOp::Pub {
                subject,
                reply,
                headers,
                payload,
            } => self.publish(&Published {
                subject,
                reply,
                headers,
                payload,
            }),
            ClientOp::Sub {
                subject,
                queue,
                sid,
            } => self.subscribe(subject, queue, sid),
            ClientOp::Unsub { sid, max } => self.unsubscribe(sid, max),
            ClientOp::Ping => {
                self.sender.answer(&self.conn, PONG);
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
            ClientOp::Info(_) | ClientOp::Ok => true,
            ClientOp::Err(text) => {
                let text = text.escape_ascii();
                error!(target: "nats", "{} - cid:{} - Client Error {text}", self.conn.peer, self.conn.cid);
                false
            }
        }
    }

    fn ok(&mut self) -> bool {
        if self.verbose {
            self.sender.answer(&self.conn, OK);
        }
        true
    }

    /// Tells the client what is wrong and goes on.
    fn complain(&mut self, text: &str) {
        let mut line = Vec::with_capacity(64);
        put_error(&mut line, text);
        self.sender.answer(&self.conn, &line);
    }

    /// Tells the client what is wrong and ends.
    fn breach(&self, text: &'static str) -> bool {
        error!(target: "nats", "{} - cid:{} - {text}", self.conn.peer, self.conn.cid);
        self.conn.end(Close::Error(text));
        false
    }

    fn violate(&self) -> bool {
        error!(target: "nats", "{} - cid:{} - authentication error", self.conn.peer, self.conn.cid);
        self.conn.end(Close::Error("Authorization Violation"));
        false
    }

    fn connect(&mut self, json: &[u8]) -> bool {
        let options = match ConnectOptions::parse(json) {
            Ok(options) => options,
            Err(_) if !self.authorized => return self.violate(),
            Err(_) => return self.breach("Parser Error"),
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
        if !(0..=1).contains(&options.protocol) {
            return self.breach("invalid client protocol");
        }
        self.authorized = true;
        self.verbose = options.verbose;
        self.pedantic = options.pedantic;
        self.no_responders = options.no_responders && options.headers;
        self.conn.echo.store(options.echo, Ordering::Relaxed);
        // The secrets are not kept.
        let options = ConnectOptions {
            user: None,
            pass: None,
            auth_token: None,
            ..options
        };
        *lock(&self.conn.options) = (options, user);
        self.ok()
    }

    #[inline]
    fn publish(&mut self, message: &Published<'_>) -> bool {
        self.in_msgs += 1;
        self.in_bytes += (message.headers.len() + message.payload.len()) as u64;
        if self.pedantic && check_subject(message.subject).is_err() {
            self.complain("Invalid Publish Subject");
        }
        let skip = (!self.conn.echo.load(Ordering::Relaxed)).then_some(self.conn.cid);
        let delivered = self.sender.send(message.subject, message, skip);
        if delivered.receivers == 0
            && self.no_responders
            && let Some(reply) = message.reply
        {
            self.sender.nobody(self.conn.cid, message.subject, reply);
        }
        self.ok()
    }

    fn subscribe(&mut self, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> bool {
        if check_filter(subject).is_err() || queue.is_some_and(|queue| check_filter(queue).is_err())
        {
            self.complain("Invalid Subject");
            return true;
        }
        let id = self.inner.next_id();
        let subscription = Arc::new(Subscription::new(id, sid, subject, queue));
        let new = {
            let mut subscriptions = lock(&self.conn.subscriptions);
            let new = !subscriptions.contains_key(sid);
            if new {
                subscriptions.insert(sid.into(), Arc::clone(&subscription));
            }
            new
        };
        // The same number twice is the same subscription, as in nats-server.
        if new {
            let receiver = Receiver {
                conn: Arc::clone(&self.conn),
                subscription,
            };
            self.inner
                .router
                .insert(subject, queue, id, Target::Client(receiver));
            self.inner.interest_changed();
        }
        self.ok()
    }

    fn unsubscribe(&mut self, sid: &[u8], max: Option<u64>) -> bool {
        let ended = {
            let mut subscriptions = lock(&self.conn.subscriptions);
            let over = |subscription: &Arc<Subscription>| {
                max.is_none_or(|max| max == 0 || self.conn.bound(subscription, max))
            };
            if subscriptions.get(sid).is_some_and(over) {
                subscriptions.remove(sid)
            } else {
                None
            }
        };
        if let Some(subscription) = ended {
            self.remove(&subscription);
            self.inner.interest_changed();
        }
        self.ok()
    }

    fn remove(&self, subscription: &Subscription) {
        let Subscription {
            filter, queue, id, ..
        } = subscription;
        self.inner.router.remove(filter, queue.as_deref(), *id);
    }

    /// Asks whether the client lives; `false` when it was asked too often.
    fn ping(&mut self) -> bool {
        if self.pings_out >= self.inner.options.ping_max {
            let Conn { peer, cid, .. } = &*self.conn;
            debug!(target: "nats", "{peer} - cid:{cid} - Stale Client Connection - Closing");
            self.conn.end(Close::Error("Stale Connection"));
            return false;
        }
        self.pings_out += 1;
        self.ping_sent = Some(Instant::now());
        self.conn.say(PING);
        true
    }

    /// Says in the log why the client is gone.
    fn report(&self) {
        let Conn { peer, cid, .. } = &*self.conn;
        let slow = |what: String| {
            self.inner.slow_consumers.fetch_add(1, Ordering::Relaxed);
            warn!(target: "nats", "{peer} - cid:{cid} - Slow Consumer Detected: {what}");
        };
        let why = match self.conn.close_reason() {
            Some(Close::SlowPending) => {
                slow(format!(
                    "MaxPending of {} Exceeded",
                    self.inner.options.max_pending
                ));
                "Slow Consumer (Pending Bytes)"
            }
            Some(Close::SlowDeadline) => {
                let deadline = self.inner.options.write_deadline;
                slow(format!("WriteDeadline of {deadline:?} exceeded"));
                "Slow Consumer (Write Deadline)"
            }
            Some(Close::Error(text)) => text,
            Some(Close::Shutdown) => "Server Shutdown",
            Some(Close::Client) | None => "Client Closed",
        };
        debug!(target: "nats", "{peer} - cid:{cid} - Client connection closed: {why}");
    }
}

/// Forgets the client, even when a handler panicked on its task.
impl Drop for Client {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end_batch();
        }
        lock(&self.inner.connections).remove(&self.conn.cid);
        let subscriptions = std::mem::take(&mut *lock(&self.conn.subscriptions));
        for subscription in subscriptions.values() {
            self.remove(subscription);
        }
        if !subscriptions.is_empty() {
            self.inner.interest_changed();
        }
        self.report();
        self.conn.end(Close::Client);
    }
}
