//! A batch that was run, and what can be told of it before the log is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_cluster::{Command, StreamCell};
use millstream_pipeline::Rejection;
use millstream_streams::{ApiError, Command as StreamCommand, StorageType};
use millstream_types::Message;

use super::position::Position;
use crate::service::{Keep, Shared};

/// A batch, ready to be committed.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) commands: Vec<Command>,
    /// Per command the input of each of its records.
    pub(crate) owners: Vec<Vec<usize>>,
    pub(crate) count: u32,
    pub(crate) keep: Keep,
    /// Outputs as live subscribers see them.
    pub(crate) live: Vec<Message>,
    /// Sequences of the inputs, as `owners` count them.
    pub(crate) inputs: Vec<Option<u64>>,
    /// Bytes of the outputs.
    pub(crate) bytes: usize,
    /// Inputs that nothing is kept of, and why.
    pub(crate) lost: Vec<(u64, String)>,
    /// Where the flow stands when this is committed.
    pub(crate) after: Position,
    /// What became of a single input, for who asks.
    pub(crate) single: Single,
}

impl Made {
    /// Inputs whose records no stream will ever take, or one that forgets them, and why; found without asking the log.
    pub(crate) fn hopeless(&self, shared: &Shared, flow: &str) -> BTreeMap<u64, Rejection> {
        let mut found = BTreeMap::new();
        for (command, owners) in self.commands.iter().zip(&self.owners) {
            let Command::Stream(StreamCommand::Publish(publish)) = command else {
                continue;
            };
            let Some(cell) = shared.node.stream_by_id(publish.stream) else {
                continue;
            };
            let seq_of = |owner: &usize| *self.inputs.get(*owner)?;
            let mut stream = cell.lock();
            if stream.config.storage == StorageType::Memory {
                for seq in owners.iter().filter_map(seq_of) {
                    let why = || in_memory(flow, &cell.name);
                    found.entry(seq).or_insert_with(why);
                }
                continue;
            }
            for misfit in stream.misfits(publish) {
                if let Some(seq) = owners.get(misfit.index).and_then(seq_of) {
                    let why = || refusal(flow, &misfit.error);
                    found.entry(seq).or_insert_with(why);
                }
            }
        }
        found
    }

    /// A stream in memory that it would be written to.
    pub(crate) fn forgetful(&self, shared: &Shared) -> Option<String> {
        self.commands.iter().find_map(|command| {
            let Command::Stream(StreamCommand::Publish(publish)) = command else {
                return None;
            };
            let cell = shared.node.stream_by_id(publish.stream)?;
            forgets(&cell).then(|| cell.name.clone())
        })
    }
}

/// Whether a stream is empty after a restart. Whether a batch is carried out is decided by what is stored, and decided once
/// more when the log is replayed: with such a stream in it, it could come out otherwise then.
pub(crate) fn forgets(cell: &StreamCell) -> bool {
    cell.lock().config.storage == StorageType::Memory
}

/// The rejection of an input whose outputs go to a stream in memory.
pub(crate) fn in_memory(flow: &str, stream: &str) -> Rejection {
    let reason = format!(
        "stream `{stream}` is in memory and flows cannot write to it: make it anew with `storage: file`, then send this again"
    );
    Rejection::new(&format!("flow:{flow}"), "memory_stream", &reason)
}

/// The rejection of an input whose outputs are refused.
pub(crate) fn refusal(flow: &str, error: &ApiError) -> Rejection {
    let code = if *error == ApiError::message_too_large() {
        "too_large"
    } else {
        "refused"
    };
    let reason = format!("the stream that it goes to refuses what it became: {error}");
    Rejection::new(&format!("flow:{flow}"), code, &reason)
}

/// What became of the last input.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Single {
    #[default]
    Dropped,
    Outputs(usize),
    /// With which record its letter is.
    Rejected(Rejection, (usize, usize)),
    Retry(Duration),
}

/// What becomes of an input that is not run any more.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// A dead letter.
    Letter(Rejection),
    /// Nothing: not even its letter is ever stored, and why.
    Lost(String),
}

/// Inputs whose outputs no stream will ever take.
pub(crate) type Condemned = BTreeMap<u64, Fate>;

/// Notes that what an input became is never stored: first its outputs or the stages' own letter, then the letter that says
/// so. False when there is nothing left to leave out.
pub(crate) fn condemn(condemned: &mut Condemned, seq: u64, why: Rejection) -> bool {
    let fate = match condemned.get(&seq) {
        None => Fate::Letter(why),
        Some(Fate::Letter(_)) => Fate::Lost(why.reason),
        Some(Fate::Lost(_)) => return false,
    };
    condemned.insert(seq, fate);
    true
}
