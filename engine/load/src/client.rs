//! A minimal NATS client over a blocking socket, made to be cheaper than the servers it measures.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{LoadError, Result};

/// A server that says nothing for so long has failed.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
const BUFFER: usize = 256 * 1024;

/// Who connects.
#[derive(Clone, Debug, Default)]
pub enum Login {
    /// Nobody in particular.
    #[default]
    Nobody,
    /// A user.
    User {
        /// Its name.
        user: String,
        /// Its password.
        password: String,
    },
    /// Whoever has the token.
    Token(String),
}

/// A server to measure.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port` of its client port.
    pub address: String,
    /// Who connects.
    pub login: Login,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: address.to_string(),
            login: Login::Nobody,
        }
    }
}

impl Target {
    fn connect_options(&self) -> Value {
        let mut options = json!({ "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "name": "bench", "lang": "bench", "version": env!("CARGO_PKG_VERSION"), "protocol": 1 });
        match &self.login {
            Login::Nobody => {}
            Login::User { user, password } => {
                options["user"] = user.as_str().into();
                options["pass"] = password.as_str().into();
            }
            Login::Token(token) => options["auth_token"] = token.as_str().into(),
        }
        options
    }
}

/// One received message, borrowed from the read buffer.
#[derive(Debug)]
pub struct Received<'a> {
    /// Where it was published.
    pub subject: &'a [u8],
    /// Where an answer goes.
    pub reply: Option<&'a [u8]>,
    /// From `NATS/1.0` to the empty line; empty when there are none.
    pub headers: &'a [u8],
    /// What was published.
    pub payload: &'a [u8],
}

impl Received<'_> {
    /// The status of a message that is only that: `503`, `408`, `100`.
    #[must_use]
    pub fn status(&self) -> Option<&[u8]> {
        let status = self.headers.strip_prefix(b"NATS/1.0 ")?;
        status.get(..3)
    }
}

/// What was read from a connection and not understood yet.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    pongs: usize,
}

/// What one read brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Whole messages.
    pub(crate) messages: usize,
    /// PINGs that want their PONG.
    pub(crate) pings: usize,
    /// Whether it filled the buffer: then there may be more.
    pub(crate) filled: bool,
}

impl Inbound {
    /// Reads once and hands every whole message to `each`; `None` when the socket has nothing.
    pub(crate) fn read(
        &mut self,
        socket: &mut impl Read,
        each: &mut dyn FnMut(Received<'_>),
    ) -> Result<Option<Seen>> {
        self.make_room();
        let room = &mut self.buffer[self.end..];
        let count = match socket.read(room) {
            Ok(0) => return Err(LoadError::Closed),
            Ok(count) => count,
            // What a read timeout is called differs between systems.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(LoadError::Broken(error)),
        };
        let mut seen = Seen {
            messages: 0,
            pings: 0,
            filled: count == room.len(),
        };
        self.end += count;
        while let Some((used, op)) = parse(&self.buffer[self.start..self.end])? {
            match op {
                Op::Message(message) => {
                    each(message);
                    seen.messages += 1;
                }
                Op::Pong => self.pongs += 1,
                Op::Ping => seen.pings += 1,
                Op::Other => {}
            }
            self.start += used;
        }
        Ok(Some(seen))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize((self.buffer.len() * 2).max(BUFFER), 0);
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    inbound: Inbound,
}

impl Client {
    /// Connects and waits until the server has let it in.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the login.
    pub fn connect(target: &Target) -> Result<Self> {
        let socket = TcpStream::connect(&target.address).map_err(|source| LoadError::Connect {
            address: target.address.clone(),
            source,
        })?;
        socket.set_nodelay(true).map_err(LoadError::Broken)?;
        socket
            .set_read_timeout(Some(SILENCE))
            .map_err(LoadError::Broken)?;
        let mut client = Self {
            socket,
            inbound: Inbound::default(),
        };
        client.write(format!("CONNECT {}\r\n", target.connect_options()).as_bytes())?;
        client.round_trip()?;
        Ok(client)
    }

    /// The writing half, for a thread of its own; what it writes must not mix with what this writes.
    ///
    /// # Errors
    /// When the process has no more file descriptors.
    pub fn writer(&self) -> Result<Writer> {
        let socket = self.socket.try_clone().map_err(LoadError::Broken)?;
        Ok(Writer(socket))
    }

    /// Sends protocol text; waits while the server does not read.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).map_err(LoadError::Broken)
    }

    /// Sends PING and waits until everything before it was dealt with. Messages that come meanwhile are thrown away.
    ///
    /// # Errors
    /// When the connection broke or the server sent `-ERR`.
    pub fn round_trip(&mut self) -> Result<()> {
        self.write(b"PING\r\n")?;
        let want = self.inbound.pongs + 1;
        while self.inbound.pongs < want {
            self.next(&mut |_| {})?;
        }
        Ok(())
    }

    /// Reads more and hands every whole message to `each`; answers how many there were, which may be none.
    ///
    /// # Errors
    /// When the connection broke, nothing came for half a minute, or the server sent `-ERR`.
    pub fn next(&mut self, each: &mut dyn FnMut(Received<'_>)) -> Result<usize> {
        let seen = self.inbound.read(&mut self.socket, each)?;
        let seen = seen.ok_or(LoadError::Silent(SILENCE))?;
        for _ in 0..seen.pings {
            self.write(b"PONG\r\n")?;
        }
        Ok(seen.messages)
    }

    /// Lets go of the read buffer, so that thousands of idle connections cost the generator little.
    pub fn idle(&mut self) {
        let Inbound {
            start, end, pongs, ..
        } = self.inbound;
        if start == end {
            self.inbound = Inbound {
                pongs,
                ..Inbound::default()
            };
        }
    }

    /// Its socket, which does not block from now on, and what was read from it.
    pub(crate) fn into_parts(self) -> Result<(TcpStream, Inbound)> {
        self.socket
            .set_nonblocking(true)
            .map_err(LoadError::Broken)?;
        Ok((self.socket, self.inbound))
    }

    /// A JetStream API request; an error in the answer is an error here. Other messages that come meanwhile are thrown away.
    ///
    /// # Errors
    /// When the request is refused, nobody serves it, or the connection broke.
    pub fn api(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let mut answers = self.api_many(std::iter::once((subject.to_owned(), body.clone())), 1)?;
        answers.pop().ok_or(LoadError::Closed)
    }

    /// Many requests, at most `window` of them unanswered; the answers in the order of the requests.
    ///
    /// # Errors
    /// With the first request that is refused; those behind it may have been carried out.
    pub fn api_many(
        &mut self,
        requests: impl IntoIterator<Item = (String, Value)>,
        window: usize,
    ) -> Result<Vec<Value>> {
        const INBOX: &str = "_INBOX.api.";
        self.write(format!("SUB {INBOX}* 9\r\n").as_bytes())?;
        let mut requests = requests.into_iter();
        let mut subjects: Vec<String> = Vec::new();
        let mut answers: Vec<Value> = Vec::new();
        let mut text = String::new();
        loop {
            text.clear();
            while subjects.len() - answers.len() < window.max(1)
                && let Some((subject, body)) = requests.next()
            {
                let body = if body.is_null() {
                    String::new()
                } else {
                    body.to_string()
                };
                let (number, length) = (subjects.len(), body.len());
                text.push_str(&format!(
                    "PUB $JS.API.{subject} {INBOX}{number} {length}\r\n{body}\r\n"
                ));
                subjects.push(subject);
            }
            self.write(text.as_bytes())?;
            if answers.len() == subjects.len() {
                break;
            }
            let mut failed = None;
            self.next(&mut |message| {
                if message.subject.starts_with(INBOX.as_bytes()) {
                    let subject = subjects.get(answers.len()).map_or("", String::as_str);
                    match answer(subject, &message) {
                        Ok(value) => answers.push(value),
                        Err(error) => failed = failed.take().or(Some(error)),
                    }
                }
            })?;
            if let Some(error) = failed {
                self.write(b"UNSUB 9\r\n")?;
                return Err(error);
            }
        }
        self.write(b"UNSUB 9\r\n")?;
        Ok(answers)
    }
}

fn answer(subject: &str, message: &Received<'_>) -> Result<Value> {
    if message.payload.is_empty() {
        return Err(LoadError::NotServed(format!("$JS.API.{subject}")));
    }
    let value: Value = serde_json::from_slice(message.payload)
        .map_err(|error| LoadError::Unreadable(error.to_string()))?;
    match value.get("error") {
        Some(error) => Err(LoadError::Refused {
            subject: subject.to_owned(),
            error: error.to_string(),
        }),
        None => Ok(value),
    }
}

/// The writing half of a [`Client`].
#[derive(Debug)]
pub struct Writer(TcpStream);

impl Writer {
    /// Sends protocol text; waits while the server does not read.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(LoadError::Broken)
    }
}

enum Op<'a> {
    Message(Received<'a>),
    Ping,
    Pong,
    Other,
}

fn number(text: &[u8]) -> usize {
    text.iter().fold(0, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(usize::from(digit.wrapping_sub(b'0')))
    })
}

/// The first whole operation of `bytes`, with its length.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Op<'_>)>> {
    let Some(eol) = memchr::memchr(b'\n', bytes) else {
        return Ok(None);
    };
    let line = bytes[..eol].trim_ascii_end();
    let headed = line.starts_with(b"HMSG ");
    if headed || line.starts_with(b"MSG ") {
        let mut fields = [&line[..0]; 6];
        let mut count = 0;
        for field in line
            .split(|byte| *byte == b' ')
            .filter(|field| !field.is_empty())
            .take(6)
        {
            fields[count] = field;
            count += 1;
        }
        // MSG subject sid [reply] total, HMSG subject sid [reply] headers total
        if count < 4 {
            return Err(LoadError::Unreadable(
                String::from_utf8_lossy(line).into_owned(),
            ));
        }
        let total = number(fields[count - 1]);
        let head = if headed { number(fields[count - 2]) } else { 0 };
        let plain = if headed { 5 } else { 4 };
        let body = eol + 1;
        if head > total {
            return Err(LoadError::Unreadable(
                String::from_utf8_lossy(line).into_owned(),
            ));
        }
        if bytes.len() < body.saturating_add(total).saturating_add(2) {
            return Ok(None);
        }
        let reply = (count > plain).then(|| fields[3]);
        let message = Received {
            subject: fields[1],
            reply,
            headers: &bytes[body..body + head],
            payload: &bytes[body + head..body + total],
        };
        return Ok(Some((body + total + 2, Op::Message(message))));
    }
    let op = match line {
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        line if line.starts_with(b"-ERR") => {
            return Err(LoadError::Said(String::from_utf8_lossy(line).into_owned()));
        }
        _ => Op::Other,
    };
    Ok(Some((eol + 1, op)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Op, parse};

    /// What is understood of a text, one line an operation.
    fn read(mut bytes: &[u8]) -> Result<Vec<String>, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut seen = Vec::new();
        while let Some((used, op)) = parse(bytes).map_err(|error| error.to_string())? {
            seen.push(match op {
                Op::Message(message) => format!(
                    "{} {} {:?} {:?}",
                    text(message.subject),
                    text(message.reply.unwrap_or(b"-")),
                    message.status().map(text),
                    text(message.payload)
                ),
                Op::Ping => "ping".to_owned(),
                Op::Pong => "pong".to_owned(),
                Op::Other => "other".to_owned(),
            });
            bytes = &bytes[used..];
        }
        Ok(seen)
    }

    const TALK: &[u8] = b"INFO {}\r\nMSG a.b 1 3\r\nx\r\n\r\nMSG a 1 r 0\r\n\r\nPING\r\n\
        HMSG i 9 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n";

    #[test]
    fn operations() {
        let seen = read(TALK).expect("read");
        let want = [
            "other",
            "a.b - None \"x\\r\\n\"",
            "a r None \"\"",
            "ping",
            "i - Some(\"503\") \"\"",
            "pong",
        ];
        assert_eq!(seen, want);
        assert_eq!(
            read(b"-ERR 'no'\r\n"),
            Err("the server says -ERR 'no'".to_owned())
        );
        assert!(read(b"MSG a 1\r\n").is_err());
        assert!(read(b"HMSG a 1 9 3\r\nabc\r\n").is_err());
    }

    proptest! {
        #[test]
        fn a_part_is_a_prefix_of_the_whole(end in 0..TALK.len()) {
            let (part, whole) = (read(&TALK[..end]).expect("read"), read(TALK).expect("read"));
            prop_assert_eq!(&part[..], &whole[..part.len()]);
        }

        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0..3) {
            let start: &[u8] = [&b"MSG a 1 "[..], b"HMSG a 1 ", b""][kind as usize];
            let _either = read(&[start, &bytes].concat());
        }
    }
}
