//! Who may connect: credentials compared with what the operator configured. Pure decisions.
//!
//! What lives here: user and password, token, and the constant-time compare behind both.
//! What may not come in: sockets, files, clocks, configuration syntax, any protocol.

mod authenticator;

pub use authenticator::{Authenticator, Credentials, Decision, User};
