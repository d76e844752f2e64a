//! Acknowledgements on the wire: the reply subject of a delivery and the payloads sent to it.

use std::time::Duration;

use serde::Deserialize;

/// What a client says about a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckPayload<'a> {
    /// Done.
    Ack,
    /// Deliver it again, now or after a while.
    Nak {
        /// How long to wait.
        delay: Option<Duration>,
    },
    /// Still at work; the time for the acknowledgement starts anew.
    Progress,
    /// Done, and the next one, please: a pull request follows, as MSG.NEXT takes it.
    Next(&'a [u8]),
    /// Never deliver it again.
    Term {
        /// Why, for the advisory.
        reason: Option<String>,
    },
}

#[derive(Deserialize)]
struct NakBody {
    #[serde(default)]
    delay: i64,
}

/// Reads an acknowledgement; anything unknown counts as done, as in nats-server.
#[must_use]
pub fn parse_ack_payload(payload: &[u8]) -> AckPayload<'_> {
    let after = |word: &str| {
        payload
            .strip_prefix(word.as_bytes())
            .map(<[u8]>::trim_ascii)
    };
    if let Some(rest) = after("-NAK") {
        let body: Option<NakBody> = serde_json::from_slice(rest).ok();
        let delay = body
            .and_then(|body| u64::try_from(body.delay).ok())
            .filter(|delay| *delay > 0);
        return AckPayload::Nak {
            delay: delay.map(Duration::from_nanos),
        };
    }
    if payload == b"+WPI" {
        return AckPayload::Progress;
    }
    if let Some(rest) = after("+NXT") {
        return AckPayload::Next(rest);
    }
    if let Some(rest) = after("+TERM") {
        let reason = (!rest.is_empty()).then(|| String::from_utf8_lossy(rest).into_owned());
        return AckPayload::Term { reason };
    }
    AckPayload::Ack
}

/// Which delivery an acknowledgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckSubject<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// The consumer's name.
    pub consumer: &'a str,
    /// How many times the message had been delivered.
    pub delivered: u64,
    /// The message.
    pub stream_seq: u64,
    /// The delivery.
    pub consumer_seq: u64,
}

/// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form with
/// `<domain>.<account>` before the stream. `None` when it is neither.
#[must_use]
pub fn parse_ack_subject(subject: &[u8]) -> Option<AckSubject<'_>> {
    let rest = subject.strip_prefix(b"$JS.ACK.")?;
    let skip = if rest.iter().filter(|byte| **byte == b'.').count() >= 8 {
        2
    } else {
        0
    };
    let mut tokens = rest.splitn(skip + 3, |byte| *byte == b'.').skip(skip);
    let (stream, consumer) = (tokens.next()?, tokens.next()?);
    let AckNumbers {
        delivered,
        stream_seq,
        consumer_seq,
    } = parse_ack_numbers(tokens.next()?)?;
    Some(AckSubject {
        stream: std::str::from_utf8(stream).ok()?,
        consumer: std::str::from_utf8(consumer).ok()?,
        delivered,
        stream_seq,
        consumer_seq,
    })
}

/// The numbers of an acknowledgement's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckNumbers {
    /// How many times the message had been delivered.
    pub delivered: u64,
    /// The message.
    pub stream_seq: u64,
    /// The delivery.
    pub consumer_seq: u64,
}

/// Reads what follows the consumer's name and its dot in the subject of an acknowledgement; see [`parse_ack_subject`].
#[must_use]
pub fn parse_ack_numbers(text: &[u8]) -> Option<AckNumbers> {
    let mut at = 0;
    let mut next = || {
        let start = at;
        let mut value = 0_u64;
        while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(*digit - b'0'))?;
            at += 1;
        }
        let ended = matches!(text.get(at), None | Some(b'.'));
        let some = at > start;
        at += 1;
        (some && ended).then_some(value)
    };
    let (delivered, stream_seq, consumer_seq) = (next()?, next()?, next()?);
    // The time, and how many were ahead.
    next()?;
    next()?;
    Some(AckNumbers {
        delivered,
        stream_seq,
        consumer_seq,
    })
}

/// A number in decimal, without an allocation.
#[derive(Debug)]
pub(crate) struct Decimal {
    digits: [u8; 20],
    at: usize,
}

impl Decimal {
    pub(crate) fn new(mut value: u64) -> Self {
        let mut decimal = Self {
            digits: [0; 20],
            at: 20,
        };
        loop {
            decimal.at -= 1;
            decimal.digits[decimal.at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return decimal;
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{AckPayload, AckSubject, parse_ack_payload, parse_ack_subject};

    #[test]
    fn payloads() {
        let second = Some(Duration::from_secs(1));
        let cases: [(&[u8], AckPayload<'_>); 10] = [
            (b"", AckPayload::Ack),
            (b"+ACK", AckPayload::Ack),
            (b"+OK", AckPayload::Ack),
            (b"-NAK", AckPayload::Nak { delay: None }),
            (
                b"-NAK {\"delay\": 1000000000}",
                AckPayload::Nak { delay: second },
            ),
            (b"-NAK {\"delay\": -1}", AckPayload::Nak { delay: None }),
            (b"+WPI", AckPayload::Progress),
            (b"+NXT 5", AckPayload::Next(b"5")),
            (b"+TERM", AckPayload::Term { reason: None }),
            (
                b"+TERM bad data",
                AckPayload::Term {
                    reason: Some("bad data".to_owned()),
                },
            ),
        ];
        for (payload, want) in cases {
            assert_eq!(parse_ack_payload(payload), want);
        }
    }

    #[test]
    fn subjects() {
        let want = AckSubject {
            stream: "S",
            consumer: "c",
            delivered: 3,
            stream_seq: 100,
            consumer_seq: 7,
        };
        assert_eq!(
            parse_ack_subject(b"$JS.ACK.S.c.3.100.7.1700000000.42"),
            Some(want)
        );
        assert_eq!(
            parse_ack_subject(b"$JS.ACK._.hash.S.c.3.100.7.1700000000.42"),
            Some(want)
        );
        assert_eq!(
            parse_ack_subject(b"$JS.ACK.hub.hash.S.c.3.100.7.1700000000.42.rand"),
            Some(want)
        );
        for bad in [
            "$JS.ACK.S.c.3",
            "$JS.ACK.S.c.x.100.7.1.42",
            "$JS.ACK.S.c.1.100.7.1",
            "$JS.ACK.S.c.1.100.7.1.",
            "$JS.ACK.S.c.1..7.1.42",
            "$JS.ACK.S.c.1.1x.7.1.42",
            "$JS.ACK.S.c.1.99999999999999999999.7.1.42",
            "$JS.API.S.c.3.100.7.1.42",
            "",
        ] {
            assert_eq!(parse_ack_subject(bad.as_bytes()), None);
        }
    }
}
