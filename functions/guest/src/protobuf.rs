//! Payloads as Protobuf messages, by `prost`; feature `protobuf`.
//!
//! ```
//! use millstream_guest::prelude::*;
//!
//! #[derive(prost::Message)]
//! struct Flight {
//!     #[prost(string, tag = "1")]
//!     carrier: String,
//!     #[prost(sint32, optional, tag = "2")]
//!     dep_delay: Option<i32>,
//! }
//!
//! fn early(message: Message) -> Result<Outcome, Rejection> {
//!     let mut flight: Flight = message.protobuf()?;
//!     flight.carrier.make_ascii_uppercase();
//!     Ok(Outcome::protobuf(&flight))
//! }
//! # let told = early(Message::with_payload([0xff])).expect_err("cut off");
//! # assert_eq!(told.code, "not_protobuf");
//! ```

use crate::{Message, Outcome, Output, Rejection};

/// The code of a payload that does not read as the message.
pub const NOT_PROTOBUF: &str = "not_protobuf";

impl Message {
    /// The payload read as a Protobuf message.
    ///
    /// # Errors
    /// A rejection: [`NOT_PROTOBUF`].
    pub fn protobuf<T: prost::Message + Default>(&self) -> Result<T, Rejection> {
        T::decode(self.payload.as_slice())
            .map_err(|error| Rejection::new(NOT_PROTOBUF, error.to_string()))
    }
}

impl Output {
    /// A message with this body, and the subject and headers of the input.
    #[must_use]
    pub fn protobuf(value: &impl prost::Message) -> Self {
        Self::new(value.encode_to_vec())
    }
}

impl Outcome {
    /// The message goes on with this body.
    #[must_use]
    pub fn protobuf(value: &impl prost::Message) -> Self {
        Self::Replace(Output::protobuf(value))
    }
}
