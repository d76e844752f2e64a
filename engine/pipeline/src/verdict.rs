//! What a stage decides about a record, and how an input ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Record;

/// Longest reason in bytes.
const MAX_REASON: usize = 1024;
/// Longest code and path in bytes.
const MAX_WORD: usize = 512;

/// What one stage decides about one record.
#[derive(Debug)]
pub enum Verdict {
    /// Goes on as it is in the batch.
    Keep,
    /// Goes on like this instead.
    Replace(Record),
    /// These go on in its place, in order; none is like [`Verdict::Drop`].
    Emit(Vec<Record>),
    /// Ends here on purpose; it is not stored and that is no error.
    Drop,
    /// Is to be tried again after this time.
    Retry(Duration),
    /// Is wrong.
    Reject(Rejection),
}

/// Why a message is not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The label of the stage that said so: `schema:flight`, `function:delay-band`, `sql:1`. What stands before the colon
    /// is the kind of stage.
    pub stage: String,
    /// A short word to count and filter by, such as `schema_violation`.
    pub code: String,
    /// A sentence for a person.
    pub reason: String,
    /// JSON pointer to the offending place in the payload, where there is one.
    pub path: Option<String>,
    /// Which version of the function said so, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Rejection {
    /// A rejection without a path. Texts are cut to a bounded length and control characters become blanks.
    #[must_use]
    pub fn new(stage: &str, code: &str, reason: &str) -> Self {
        Self {
            stage: clean(stage, MAX_WORD),
            code: clean(code, MAX_WORD),
            reason: clean(reason, MAX_REASON),
            path: None,
            version: None,
        }
    }

    /// The same with the version of the function that said so.
    #[must_use]
    pub fn of_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// The same with the place in the payload.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.path = Some(clean(path, MAX_WORD));
        self
    }

    /// The kind of stage: what stands before the colon of [`Rejection::stage`].
    #[must_use]
    pub fn kind(&self) -> &str {
        self.stage.split(':').next().unwrap_or_default()
    }

    /// The same with all texts bounded and on one line, whoever wrote them.
    #[must_use]
    pub(crate) fn bounded(&self) -> Self {
        let bounded = Self {
            version: self.version,
            ..Self::new(&self.stage, &self.code, &self.reason)
        };
        match &self.path {
            Some(path) => bounded.at(path),
            None => bounded,
        }
    }
}

/// Cuts at a character border and makes one line of it.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let end = if text.len() <= max {
        text.len()
    } else {
        text.floor_char_boundary(max - '…'.len_utf8())
    };
    let mut clean: String = text[..end]
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if end < text.len() {
        clean.push('…');
    }
    clean
}

/// What happens to a message that a stage rejects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRejection {
    /// The publisher gets an error. Without a reply subject nobody would learn of it.
    Reject,
    /// It goes to the station's dead letters with the reason.
    #[default]
    DeadLetter,
    /// It is stored all the same, with the reason in header `Ms-Schema-Violation`. Only for schemas.
    Tag,
}

/// How one input ended. All or nothing: when anything made from it is rejected, nothing of it is stored.
#[derive(Debug)]
pub enum Ended {
    /// These are to be stored, in order; never empty.
    Stored(Vec<Record>),
    /// A stage left it out.
    Dropped {
        /// The label of that stage.
        stage: String,
    },
    /// A stage wants to see it again after this time: the whole input goes through the plan again then.
    Retry {
        /// The label of that stage.
        stage: String,
        /// How long to wait.
        after: Duration,
    },
    /// A stage rejected it, or one of the records made from it.
    Rejected(Rejection),
}
