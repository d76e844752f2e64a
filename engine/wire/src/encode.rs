//! Operations to bytes, appended to a buffer of the caller.

use crate::{ConnectOptions, ServerInfo};

/// `PING` with its line end.
pub const PING: &[u8] = b"PING\r\n";
/// `PONG` with its line end.
pub const PONG: &[u8] = b"PONG\r\n";
/// `+OK` with its line end.
pub const OK: &[u8] = b"+OK\r\n";

const CRLF: &[u8] = b"\r\n";

/// A decimal number.
#[inline]
pub fn put_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // A remainder of ten is one digit.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The line of a `MSG` whose payload of `size` bytes and closing CR LF the caller sends on.
#[inline]
pub fn put_msg_head(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    size: usize,
) {
    out.extend_from_slice(b"MSG ");
    out.extend_from_slice(subject);
    out.push(b' ');
    out.extend_from_slice(sid);
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    put_number(out, size);
    out.extend_from_slice(CRLF);
}

/// `MSG subject sid [reply] size` and the payload.
#[inline]
pub fn put_msg(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    payload: &[u8],
) {
    put_msg_head(out, subject, sid, reply, payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// The line and header block of an `HMSG` whose payload of `size` bytes and closing CR LF the caller sends on.
#[inline]
pub fn put_hmsg_head(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    headers: &[u8],
    size: usize,
) {
    out.extend_from_slice(b"HMSG ");
    out.extend_from_slice(subject);
    out.push(b' ');
    out.extend_from_slice(sid);
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
    put_number(out, headers.len());
    out.push(b' ');
    put_number(out, headers.len() + size);
    out.extend_from_slice(CRLF);
    out.extend_from_slice(headers);
}

/// `HMSG subject sid [reply] headers total`, the header block and the payload.
#[inline]
pub fn put_hmsg(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    headers: &[u8],
    payload: &[u8],
) {
    put_hmsg_head(out, subject, sid, reply, headers, payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// `HMSG` when there are headers, else `MSG`.
#[inline]
pub fn put_message(
    out: &mut Vec<u8>,
    subject: &[u8],
    sid: &[u8],
    reply: Option<&[u8]>,
    headers: &[u8],
    payload: &[u8],
) {
    if headers.is_empty() {
        put_msg(out, subject, sid, reply, payload);
    } else {
        put_hmsg(out, subject, sid, reply, headers, payload);
    }
}

/// `PUB subject [reply] size` and the payload.
#[inline]
pub fn put_pub(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>, payload: &[u8]) {
    out.extend_from_slice(b"PUB ");
    put_target(out, subject, reply);
    put_number(out, payload.len());
    out.extend_from_slice(CRLF);
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

/// `HPUB subject [reply] headers total`, the header block and the payload.
#[inline]
pub fn put_hpub(
    out: &mut Vec<u8>,
    subject: &[u8],
    reply: Option<&[u8]>,
    headers: &[u8],
    payload: &[u8],
) {
    out.extend_from_slice(b"HPUB ");
    put_target(out, subject, reply);
    put_number(out, headers.len());
    out.push(b' ');
    put_number(out, headers.len() + payload.len());
    out.extend_from_slice(CRLF);
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(CRLF);
}

fn put_target(out: &mut Vec<u8>, subject: &[u8], reply: Option<&[u8]>) {
    out.extend_from_slice(subject);
    out.push(b' ');
    if let Some(reply) = reply {
        out.extend_from_slice(reply);
        out.push(b' ');
    }
}

/// `SUB subject [queue] sid`.
pub fn put_sub(out: &mut Vec<u8>, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
    out.extend_from_slice(b"SUB ");
    put_target(out, subject, queue);
    out.extend_from_slice(sid);
    out.extend_from_slice(CRLF);
}

/// `UNSUB sid [max]`.
pub fn put_unsub(out: &mut Vec<u8>, sid: &[u8], max: Option<u64>) {
    out.extend_from_slice(b"UNSUB ");
    out.extend_from_slice(sid);
    if let Some(max) = max {
        out.push(b' ');
        out.extend_from_slice(max.to_string().as_bytes());
    }
    out.extend_from_slice(CRLF);
}

/// `CONNECT {json}`.
pub fn put_connect(out: &mut Vec<u8>, options: &ConnectOptions) {
    put_json(out, b"CONNECT ", options);
}

/// `INFO {json}`.
pub fn put_info(out: &mut Vec<u8>, info: &ServerInfo) {
    put_json(out, b"INFO ", info);
}

/// `-ERR 'text'`.
pub fn put_error(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR '");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"'\r\n");
}

fn put_json<T: serde::Serialize>(out: &mut Vec<u8>, name: &[u8], value: &T) {
    out.extend_from_slice(name);
    serde_json::to_writer(&mut *out, value)
        .expect("invariant: plain structs always serialise into memory");
    out.extend_from_slice(CRLF);
}
