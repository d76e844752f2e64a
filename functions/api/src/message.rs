//! What goes into a function and what comes out; the Rust face of `wit/function.wit`.

use std::time::Duration;

use bytes::Bytes;
use millstream_types::Timestamp;

/// One message of a batch. Cheap to clone apart from its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionMessage {
    /// A literal subject, UTF-8.
    pub subject: Bytes,
    /// Its number in the stream; `None` while it is on its way in.
    pub sequence: Option<u64>,
    /// When the server took it in.
    pub timestamp: Timestamp,
    /// Headers in order; a name may come more than once.
    pub headers: Vec<(String, String)>,
    /// The key, when the station declares one.
    pub key: Option<Bytes>,
    /// The body as published.
    pub payload: Bytes,
    /// The registry's number of the schema the message was checked against.
    pub schema_id: Option<u32>,
    /// How often it was handed to this function before.
    pub deliveries: u32,
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
