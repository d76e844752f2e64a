//! Whether a command that is carried out whole can be, decided before the first part of it is applied.

use std::collections::BTreeSet;

use millstream_streams::{ApiError, Command as StreamCommand, Misfit, Unfit};

use crate::command::Command;
use crate::node::{Node, UnfitPart};

impl Node {
    /// The first part that would be refused.
    pub(crate) fn unfit(&self, commands: &[Command]) -> Option<UnfitPart> {
        let mut streams = BTreeSet::new();
        let parts = commands.iter().enumerate();
        parts.into_iter().find_map(|(section, command)| {
            let misfit = match command {
                Command::Stream(StreamCommand::Publish(publish)) => {
                    // What one publish does to a stream is not foretold for the next one.
                    if !streams.insert(publish.stream) {
                        return Some(alone(section, ApiError::bad_request(), Unfit::Ever));
                    }
                    match self.registry().by_id(publish.stream) {
                        Some(cell) => cell.lock().misfit(publish)?,
                        None => {
                            return Some(alone(section, ApiError::stream_not_found(), Unfit::Now));
                        }
                    }
                }
                Command::Stream(StreamCommand::DeleteMessage { stream, seq, .. }) => {
                    let cell = self.registry().by_id(*stream);
                    let there = cell.is_some_and(|cell| cell.lock().locate(*seq).is_some());
                    let gone = ApiError::sequence_not_found(*seq);
                    return (!there).then(|| alone(section, gone, Unfit::Ever));
                }
                Command::Position { source, value } => {
                    let known = self.catalog().accepts_position(source, value);
                    let changed = ApiError::internal("it was restarted or deleted meanwhile");
                    return (!known).then(|| alone(section, changed, Unfit::Now));
                }
                Command::Catalog(command) => {
                    let catalog = self.catalog();
                    let known = command
                        .changes
                        .iter()
                        .all(|change| catalog.accepts_change(change));
                    let changed = ApiError::internal("the flow went on or was changed meanwhile");
                    return (!known).then(|| alone(section, changed, Unfit::Now));
                }
                Command::Stream(_) | Command::Several(_) | Command::Whole(_) => {
                    return Some(alone(section, ApiError::bad_request(), Unfit::Ever));
                }
            };
            let Misfit {
                index,
                error,
                unfit,
            } = misfit;
            Some(UnfitPart {
                section,
                index,
                error,
                unfit,
            })
        })
    }
}

fn alone(section: usize, error: ApiError, unfit: Unfit) -> UnfitPart {
    UnfitPart {
        section,
        index: 0,
        error,
        unfit,
    }
}

#[cfg(test)]
mod tests;
