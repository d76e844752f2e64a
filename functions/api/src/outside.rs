//! What a function may reach outside itself, and who answers.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::Timestamp;

/// What the document of a function grants it. What its component imports beyond that refuses the deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// A key-value bucket of its own: interface `bucket`.
    pub state: bool,
    /// Stations and buckets that it may read: interface `stations`. Empty: none.
    pub lookup: Vec<String>,
    /// Hosts that it may ask: interface `web`; `*.example.org` stands for everything below `example.org`. Empty: none.
    pub http: Vec<String>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For whoever develops the function.
    Debug,
    /// What it does.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

impl LogLevel {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A stored message that a function looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body, as it is stored.
    pub payload: Bytes,
}

/// A request to another host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebRequest {
    /// `GET`, `POST` …
    pub method: String,
    /// Its whole address.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer of another host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a function wrote to its bucket, in order; `None` removes the key.
pub type StateWrite = (String, Option<Bytes>);

/// Answers what a function asks of the server; one for each place a function runs in. Called on the thread that runs the
/// function, which may be blocked. Texts of errors are shown to the guest.
pub trait Outside: Send + Sync + Debug {
    /// A line of the function's log. `text` is bounded.
    fn log(&self, level: LogLevel, text: &str);

    /// The value of a key of the function's own bucket as the batches before left it.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn state(&self, key: &str) -> Result<Option<Bytes>, String>;

    /// Takes what a call that ended well wrote to the bucket; to be committed with the messages of its batch.
    fn write_state(&self, writes: Vec<StateWrite>);

    /// The newest message of a station on a subject.
    ///
    /// # Errors
    /// There is no such station, or it cannot be read.
    fn last(&self, station: &str, subject: &str) -> Result<Option<Entry>, String>;

    /// The value of a key of a key-value bucket.
    ///
    /// # Errors
    /// There is no such bucket, or it cannot be read.
    fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, String>;

    /// Asks another host, which was checked to be listed; waits for the answer for as long as `within`.
    ///
    /// # Errors
    /// Why there is no answer.
    fn fetch(&self, request: WebRequest, within: Duration) -> Result<WebResponse, String>;
}

/// Nothing outside: for functions that run away from a server, and in tests of pure ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

const NOTHING: &str = "nothing can be reached from here";

impl Outside for Nothing {
    fn log(&self, _level: LogLevel, _text: &str) {}

    fn state(&self, _key: &str) -> Result<Option<Bytes>, String> {
        Err(NOTHING.to_owned())
    }

    fn write_state(&self, _writes: Vec<StateWrite>) {}

    fn last(&self, _station: &str, _subject: &str) -> Result<Option<Entry>, String> {
        Err(NOTHING.to_owned())
    }

    fn value(&self, _bucket: &str, _key: &str) -> Result<Option<Bytes>, String> {
        Err(NOTHING.to_owned())
    }

    fn fetch(&self, _request: WebRequest, _within: Duration) -> Result<WebResponse, String> {
        Err(NOTHING.to_owned())
    }
}
