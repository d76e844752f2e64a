//! The types of `millstream:function/types@0.2.0`, field for field; the WIT file says what each one means.

use std::time::Duration;

/// One message of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The subject it was published to.
    pub subject: String,
    /// Its number in the stream; `None` while it is on its way in.
    pub sequence: Option<u64>,
    /// When the server took it in: nanoseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// Headers in order; a name may come more than once.
    pub headers: Vec<(String, String)>,
    /// The key, when the station declares one.
    pub key: Option<Vec<u8>>,
    /// The body as published.
    pub payload: Vec<u8>,
    /// The registry's number of the schema it was checked against.
    pub schema_id: Option<u32>,
    /// How often it was handed to this function before.
    pub deliveries: u32,
}

impl Message {
    /// A message with this body, for tests.
    #[must_use]
    pub fn with_payload(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A message that the function writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Where it goes; `None`: the input's subject.
    pub subject: Option<String>,
    /// All its headers; `None`: the input's headers.
    pub headers: Option<Vec<(String, String)>>,
    /// The new body.
    pub payload: Vec<u8>,
}

impl Output {
    /// A message with this body, and the subject and headers of the input.
    #[must_use]
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// The same message for another subject.
    #[must_use]
    pub fn to(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

/// Why a message is turned away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// A short word to count and filter by.
    pub code: String,
    /// A sentence for the person who reads the dead letter.
    pub reason: String,
    /// JSON pointer to the offending place in the payload, where there is one.
    pub path: Option<String>,
}

impl Rejection {
    /// A short code to count by and a sentence for a person.
    #[must_use]
    pub fn new(code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            reason: reason.into(),
            path: None,
        }
    }

    /// The same, for this place in the payload: a JSON pointer such as `/legs/2/distance`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// What becomes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on as it came; costs nothing.
    Keep,
    /// It goes on changed.
    Replace(Output),
    /// These go on in its place, in this order.
    Emit(Vec<Output>),
    /// It ends here, on purpose.
    Drop,
    /// Not now: try again after so many milliseconds.
    Retry(u64),
    /// It is wrong: to the dead letters with its original bytes, or an error to the publisher.
    Reject(Rejection),
}

impl Outcome {
    /// The message goes on with this body.
    #[must_use]
    pub fn replace(payload: impl Into<Vec<u8>>) -> Self {
        Self::Replace(Output::new(payload))
    }

    /// The message is wrong: a short code to count by and a sentence for a person.
    #[must_use]
    pub fn reject(code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Reject(Rejection::new(code, reason))
    }

    /// Not now, but after this pause; rounded down to milliseconds.
    #[must_use]
    pub fn retry_after(pause: Duration) -> Self {
        Self::Retry(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self::Replace(output)
    }
}

impl From<Vec<Output>> for Outcome {
    fn from(outputs: Vec<Output>) -> Self {
        Self::Emit(outputs)
    }
}

impl From<Rejection> for Outcome {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

/// What makes `?` work in a function: an error is an outcome as well.
impl<T: Into<Outcome>, E: Into<Outcome>> From<Result<T, E>> for Outcome {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(Into::into, Into::into)
    }
}
