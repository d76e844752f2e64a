//! What goes into a function and what comes out; the Rust face of `wit/function.wit`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::Timestamp;

/// One message of a batch: as a rule borrowed from where it lies, so that nothing is copied but into the guest's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionMessage<'a> {
    /// A literal subject, UTF-8.
    pub subject: Cow<'a, [u8]>,
    /// Its number in the stream; `None` while it is on its way in.
    pub sequence: Option<u64>,
    /// When the server took it in.
    pub timestamp: Timestamp,
    /// Headers in order; a name may come more than once.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The key, when the station declares one.
    pub key: Option<Cow<'a, [u8]>>,
    /// The body as published.
    pub payload: Cow<'a, [u8]>,
    /// The registry's number of the schema the message was checked against.
    pub schema_id: Option<u32>,
    /// How often it was handed to this function before.
    pub deliveries: u32,
}

impl FunctionMessage<'_> {
    /// The same message, borrowed from nowhere.
    #[must_use]
    pub fn to_owned(&self) -> FunctionMessage<'static> {
        let bytes = |bytes: &[u8]| Cow::Owned(bytes.to_vec());
        let text = |text: &str| Cow::Owned(text.to_owned());
        let headers = self.headers.iter();
        FunctionMessage {
            subject: bytes(&self.subject),
            sequence: self.sequence,
            timestamp: self.timestamp,
            headers: headers
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            key: self.key.as_deref().map(bytes),
            payload: bytes(&self.payload),
            schema_id: self.schema_id,
            deliveries: self.deliveries,
        }
    }
}

/// A message that a function wrote. Its subject is checked to be a literal subject before it gets here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Where it goes; `None`: the input's subject.
    pub subject: Option<Bytes>,
    /// All its headers; `None`: the input's headers.
    pub headers: Option<Vec<(String, String)>>,
    /// The new body.
    pub payload: Bytes,
}

/// What a function decided about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionOutcome {
    /// Goes on as it came.
    Keep,
    /// Goes on changed.
    Replace(Output),
    /// These go on in its place, in order; none: like [`FunctionOutcome::Drop`].
    Emit(Vec<Output>),
    /// Ends here, on purpose.
    Drop,
    /// Not now: try again after this time.
    Retry(Duration),
    /// Wrong: to the dead letters with its original bytes, or an error to the publisher.
    Reject {
        /// A short word to count and filter by.
        code: String,
        /// A sentence for a person.
        reason: String,
        /// JSON pointer to the offending place in the payload, where there is one.
        path: Option<String>,
    },
}
