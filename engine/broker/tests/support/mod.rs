//! A client that speaks the protocol byte by byte, and a broker on a free port.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::Duration;

use millstream_broker::{Broker, Options};
use millstream_wire::{ServerOp, ServerParser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes; a test that gets there fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn options() -> Options {
    Options::new("127.0.0.1:0".parse().unwrap())
}

pub(crate) async fn broker() -> Broker {
    Broker::start(options()).await.unwrap()
}

/// What a server said, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Info(String),
    Msg {
        subject: String,
        sid: String,
        reply: Option<String>,
        headers: String,
        payload: Vec<u8>,
    },
    Ping,
    Pong,
    Ok,
    Err(String),
    Closed,
}

pub(crate) fn msg(subject: &str, sid: &str, payload: &str) -> Said {
    Said::Msg {
        subject: subject.into(),
        sid: sid.into(),
        reply: None,
        headers: String::new(),
        payload: payload.as_bytes().to_vec(),
    }
}

pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    parser: ServerParser,
    buffer: Vec<u8>,
    start: usize,
    /// Whether the test wants to see PINGs; else they are skipped, as one may come any time.
    pub(crate) pings: bool,
}

impl Peer {
    /// Connects and reads INFO.
    pub(crate) async fn raw(broker: &Broker) -> Self {
        let socket = TcpStream::connect(broker.local_addr()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut peer = Self {
            socket,
            parser: ServerParser::new(),
            buffer: Vec::new(),
            start: 0,
            pings: false,
        };
        assert!(matches!(peer.next().await, Said::Info(_)));
        peer
    }

    /// Connects as client libraries do.
    pub(crate) async fn new(broker: &Broker) -> Self {
        Self::with(
            broker,
            r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#,
        )
        .await
    }

    pub(crate) async fn with(broker: &Broker, connect: &str) -> Self {
        let mut peer = Self::raw(broker).await;
        peer.send(&format!("CONNECT {connect}\r\n")).await;
        peer.sync().await;
        peer
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
    }

    /// Returns when the server has handled everything sent before.
    pub(crate) async fn sync(&mut self) {
        self.send("PING\r\n").await;
        assert_eq!(self.next().await, Said::Pong);
    }

    /// Nothing but the PONG is there.
    pub(crate) async fn quiet(&mut self) {
        self.sync().await;
    }

    pub(crate) async fn next(&mut self) -> Said {
        tokio::time::timeout(PATIENCE, self.read())
            .await
            .expect("the server says something")
    }

    async fn read(&mut self) -> Said {
        loop {
            if let Some((op, used)) = self
                .parser
                .next(&self.buffer[self.start..])
                .expect("a server's operation")
            {
                let said = own(op);
                self.start += used;
                if said == Said::Ping && !self.pings {
                    continue;
                }
                return said;
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Said::Closed,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn expect(&mut self, want: Said) {
        assert_eq!(self.next().await, want);
    }
}

fn own(op: ServerOp<'_>) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match op {
        ServerOp::Info(json) => Said::Info(text(json)),
        ServerOp::Msg {
            subject,
            sid,
            reply,
            headers,
            payload,
        } => Said::Msg {
            subject: text(subject),
            sid: text(sid),
            reply: reply.map(text),
            headers: text(headers),
            payload: payload.to_vec(),
        },
        ServerOp::Ping => Said::Ping,
        ServerOp::Pong => Said::Pong,
        ServerOp::Ok => Said::Ok,
        ServerOp::Err(error) => Said::Err(text(error)),
    }
}
