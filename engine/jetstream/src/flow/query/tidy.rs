//! What versions of a query leave in its state stream that do not run any more.

use std::collections::BTreeSet;

use millstream_cluster::Command;
use millstream_streams::{Command as StreamCommand, Purge};
use millstream_types::Timestamp;
use tracing::warn;

use super::store::{kept_subjects, own_subjects, part_of, state_stream};
use crate::service::JetStream;

impl JetStream {
    /// Removes state of versions that neither run nor are built. Those that were must be stopped.
    pub async fn tidy_state(&self, flow: &str) {
        for filter in self.left_behind(flow) {
            let Some(cell) = self.shared.node.stream(&state_stream(flow)) else {
                return;
            };
            let purge = Command::Stream(StreamCommand::Purge(Purge {
                stream: cell.id,
                time: Timestamp::now(),
                filter: Some(filter),
                ..Purge::default()
            }));
            if let Err(error) = self.shared.propose_wait(&purge).await {
                warn!(target: "nats", "state that flow `{flow}` does not need stays for now: {error}");
            }
        }
    }

    fn left_behind(&self, flow: &str) -> BTreeSet<String> {
        let Some(cell) = self.shared.node.stream(&state_stream(flow)) else {
            return BTreeSet::new();
        };
        // Before the catalog: what is declared meanwhile has no state yet.
        let subjects = cell.lock().subjects(b">");
        let catalog = self.shared.node.catalog();
        let Some(entry) = catalog.flows.get(flow) else {
            return BTreeSet::new();
        };
        let build = entry.build.as_ref().map(|build| build.run);
        let left = subjects.keys().filter_map(|subject| {
            let (part, kept) = part_of(flow, subject)?;
            let runs = part == entry.part;
            match part {
                Some(part) if runs && kept => Some(kept_subjects(flow, part)),
                Some(part) if build == Some(part) => None,
                part => (!runs).then(|| own_subjects(flow, part)),
            }
        });
        left.collect()
    }
}
