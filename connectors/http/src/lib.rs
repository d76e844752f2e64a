//! HTTP in and out: a listener that answers after the commit, and webhooks.
//!
//! What lives here: [`HttpSource`], [`HttpSink`], [`Fetcher`], the signature both use, and the rule which addresses a webhook may reach.
//! What may not come in: supervision and retry (`connectors/runtime`), the management API, other systems.
//!
//! # Signature
//! With a `secret`, a request carries `Millstream-Signature: t=<unix seconds>,v1=<hex>` where `v1` is HMAC-SHA256 with the
//! secret as key over the text of `t`, a dot, and the body's bytes. To verify: split the header, compute the same over the
//! body exactly as received, compare in constant time, and refuse a `t` that is more than five minutes away (a replay).
//!
//! # Idempotency
//! `Millstream-Batch-Id: <station>-<first seq>-<last seq>-<count>-<time of the first>` is the same whenever the same records
//! are sent again in the same cut. A receiver that remembers the ids it accepted takes each batch once; one that stores
//! `station` and `seq` of each record takes each record once, whatever the cut.

mod addresses;
mod body;
mod client;
mod fetch;
mod poster;
mod request;
mod resolver;
mod signature;
mod sink;
mod source;

pub use addresses::is_public;
pub use fetch::{FetchRequest, FetchResponse, Fetcher};
pub use signature::{SIGNATURE_HEADER, SignatureError, sign, verify};
pub use sink::HttpSink;
pub use source::HttpSource;
