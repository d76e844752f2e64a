//! What clients send: the parser of the server's side.

use crate::ProtocolError;
use crate::args::{Args, Span, is_blank, number, size};

/// Bounds checked before anything is buffered or allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument part of a line in bytes; nats-server's default is 4096.
    pub max_control_line: usize,
    /// Most bytes of headers and payload together; nats-server's default is 1 MiB.
    pub max_payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_control_line: 4096,
            max_payload: 1 << 20,
        }
    }
}

/// One operation of a client; everything borrows from the buffer it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOp<'a> {
    /// `CONNECT {json}`: the raw JSON, see [`crate::ConnectOptions`].
    Connect(&'a [u8]),
    /// `PUB` or `HPUB`.
    Pub {
        /// As sent; not checked.
        subject: &'a [u8],
        /// Never empty.
        reply: Option<&'a [u8]>,
        /// The raw header block of an `HPUB`, empty for `PUB`.
        headers: &'a [u8],
        /// Without headers and without the closing CR LF.
        payload: &'a [u8],
    },
    /// `SUB subject [queue] sid`.
    Sub {
        /// As sent; not checked.
        subject: &'a [u8],
        /// Never empty.
        queue: Option<&'a [u8]>,
        /// The client's own id for the subscription: any word.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsub {
        /// The id the client gave in `SUB`.
        sid: &'a [u8],
        /// End by itself after this many deliveries, counted from the `SUB`.
        max: Option<u64>,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `INFO {json}`: allowed by the grammar, means nothing from a client.
    Info(&'a [u8]),
    /// `+OK`: allowed by the grammar, means nothing from a client.
    Ok,
    /// `-ERR text`: the client gives up.
    Err(&'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Info,
    Ok,
    Err,
}

/// Name, kind, and whether a blank has to follow the name.
const OPS: [(&[u8], Kind, bool); 10] = [
    (b"PUB", Kind::Pub, true),
    (b"HPUB", Kind::Hpub, true),
    (b"PING", Kind::Ping, false),
    (b"PONG", Kind::Pong, false),
    (b"SUB", Kind::Sub, true),
    (b"UNSUB", Kind::Unsub, true),
    (b"CONNECT", Kind::Connect, false),
    (b"INFO", Kind::Info, true),
    (b"+OK", Kind::Ok, false),
    (b"-ERR", Kind::Err, true),
];

/// A publish whose line has been read.
#[derive(Clone, Copy, Debug)]
struct Body {
    subject: Span,
    reply: Option<Span>,
    start: usize,
    headers: usize,
    total: usize,
}

impl Body {
    fn end(&self) -> usize {
        self.start + self.total + 2
    }
}

/// Reads operations off the front of a buffer. Keeps only how far it has looked, so the caller must hand in the
/// same bytes again (more of them) until an operation is complete, and drop the consumed ones after.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    scanned: usize,
    body: Option<Body>,
}

impl Parser {
    /// A parser at the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scanned: 0,
            body: None,
        }
    }

    /// How many bytes the buffer has to hold at least before [`Parser::next`] can get further.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.body.map_or(self.scanned + 1, |body| body.end())
    }

    /// The operation at the start of `buf` and how many bytes it takes; `None` when it is not complete yet.
    ///
    /// # Errors
    /// The connection has to be closed with the error's text; the parser is of no use afterwards.
    #[inline]
    pub fn next<'a>(
        &mut self,
        buf: &'a [u8],
    ) -> Result<Option<(ClientOp<'a>, usize)>, ProtocolError> {
        if let Some(body) = self.body {
            return self.finish(body, buf);
        }
        let Some(at) = memchr::memchr(b'\n', &buf[self.scanned..]) else {
            return self.partial(buf);
        };
        let end = self.scanned + at;
        self.scanned = 0;
        let line = if end > 0 && buf[end - 1] == b'\r' {
            &buf[..end - 1]
        } else {
            &buf[..end]
        };
        let (kind, name) = match classify(line) {
            Class::Op(kind, name) => (kind, name),
            Class::Partial | Class::Unknown => return Err(ProtocolError::UnknownOperation),
        };
        self.check_line(line, name)?;
        match kind {
            Kind::Pub => self.publish(buf, name, line.len(), end + 1, false),
            Kind::Hpub => self.publish(buf, name, line.len(), end + 1, true),
            _ => Ok(Some((simple(kind, line, name)?, end + 1))),
        }
    }

    /// No line end yet: a wrong or endless line must not wait for one.
    #[cold]
    fn partial<'a>(
        &mut self,
        buf: &'a [u8],
    ) -> Result<Option<(ClientOp<'a>, usize)>, ProtocolError> {
        self.scanned = buf.len();
        match classify(buf) {
            Class::Unknown => Err(ProtocolError::UnknownOperation),
            Class::Partial => Ok(None),
            Class::Op(_, name) => {
                let line = buf.strip_suffix(b"\r").unwrap_or(buf);
                self.check_line(line, name)?;
                Ok(None)
            }
        }
    }

    /// The argument part counts, without the one blank before it, as in nats-server.
    fn check_line(&self, line: &[u8], name: usize) -> Result<(), ProtocolError> {
        if line.len() > self.limits.max_control_line.saturating_add(name + 1) {
            return Err(ProtocolError::ControlLine);
        }
        Ok(())
    }

    #[inline]
    fn publish<'a>(
        &mut self,
        buf: &'a [u8],
        from: usize,
        to: usize,
        start: usize,
        with_headers: bool,
    ) -> Result<Option<(ClientOp<'a>, usize)>, ProtocolError> {
        let args = Args::split(buf, from, to);
        let (subject, reply, headers, total) = match (args.spans(), with_headers) {
            ([subject, total], false) => (*subject, None, 0, size(total.of(buf))?),
            ([subject, reply, total], false) => (*subject, Some(*reply), 0, size(total.of(buf))?),
            ([subject, headers, total], true) => {
                (*subject, None, size(headers.of(buf))?, size(total.of(buf))?)
            }
            ([subject, reply, headers, total], true) => (
                *subject,
                Some(*reply),
                size(headers.of(buf))?,
                size(total.of(buf))?,
            ),
            _ => return Err(ProtocolError::Arguments),
        };
        if headers > total {
            return Err(ProtocolError::Arguments);
        }
        if total > self.limits.max_payload {
            return Err(ProtocolError::Payload);
        }
        self.finish(
            Body {
                subject,
                reply,
                start,
                headers,
                total,
            },
            buf,
        )
    }

    #[inline]
    fn finish<'a>(
        &mut self,
        body: Body,
        buf: &'a [u8],
    ) -> Result<Option<(ClientOp<'a>, usize)>, ProtocolError> {
        let end = body.end();
        if buf.len() < end {
            self.body = Some(body);
            return Ok(None);
        }
        self.body = None;
        if buf[end - 2..end] != *b"\r\n" {
            return Err(ProtocolError::UnknownOperation);
        }
        let (headers, payload) = buf[body.start..end - 2].split_at(body.headers);
        let op = ClientOp::Pub {
            subject: body.subject.of(buf),
            reply: body.reply.map(|span| span.of(buf)),
            headers,
            payload,
        };
        Ok(Some((op, end)))
    }
}

enum Class {
    Op(Kind, usize),
    Partial,
    Unknown,
}

/// Which operation the bytes start. Says `Unknown` as soon as no further byte could help.
#[inline]
fn classify(line: &[u8]) -> Class {
    if line.len() > 3 && line[..3].eq_ignore_ascii_case(b"PUB") {
        return if is_blank(line[3]) {
            Class::Op(Kind::Pub, 3)
        } else {
            Class::Unknown
        };
    }
    for (name, kind, blank) in OPS {
        let have = line.len().min(name.len());
        if !line[..have].eq_ignore_ascii_case(&name[..have]) {
            continue;
        }
        return match line.get(name.len()) {
            _ if have < name.len() => Class::Partial,
            Some(byte) if blank && !is_blank(*byte) => Class::Unknown,
            None if blank => Class::Partial,
            _ => Class::Op(kind, name.len()),
        };
    }
    Class::Unknown
}

/// The operations that are one line.
fn simple(kind: Kind, line: &[u8], name: usize) -> Result<ClientOp<'_>, ProtocolError> {
    let args = || Args::split(line, name, line.len());
    Ok(match kind {
        Kind::Ping => ClientOp::Ping,
        Kind::Pong => ClientOp::Pong,
        Kind::Ok => ClientOp::Ok,
        Kind::Connect => ClientOp::Connect(line[name..].trim_ascii()),
        Kind::Info => ClientOp::Info(line[name..].trim_ascii()),
        Kind::Err => ClientOp::Err(line[name..].trim_ascii()),
        Kind::Sub => match args().spans() {
            [subject, sid] => ClientOp::Sub {
                subject: subject.of(line),
                queue: None,
                sid: sid.of(line),
            },
            [subject, queue, sid] => ClientOp::Sub {
                subject: subject.of(line),
                queue: Some(queue.of(line)),
                sid: sid.of(line),
            },
            _ => return Err(ProtocolError::Arguments),
        },
        Kind::Unsub => match args().spans() {
            [sid] => ClientOp::Unsub {
                sid: sid.of(line),
                max: None,
            },
            [sid, max] => ClientOp::Unsub {
                sid: sid.of(line),
                max: Some(number(max.of(line))?),
            },
            _ => return Err(ProtocolError::Arguments),
        },
        Kind::Pub | Kind::Hpub => return Err(ProtocolError::Arguments),
    })
}
