//! Flow control of push consumers: the server sends so many bytes, then asks, and goes on when the client has answered.

use bytes::Bytes;

/// Most bytes on the way to a client.
const LIMIT: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Flow {
    prefix: String,
    /// Bytes that may be on the way; doubles with every answer.
    window: u64,
    /// Bytes sent and not confirmed.
    sent: u64,
    /// The question that waits for an answer, and the bytes sent up to it.
    asked: Option<(Bytes, u64)>,
    questions: u64,
}

impl Flow {
    pub(crate) fn new(stream: &str, consumer: &str) -> Self {
        Self {
            prefix: format!("$JS.FC.{stream}.{consumer}."),
            window: LIMIT / 16,
            sent: 0,
            asked: None,
            questions: 0,
        }
    }

    pub(crate) fn delivered(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Where the client is to answer, when it is time to ask.
    pub(crate) fn ask(&mut self) -> Option<Bytes> {
        if self.asked.is_some() || self.sent <= self.window / 2 {
            return None;
        }
        self.questions += 1;
        let reply = Bytes::from(format!("{}{}", self.prefix, self.questions));
        self.asked = Some((reply.clone(), self.sent));
        Some(reply)
    }

    /// Whether nothing more may be sent now.
    pub(crate) fn is_stalled(&self) -> bool {
        self.asked.is_some() && self.sent >= self.window
    }

    /// The question that waits for an answer.
    pub(crate) fn open_question(&self) -> Option<&Bytes> {
        self.asked.as_ref().map(|(reply, _)| reply)
    }

    /// The client answered on `subject`; `false` when nobody asked there.
    pub(crate) fn answered(&mut self, subject: &[u8]) -> bool {
        match &self.asked {
            Some((reply, bytes)) if reply.as_ref() == subject => {
                self.sent = self.sent.saturating_sub(*bytes);
                self.window = (self.window * 2).min(LIMIT);
                self.asked = None;
                true
            }
            _ => false,
        }
    }

    /// A new client starts with nothing on the way.
    pub(crate) fn reset(&mut self) {
        self.window = LIMIT / 16;
        self.sent = 0;
        self.asked = None;
    }
}
