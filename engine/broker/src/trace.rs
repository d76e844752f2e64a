//! What `-V` shows of a client's operations. Secrets are left out.

use millstream_wire::{ClientOp, ConnectOptions};

/// Most payload bytes shown.
const SHOWN: usize = 1024;

/// One operation as nats-server's trace lines word it.
pub(crate) fn describe(op: &ClientOp<'_>) -> String {
    let words = |name: &str, words: &[&[u8]]| {
        let mut text = name.to_owned();
        for word in words {
            text.push(' ');
            text.push_str(&word.escape_ascii().to_string());
        }
        format!("<<- [{text}]")
    };
    match *op {
        ClientOp::Connect(json) => match ConnectOptions::parse(json) {
            Ok(options) => format!("<<- [CONNECT {options:?}]"),
            Err(_) => "<<- [CONNECT with invalid JSON]".to_owned(),
        },
        ClientOp::Pub {
            subject,
            reply,
            headers,
            payload,
        } => {
            let name = if headers.is_empty() { "PUB" } else { "HPUB" };
            let size = (headers.len() + payload.len()).to_string();
            let line = words(name, &[subject, reply.unwrap_or_default(), size.as_bytes()]);
            let shown = payload[..payload.len().min(SHOWN)].escape_ascii();
            format!("{line} <<- MSG_PAYLOAD: [\"{shown}\"]")
        }
        ClientOp::Sub {
            subject,
            queue,
            sid,
        } => words("SUB", &[subject, queue.unwrap_or_default(), sid]),
        ClientOp::Unsub { sid, max: None } => words("UNSUB", &[sid]),
        ClientOp::Unsub {
            sid,
            max: Some(max),
        } => words("UNSUB", &[sid, max.to_string().as_bytes()]),
        ClientOp::Ping => words("PING", &[]),
        ClientOp::Pong => words("PONG", &[]),
        ClientOp::Info(_) => words("INFO", &[]),
        ClientOp::Ok => words("OK", &[]),
        ClientOp::Err(text) => words("-ERR", &[text]),
    }
}
