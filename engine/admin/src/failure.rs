//! Errors as users see them: a number, a text, and what to do.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

/// Numbers of management errors. A number is never reused for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCode {
    /// The request cannot be read.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// It is used by something else, or conflicts with it.
    Conflict,
    /// The files were read and something in them is wrong; see `problems`.
    Problems,
    /// A schema, stage or stream rule refused the message.
    Refused,
    /// The log does not take writes now.
    Unavailable,
    /// A stored message cannot be read.
    Damaged,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The request may be a browser's, made for a page of another site.
    Forbidden,
}

impl FailureCode {
    /// The number in the body.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::BadRequest => 10,
            Self::NotFound => 11,
            Self::Conflict => 12,
            Self::Problems => 13,
            Self::Refused => 14,
            Self::Unavailable => 15,
            Self::Damaged => 16,
            Self::Unauthorized => 17,
            Self::Forbidden => 18,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Problems | Self::Refused => 422,
            Self::Unavailable => 503,
            Self::Damaged => 500,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
        }
    }
}

/// `{ "code": number, "error": "text", "hint": "what to do" }`, with more fields where there are any.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which error.
    pub code: FailureCode,
    /// What is wrong.
    pub error: Cow<'static, str>,
    /// What to do.
    pub hint: Cow<'static, str>,
    /// More fields of the body, such as `problems`.
    /// Boxed, because errors travel in results.
    pub details: Option<Box<Value>>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u32,
    error: &'a str,
    hint: &'a str,
    #[serde(flatten)]
    details: Option<&'a Value>,
}

impl Failure {
    /// An error without further fields.
    pub fn new(
        code: FailureCode,
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            error: error.into(),
            hint: hint.into(),
            details: None,
        }
    }

    /// The same error with more fields in its body.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Value {
        let body = Body {
            code: self.code.number(),
            error: &self.error,
            hint: &self.hint,
            details: self.details.as_deref(),
        };
        serde_json::to_value(body).expect("invariant: plain data")
    }
}
