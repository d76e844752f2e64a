//! What a peer did wrong, in the words nats-server puts into `-ERR '…'`.

use millstream_types::{Domain, Retry};
use thiserror::Error;

/// Why a connection cannot go on. `Display` is the text of the `-ERR` line, so it keeps nats-server's capitals:
/// client libraries compare it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProtocolError {
    /// The line starts with no operation of the protocol, or a payload is not followed by CR LF.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// The operation is known, its arguments are too few, too many or no numbers.
    #[error("Parser Error")]
    Arguments,
    /// The line is longer than `max_control_line`.
    #[error("maximum control line exceeded")]
    ControlLine,
    /// Headers and payload together are larger than `max_payload`.
    #[error("Maximum Payload Violation")]
    Payload,
}

impl ProtocolError {
    /// Whose fault: always the peer's.
    #[must_use]
    pub fn domain(&self) -> Domain {
        Domain::Client
    }

    /// The same bytes fail the same way.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Never
    }
}
