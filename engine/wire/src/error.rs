//! What a peer did wrong, in the words nats-server puts into `-ERR '…'`.

use millstream_types::{Domain, Retry};
use thiserror::Error;

/// Why a connection cannot go on. `Display` is the text of the `-ERR` line, so it keeps nats-server's capitals:
/// client libraries compare it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}", self.text())]
pub enum ProtocolError {
    /// The line starts with no operation of the protocol, or a payload is not followed by CR LF.
    UnknownOperation,
    /// The operation is known, its arguments are too few, too many or no numbers.
    Arguments,
    /// The line is longer than `max_control_line`.
    ControlLine,
    /// Headers and payload together are larger than `max_payload`.
    Payload,
}

impl ProtocolError {
    /// What stands between the quotes of the `-ERR` line.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownOperation => "Unknown Protocol Operation",
            Self::Arguments => "Parser Error",
            Self::ControlLine => "maximum control line exceeded",
            Self::Payload => "Maximum Payload Violation",
        }
    }

    /// Whose fault: always the peer's.
    #[must_use]
    pub fn domain(self) -> Domain {
        Domain::Client
    }

    /// The same bytes fail the same way.
    #[must_use]
    pub fn retry(self) -> Retry {
        Retry::Never
    }
}
