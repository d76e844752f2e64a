//! The schema registry's doors: Confluent's interface over HTTP, and the same requests as `$MS.API.SCHEMA.<VERB>`.
//!
//! One table ([`routes::ROUTES`]) says which path and method is which request; what requests mean is in `schemas/registry`.

mod http;
mod nats;
mod path;
mod routes;

pub(crate) use self::http::{own_port, router};
pub use self::nats::{SCHEMA_PREFIX, error_body, reply_body, schema_request};
pub(crate) use self::routes::ROUTES;

#[cfg(test)]
mod tests;
