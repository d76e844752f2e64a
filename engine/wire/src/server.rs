//! What servers send: the parser of the client's side, for load generators, tests and bridges.

use crate::ProtocolError;
use crate::args::{Args, Span, size};

/// One operation of a server; everything borrows from the buffer it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerOp<'a> {
    /// `INFO {json}`: the raw JSON, see [`crate::ServerInfo`].
    Info(&'a [u8]),
    /// `MSG` or `HMSG`.
    Msg {
        /// The subject it was published to.
        subject: &'a [u8],
        /// The client's id of the subscription.
        sid: &'a [u8],
        /// Never empty.
        reply: Option<&'a [u8]>,
        /// The raw header block of an `HMSG`, empty for `MSG`.
        headers: &'a [u8],
        /// Without headers and without the closing CR LF.
        payload: &'a [u8],
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR 'text'`: the text without its quotes.
    Err(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
struct Body {
    subject: Span,
    sid: Span,
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

/// Reads operations off the front of a buffer; used as [`crate::Parser`] is. It trusts the server: the only bound
/// is that sizes fit in memory.
#[derive(Debug, Default)]
pub struct ServerParser {
    scanned: usize,
    body: Option<Body>,
}

impl ServerParser {
    /// A parser at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes the buffer has to hold at least before [`ServerParser::next`] can get further.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.body.map_or(self.scanned + 1, |body| body.end())
    }

    /// The operation at the start of `buf` and how many bytes it takes; `None` when it is not complete yet.
    ///
    /// # Errors
    /// The bytes are not what a NATS server sends; the parser is of no use afterwards.
    #[inline]
    pub fn next<'a>(
        &mut self,
        buf: &'a [u8],
    ) -> Result<Option<(ServerOp<'a>, usize)>, ProtocolError> {
        if let Some(body) = self.body {
            return self.finish(body, buf);
        }
        let Some(at) = memchr::memchr(b'\n', &buf[self.scanned..]) else {
            self.scanned = buf.len();
            return Ok(None);
        };
        let end = self.scanned + at;
        self.scanned = 0;
        let line = if end > 0 && buf[end - 1] == b'\r' {
            &buf[..end - 1]
        } else {
            &buf[..end]
        };
        if starts(line, b"MSG ") {
            return self.message(buf, 4, line.len(), end + 1, false);
        }
        if starts(line, b"HMSG ") {
            return self.message(buf, 5, line.len(), end + 1, true);
        }
        let op = if starts(line, b"PING") {
            ServerOp::Ping
        } else if starts(line, b"PONG") {
            ServerOp::Pong
        } else if starts(line, b"+OK") {
            ServerOp::Ok
        } else if starts(line, b"INFO") {
            ServerOp::Info(line[4..].trim_ascii())
        } else if starts(line, b"-ERR") {
            let text = line[4..].trim_ascii();
            let text = text.strip_prefix(b"'").unwrap_or(text);
            ServerOp::Err(text.strip_suffix(b"'").unwrap_or(text))
        } else {
            return Err(ProtocolError::UnknownOperation);
        };
        Ok(Some((op, end + 1)))
    }

    #[inline]
    fn message<'a>(
        &mut self,
        buf: &'a [u8],
        from: usize,
        to: usize,
        start: usize,
        with_headers: bool,
    ) -> Result<Option<(ServerOp<'a>, usize)>, ProtocolError> {
        let args = Args::split(buf, from, to);
        let (subject, sid, reply, headers, total) = match (args.spans(), with_headers) {
            ([subject, sid, total], false) => (*subject, *sid, None, 0, total),
            ([subject, sid, reply, total], false) => (*subject, *sid, Some(*reply), 0, total),
            ([subject, sid, headers, total], true) => {
                (*subject, *sid, None, size(headers.of(buf))?, total)
            }
            ([subject, sid, reply, headers, total], true) => {
                (*subject, *sid, Some(*reply), size(headers.of(buf))?, total)
            }
            _ => return Err(ProtocolError::Arguments),
        };
        let total = size(total.of(buf))?;
        if headers > total
            || start
                .checked_add(total)
                .is_none_or(|end| end > isize::MAX as usize)
        {
            return Err(ProtocolError::Arguments);
        }
        self.finish(
            Body {
                subject,
                sid,
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
    ) -> Result<Option<(ServerOp<'a>, usize)>, ProtocolError> {
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
        let op = ServerOp::Msg {
            subject: body.subject.of(buf),
            sid: body.sid.of(buf),
            reply: body.reply.map(|span| span.of(buf)),
            headers,
            payload,
        };
        Ok(Some((op, end)))
    }
}

/// The operation at the start of `buf` and its length, without remembering how far an incomplete one was read; for
/// callers whose buffer holds whole operations nearly always.
///
/// # Errors
/// As [`ServerParser::next`].
pub fn parse_server_op(buf: &[u8]) -> Result<Option<(ServerOp<'_>, usize)>, ProtocolError> {
    ServerParser::new().next(buf)
}

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name)
}
