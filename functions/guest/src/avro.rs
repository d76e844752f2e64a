//! Payloads by an Avro schema; feature `avro`. A payload is the bare datum, without a header or a schema of its own.
//!
//! ```
//! use millstream_guest::avro::Schema;
//! use millstream_guest::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Flight {
//!     carrier: String,
//!     dep_delay: Option<i32>,
//! }
//!
//! struct Early(Schema);
//!
//! impl Default for Early {
//!     fn default() -> Self {
//!         let text = r#"{"type": "record", "name": "Flight", "fields": [
//!             {"name": "carrier", "type": "string"},
//!             {"name": "dep_delay", "type": ["null", "int"]}]}"#;
//!         Self(Schema::parse(text).expect("a constant that reads"))
//!     }
//! }
//!
//! impl Early {
//!     fn look(&self, message: &Message) -> Result<Outcome, Rejection> {
//!         let mut flight: Flight = self.0.read(message)?;
//!         flight.dep_delay = flight.dep_delay.map(|minutes| minutes.max(0));
//!         Ok(Outcome::Replace(self.0.write(&flight)?))
//!     }
//! }
//!
//! impl Function for Early {
//!     fn process(&mut self, message: Message) -> Outcome {
//!         self.look(&message).into()
//!     }
//! }
//! # let mut early = Early::default();
//! # assert_eq!(early.process(Message::with_payload(b"\x04UA\x02\x03")), Outcome::replace(b"\x04UA\x02\x00"));
//! # let Outcome::Reject(told) = early.process(Message::with_payload(b"\x04U")) else { panic!("cut off") };
//! # assert_eq!(told.code, "not_avro");
//! export!(Early);
//! ```

use apache_avro::reader::datum::GenericDatumReader;
pub use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Message, Output, Rejection};

/// The code of a payload that does not read by the schema.
pub const NOT_AVRO: &str = "not_avro";
/// The code of an answer that the schema has no place for.
pub const UNWRITABLE: &str = "unwritable";

/// A parsed schema. Parse it once, not for each message.
#[derive(Clone, Debug)]
pub struct Schema(apache_avro::Schema);

impl Schema {
    /// A schema from its JSON text.
    ///
    /// # Errors
    /// What is wrong with the text; good to return from `configure`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let schema = apache_avro::Schema::parse_str(text);
        schema.map(Self).map_err(|error| error.to_string())
    }

    /// The payload as a value of Rust.
    ///
    /// # Errors
    /// A rejection: [`NOT_AVRO`].
    pub fn read<T: DeserializeOwned>(&self, message: &Message) -> Result<T, Rejection> {
        self.datum(message, |reader, rest| reader.read_deser(rest))
    }

    /// The payload as a value that knows its Avro type.
    ///
    /// # Errors
    /// A rejection: [`NOT_AVRO`].
    pub fn read_value(&self, message: &Message) -> Result<Value, Rejection> {
        self.datum(message, |reader, rest| reader.read_value(rest))
    }

    /// A message with this value as its body, and the subject and headers of the input.
    ///
    /// # Errors
    /// A rejection: [`UNWRITABLE`].
    pub fn write<T: Serialize>(&self, value: &T) -> Result<Output, Rejection> {
        let writer = GenericDatumWriter::builder(&self.0).build();
        let datum = writer.and_then(|writer| writer.write_ser_to_vec(value));
        datum
            .map(Output::new)
            .map_err(|error| Rejection::new(UNWRITABLE, error.to_string()))
    }

    /// A message with this value as its body, and the subject and headers of the input.
    ///
    /// # Errors
    /// A rejection: [`UNWRITABLE`].
    pub fn write_value(&self, value: Value) -> Result<Output, Rejection> {
        let writer = GenericDatumWriter::builder(&self.0).build();
        let datum = writer.and_then(|writer| writer.write_value_to_vec(value));
        datum
            .map(Output::new)
            .map_err(|error| Rejection::new(UNWRITABLE, error.to_string()))
    }

    fn datum<T>(
        &self,
        message: &Message,
        read: impl FnOnce(&GenericDatumReader<'_>, &mut &[u8]) -> Result<T, apache_avro::Error>,
    ) -> Result<T, Rejection> {
        let mut rest = message.payload.as_slice();
        let reader = GenericDatumReader::builder(&self.0).build();
        let value = reader
            .and_then(|reader| read(&reader, &mut rest))
            .map_err(|error| Rejection::new(NOT_AVRO, error.to_string()))?;
        // Bytes behind the datum mean that it was written by another schema and reads by chance.
        if !rest.is_empty() {
            let reason = format!("{} bytes behind the end of the value", rest.len());
            return Err(Rejection::new(NOT_AVRO, reason));
        }
        Ok(value)
    }
}
