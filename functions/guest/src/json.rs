//! Payloads and values as JSON; feature `json`.
//!
//! ```
//! use millstream_guest::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Flight {
//!     carrier: String,
//!     dep_delay: Option<f64>,
//! }
//!
//! fn late(message: Message) -> Result<Outcome, Rejection> {
//!     let flight: Flight = message.json()?;
//!     if flight.dep_delay.is_none() {
//!         return Ok(Outcome::Drop);
//!     }
//!     Ok(Outcome::json(&flight))
//! }
//! # let told = late(Message::with_payload("{")).expect_err("no JSON");
//! # assert_eq!(told.code, "not_json");
//! ```

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};

use crate::{CallError, Interface, Message, Outcome, Output, Rejection};

/// The code of a payload that is no JSON at all.
pub const NOT_JSON: &str = "not_json";
/// The code of a payload that is JSON of another shape than the function expects.
pub const WRONG_SHAPE: &str = "wrong_shape";
/// The code of an answer that cannot be written, such as a map whose keys are no texts.
pub const UNWRITABLE: &str = "unwritable";

impl Message {
    /// The payload read as JSON.
    ///
    /// # Errors
    /// A rejection: [`NOT_JSON`] or [`WRONG_SHAPE`].
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Rejection> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            let code = if error.is_data() {
                WRONG_SHAPE
            } else {
                NOT_JSON
            };
            Rejection::new(code, error.to_string())
        })
    }
}

impl Output {
    /// A message with this value as its body, and the subject and headers of the input.
    ///
    /// # Errors
    /// A rejection: [`UNWRITABLE`].
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Rejection> {
        let text = serde_json::to_vec(value);
        text.map(Self::new)
            .map_err(|error| Rejection::new(UNWRITABLE, error.to_string()))
    }
}

impl Outcome {
    /// The message goes on with this value as its body; it is rejected when that cannot be written as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        Output::json(value).map(Self::Replace).into()
    }
}

/// A stored value read as JSON; names the key when it is none.
pub(crate) fn value<T: DeserializeOwned>(
    interface: Interface,
    key: &str,
    found: Option<Vec<u8>>,
) -> Result<Option<T>, CallError> {
    let Some(text) = found else {
        return Ok(None);
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| CallError::of(interface)(format!("the value of `{key}`: {error}")))
}
