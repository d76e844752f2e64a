//! What stations and key-value buckets hold, of those that the function's document lists under `lookup`.
//!
//! ```
//! use millstream_guest::{CallError, stations, testing};
//!
//! fn seats(tailnum: &str) -> Result<Option<Vec<u8>>, CallError> {
//!     stations::value("planes", tailnum)
//! }
//! # testing::put_value("planes", "N14228", "149");
//! # assert_eq!(seats("N14228"), Ok(Some(b"149".to_vec())));
//! ```
//!
//! Natively these are maps of the thread, see [`crate::testing`].

use crate::{CallError, Interface};

/// A stored message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the stream.
    pub sequence: u64,
    /// When it was stored: nanoseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body, as it is stored.
    pub payload: Vec<u8>,
}

/// The newest message that a station has of a subject.
///
/// # Errors
/// The document does not list the station, or it cannot be read.
pub fn last(station: &str, subject: &str) -> Result<Option<Entry>, CallError> {
    host::last(station, subject).map_err(CallError::of(Interface::Stations))
}

/// The value of a key of a key-value bucket.
///
/// # Errors
/// The document does not list the bucket, or it cannot be read.
pub fn value(bucket: &str, key: &str) -> Result<Option<Vec<u8>>, CallError> {
    host::value(bucket, key).map_err(CallError::of(Interface::Stations))
}

/// The value of a key of a key-value bucket, read as JSON.
///
/// # Errors
/// As [`value`], or the value is no `T`.
#[cfg(feature = "json")]
pub fn value_json<T: serde::de::DeserializeOwned>(
    bucket: &str,
    key: &str,
) -> Result<Option<T>, CallError> {
    crate::json::value(Interface::Stations, key, value(bucket, key)?)
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::millstream::function::stations as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::stations_host as host;
