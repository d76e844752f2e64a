//! The function's own key-value bucket: what it remembers. Needs `state: {}` in its document.
//!
//! A batch sees what it and the batches before it wrote. What it writes is committed together with the messages it
//! gives; a call that fails leaves nothing behind.
//!
//! ```
//! use millstream_guest::{CallError, bucket};
//!
//! fn count(carrier: &str) -> Result<u64, CallError> {
//!     let before = bucket::get(carrier)?.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
//!     let now = before.unwrap_or(0) + 1;
//!     bucket::set(carrier, now.to_string())?;
//!     Ok(now)
//! }
//! # assert_eq!((count("UA"), count("UA")), (Ok(1), Ok(2)));
//! ```
//!
//! Natively this is a map of the thread, see [`crate::testing`].

use crate::{CallError, Interface};

/// The value of a key.
///
/// # Errors
/// The key is none, or the log cannot be read.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, CallError> {
    host::get(key).map_err(CallError::of(Interface::Bucket))
}

/// Sets a key.
///
/// # Errors
/// The key is none (letters, digits, `-/_=.`, no `.` at either end) or the value has more than 1 MiB.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), CallError> {
    host::set(key, value.as_ref()).map_err(CallError::of(Interface::Bucket))
}

/// Removes a key.
///
/// # Errors
/// The key is none.
pub fn delete(key: &str) -> Result<(), CallError> {
    host::delete(key).map_err(CallError::of(Interface::Bucket))
}

/// The value of a key, read as JSON.
///
/// # Errors
/// As [`get`], or the value is no `T`.
#[cfg(feature = "json")]
pub fn get_json<T: serde::de::DeserializeOwned>(key: &str) -> Result<Option<T>, CallError> {
    crate::json::value(Interface::Bucket, key, get(key)?)
}

/// Sets a key to a value written as JSON.
///
/// # Errors
/// As [`set`], or the value cannot be written as JSON.
#[cfg(feature = "json")]
pub fn set_json<T: serde::Serialize + ?Sized>(key: &str, value: &T) -> Result<(), CallError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| CallError::of(Interface::Bucket)(format!("`{key}`: {error}")))?;
    set(key, text)
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::millstream::function::bucket as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::bucket_host as host;
