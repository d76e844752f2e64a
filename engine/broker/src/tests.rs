//! Real sockets against the broker.
