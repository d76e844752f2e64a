//! Runs connectors: one supervised task per source or sink, with back-off, batches, dead letters and a status.
//!
//! What lives here: [`run_source`] and [`run_sink`], their [`Handle`] and [`Status`], and the [`Catalog`] of connectors a
//! server offers. Feature `testing` adds the compliance suite for sinks.
//! What may not come in: any particular outside system; the log, streams or consumers (they come in as
//! [`SourceContext`](millstream_connector_api::SourceContext) and [`SinkFeed`](millstream_connector_api::SinkFeed)).
//!
//! ```text
//!            build            Ok            error, retryable: pause, doubled each time
//! starting ───────► running ─────► finished  ─────► retrying ──► running …
//!                     │ error, fatal: failed (until it is applied again)     stop(): stopped
//! ```
//! A panic inside a connector counts as a retryable error; its source or sink is built anew.

mod backoff;
mod catalog;
mod deliver;
mod handle;
mod sink;
mod source;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backoff::Backoff;
pub use catalog::Catalog;
pub use handle::Handle;
pub use sink::run_sink;
pub use source::run_source;
pub use status::{State, Status};
