//! Requests to the hosts that the function's document lists under `http`.
//!
//! ```
//! use millstream_guest::web::{self, Request, Response};
//! use millstream_guest::{CallError, testing};
//!
//! fn weather(airport: &str) -> Result<Response, CallError> {
//!     web::fetch(&Request::get(format!("https://weather.example.org/{airport}")))
//! }
//! # testing::answer("https://weather.example.org/EWR", Response::new(200, "rain"));
//! # assert_eq!(weather("EWR").map(|answer| answer.body), Ok(b"rain".to_vec()));
//! ```
//!
//! Natively a request is answered by what a test registered, see [`crate::testing`].

use crate::{CallError, Interface};

/// A request. `http` and `https` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// Its whole address.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body, if any.
    pub body: Vec<u8>,
}

impl Request {
    /// A `GET` of this address.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            ..Self::default()
        }
    }

    /// A `POST` of this body to this address.
    #[must_use]
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            url: url.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// The same request with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer of this status and body, for tests.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }
}

/// Waits for the answer; any status is one.
///
/// # Errors
/// There is no answer: a host that is not listed, an address inside a private network, time that is over.
pub fn fetch(request: &Request) -> Result<Response, CallError> {
    host::fetch(request).map_err(CallError::of(Interface::Web))
}

#[cfg(target_arch = "wasm32")]
use crate::bindings::millstream::function::web as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::web_host as host;
