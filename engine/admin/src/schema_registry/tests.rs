//! The interface over HTTP, without a broker.
