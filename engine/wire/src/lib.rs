//! The NATS client protocol as pure functions: bytes to operations and back.
//!
//! What lives here: the parser a server needs ([`Parser`]), the one a client needs ([`ServerParser`]), the
//! encoders of both directions, and the JSON bodies of CONNECT and INFO.
//! What may not come in: sockets, tasks, clocks, routing, any decision about who may do what.
//!
//! Both parsers work in place over a buffer of the caller, allocate nothing, and look at no byte twice when an
//! operation arrives in pieces. The operations borrow from that buffer.

mod args;
mod client;
mod connect;
mod encode;
mod error;
mod info;
mod server;

pub use client::{ClientOp, Limits, Parser};
pub use connect::ConnectOptions;
pub use encode::{
    OK, PING, PONG, put_connect, put_error, put_hmsg, put_hmsg_head, put_hpub, put_info,
    put_message, put_msg, put_msg_head, put_number, put_pub, put_sub, put_unsub,
};
pub use error::ProtocolError;
pub use info::ServerInfo;
pub use server::{ServerOp, ServerParser, parse_server_op};

#[cfg(test)]
mod tests;
