//! What tests of a node over a log in memory share.

use millstream_cluster::{Command, Node, Outcome};
use millstream_consensus::{Group, Proposal};
use millstream_journal::Durability;
use millstream_streams::Command as StreamCommand;

/// Proposes a command with `count` records of a stream, and answers what it came to.
pub(crate) async fn propose(
    group: &Group<Node>,
    (stream, count): (u32, u32),
    command: StreamCommand,
) -> Outcome {
    let (head, body) = Command::Stream(command).encode();
    let proposal = Proposal {
        stream,
        count,
        head,
        body,
        durability: Durability::Synced,
        important: false,
        compress: false,
    };
    group.propose(proposal).await.expect("committed")
}
