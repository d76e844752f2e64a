//! A dead letter of a flow, sent again: through that flow alone, and the letter goes in the same log entry.

use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::{Command, Outcome};
use millstream_pipeline::Rejection;
use millstream_streams::{ApiError, Command as StreamCommand, RecordOutcome};
use millstream_types::{Message, Timestamp};
use tokio::sync::oneshot;

use super::handle::Flow;
use super::made::{Condemned, Single};
use super::position::Position;
use super::select::Input;
use super::work::{Blocked, Work};
use crate::ingest::dead_letter_stream;
use crate::service::{Keep, Shared};

/// What became of a letter that was sent again.
#[derive(Clone, Debug, PartialEq)]
pub enum Resent {
    /// So many messages were made of it, and it is no letter any more.
    Stored(usize),
    /// Nothing was to be made of it, and it is no letter any more.
    Dropped,
    /// It was rejected again, and there is a letter of this sequence in its place.
    Rejected(Rejection, u64),
    /// A stage wants to see it again after this time; the letter stays.
    Retry(Duration),
    /// It cannot be stored now, and why; the letter stays.
    Refused(String),
}

impl Flow {
    /// Takes the original of a letter through the flow's stages and removes the letter, at once or not at all.
    pub async fn resend(&self, letter: u64, sequence: Option<u64>, original: Message) -> Resent {
        if self.setup().query.is_some() {
            let reason = "a query does not take a message a second time: publish what was mended on a subject that it reads";
            return Resent::Refused(reason.to_owned());
        }
        self.through(letter, sequence, original).await
    }

    async fn through(&self, letter: u64, sequence: Option<u64>, original: Message) -> Resent {
        let inner = self.inner();
        let _turn = inner.turn.lock().await;
        let (shared, setup) = (Arc::clone(&inner.shared), inner.setup.load_full());
        let own = Arc::clone(&shared);
        let effects = setup.effects.clone();
        let made = shared.runtime.spawn_blocking(move || {
            let cell = own.node.stream(&setup.from);
            let cell =
                cell.ok_or_else(|| Blocked::By(format!("there is no stream `{}`", setup.from)))?;
            let letters = dead_letter_stream(&setup.from);
            let letters = own.node.stream(&letters);
            let letters = letters.ok_or_else(|| Blocked::By("the letter is gone".to_owned()))?;
            let input = Input::new(&own, &setup, sequence, original, Timestamp::now());
            let work = Work {
                shared: &own,
                setup: &setup,
                cell: &cell,
                condemned: &Condemned::new(),
            };
            let nowhere = Position::default();
            let mut made = work.make(vec![input], &nowhere, nowhere.clone())?;
            // The flow stands where it stood.
            made.commands
                .retain(|command| !matches!(command, Command::Position { .. }));
            made.commands
                .push(Command::Stream(StreamCommand::DeleteMessage {
                    stream: letters.id,
                    seq: letter,
                    erase: true,
                }));
            Ok::<_, Blocked>(made)
        });
        let mut made = match made.await {
            Ok(Ok(made)) => made,
            Ok(Err(Blocked::By(reason))) => return Resent::Refused(reason),
            Ok(Err(Blocked::TooMuch(_))) => {
                return Resent::Refused("it makes more than one commit holds".to_owned());
            }
            Err(error) => return Resent::Refused(error.to_string()),
        };
        let decided = |ok| {
            if let Some(effects) = &effects {
                effects.committed(ok);
            }
        };
        if let Single::Retry(after) = made.single {
            decided(false);
            return Resent::Retry(after);
        }
        if let Some(stream) = made.forgetful(&shared) {
            decided(false);
            return Resent::Refused(format!(
                "stream `{stream}` is in memory: it would be forgotten"
            ));
        }
        let commands = std::mem::take(&mut made.commands);
        let outcome = commit(&shared, commands, made.count, made.keep).await;
        decided(matches!(outcome, Ok(Outcome::Several(_))));
        match outcome {
            Ok(Outcome::Several(parts)) => {
                shared.broadcast(&made.live);
                became(&parts, made.single)
            }
            Ok(Outcome::Unfit(part)) => Resent::Refused(part.error.to_string()),
            Ok(other) => Resent::Refused(format!("{other:?}")),
            Err(error) => Resent::Refused(error.to_string()),
        }
    }
}

/// What a message came to, when it is committed.
fn became(parts: &[Outcome], single: Single) -> Resent {
    match single {
        Single::Outputs(count) => Resent::Stored(count),
        Single::Rejected(why, (section, index)) => {
            let new = match parts.get(section) {
                Some(Outcome::Records(records)) => records.get(index),
                _ => None,
            };
            match new {
                Some(RecordOutcome::Stored(seq) | RecordOutcome::Duplicate(seq)) => {
                    Resent::Rejected(why, *seq)
                }
                _ => Resent::Rejected(why, 0),
            }
        }
        Single::Dropped | Single::Retry(_) => Resent::Dropped,
    }
}

/// Commits what is made of a message that is sent again.
async fn commit(
    shared: &Arc<Shared>,
    commands: Vec<Command>,
    count: u32,
    keep: Keep,
) -> Result<Outcome, ApiError> {
    let (tell, outcome) = oneshot::channel();
    let done = move |outcome| {
        let _gone = tell.send(outcome);
    };
    shared.propose_raw(0, count, keep, &Command::Whole(commands), done);
    outcome
        .await
        .unwrap_or_else(|_| Err(ApiError::internal("server is shutting down")))
}
