//! A minimal NATS client over a blocking socket, made to be cheaper than the servers it measures.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A server that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_secs(30);
const BUFFER: usize = 256 * 1024;

/// One received message, borrowed from the read buffer.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) reply: Option<&'a [u8]>,
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    pongs: usize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).context("cannot connect")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        let mut client = Self {
            socket,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            pongs: 0,
        };
        client.write(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
              \"lang\":\"bench\",\"version\":\"1\",\"protocol\":1}\r\n",
        )?;
        client.round_trip()?;
        Ok(client)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket
            .write_all(bytes)
            .context("the server closed the connection")
    }

    /// Sends PING and waits until everything before it was dealt with.
    pub(crate) fn round_trip(&mut self) -> Result<()> {
        self.write(b"PING\r\n")?;
        let want = self.pongs + 1;
        while self.pongs < want {
            self.next(&mut |_| {})?;
        }
        Ok(())
    }

    /// Reads more and hands every whole message to `each`; answers how many there were.
    pub(crate) fn next(&mut self, each: &mut dyn FnMut(Received<'_>)) -> Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let count = self
            .socket
            .read(&mut self.buffer[self.end..])
            .context("the server is silent")?;
        if count == 0 {
            bail!("the server closed the connection");
        }
        self.end += count;
        let mut messages = 0;
        let mut pings = 0;
        while let Some((used, op)) = parse(&self.buffer[self.start..self.end])? {
            match op {
                Op::Message(message) => {
                    each(message);
                    messages += 1;
                }
                Op::Pong => self.pongs += 1,
                Op::Ping => pings += 1,
                Op::Other => {}
            }
            self.start += used;
        }
        for _ in 0..pings {
            self.socket.write_all(b"PONG\r\n")?;
        }
        Ok(messages)
    }

    /// A JetStream API request; an error in the answer is an error here.
    pub(crate) fn api(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let text = format!(
            "SUB _INBOX.api 9\r\nUNSUB 9 1\r\nPUB $JS.API.{subject} _INBOX.api {}\r\n{body}\r\n",
            body.len()
        );
        self.write(text.as_bytes())?;
        let mut answer = None;
        while answer.is_none() {
            self.next(&mut |message| {
                answer = Some((message.payload.to_vec(), message.headers.to_vec()));
            })?;
        }
        let (payload, headers) = answer.unwrap_or_default();
        if payload.is_empty() {
            bail!(
                "`{subject}` is not served: {}",
                String::from_utf8_lossy(&headers).trim()
            );
        }
        let value: Value = serde_json::from_slice(&payload)?;
        if let Some(error) = value.get("error") {
            bail!("`{subject}` is refused: {error}");
        }
        Ok(value)
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
        sum * 10 + usize::from(digit.wrapping_sub(b'0'))
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
        let total = number(fields[count - 1]);
        let head = if headed { number(fields[count - 2]) } else { 0 };
        let plain = if headed { 5 } else { 4 };
        let body = eol + 1;
        if bytes.len() < body + total + 2 {
            return Ok(None);
        }
        let reply = (count > plain).then(|| fields[3]);
        let message = Received {
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
            bail!("the server says {}", String::from_utf8_lossy(line));
        }
        _ => Op::Other,
    };
    Ok(Some((eol + 1, op)))
}
