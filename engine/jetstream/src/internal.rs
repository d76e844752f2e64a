//! Streams that only the server writes: what flows remember. Clients neither see them in lists nor change them.

use std::sync::Arc;

use millstream_cluster::{Node, StreamCell};

/// What the names of such streams begin with, see [`crate::state_stream`].
const PREFIX: &str = "FLOWSTATE_";

/// Whether a name is that of a stream which only the server writes.
#[must_use]
pub fn is_internal(stream: &str) -> bool {
    stream.starts_with(PREFIX)
}

/// The streams that are not internal.
#[must_use]
pub fn shown_streams(node: &Node) -> Vec<Arc<StreamCell>> {
    let mut streams = node.streams();
    streams.retain(|cell| !is_internal(&cell.name));
    streams
}

/// Why a client may not make, change or write a stream of this name.
///
/// # Errors
/// The reason, for people.
pub(crate) fn not_internal(stream: &str) -> Result<(), String> {
    match stream.strip_prefix(PREFIX) {
        None => Ok(()),
        Some(flow) => Err(format!(
            "stream `{stream}` is what a flow remembers, and only flow `{flow}` writes it: `millstream delete flow {flow}` removes it with the flow"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_internal, not_internal};
    use crate::state_stream;

    #[test]
    fn what_flows_remember_is_internal() {
        let state = state_stream("delays");
        assert!(is_internal(&state));
        let why = not_internal(&state).expect_err("internal");
        assert!(why.contains("only flow `delays` writes it"), "{why}");
        assert!(!is_internal("delays"));
        assert_eq!(not_internal("delays"), Ok(()));
    }
}
