//! What comes due in streams: ages, markers, schedules. The leader's clock becomes a command, because applying one must not
//! read a clock.
//!
//! There is one alarm per stream that waits for a moment; everything else costs nothing. When it rings, what is due is
//! gathered, scheduled messages are made, and one command deals with it.

use std::sync::Arc;
use std::time::Duration;

use millstream_cluster::{Command, StreamCell};
use millstream_streams::{
    Command as StreamCommand, Due, DueSchedule, Fire, Pending, RecordsBuilder, Scheduled, fire,
    schedule_source,
};
use millstream_types::Timestamp;

use crate::read::read;
use crate::service::Shared;

/// How long it sleeps at most: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(1);
/// Bytes of scheduled messages that one command brings along, about.
const HELPING: usize = 1 << 20;
/// How long a stream is left alone when the log takes nothing, or a schedule when it cannot be read.
const PAUSE: Duration = Duration::from_secs(10);

/// Starts dealing with what comes due.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let node = Arc::clone(&shared.node);
    shared.runtime.spawn(async move {
        loop {
            let due = node.first_due().unwrap_or(Timestamp(i64::MAX));
            let rest = due.since(Timestamp::now()).min(LONGEST);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = node.due_earlier() => {}
            }
            let Some(shared) = weak.upgrade() else { return };
            let now = Timestamp::now();
            while let Some(cell) = node.next_due(now) {
                attend(&shared, cell, now);
            }
        }
    });
}

/// Proposes what deals with what is due in a stream.
fn attend(shared: &Arc<Shared>, cell: Arc<StreamCell>, now: Timestamp) {
    let pending = cell.lock().pending(now);
    if pending.schedules.is_empty() {
        propose(
            shared,
            cell,
            now,
            &pending,
            Vec::new(),
            RecordsBuilder::new(),
        );
        return;
    }
    // Schedules are read from disk.
    let shared = Arc::clone(shared);
    shared.runtime.clone().spawn_blocking(move || {
        let mut records = RecordsBuilder::new();
        let mut fires = Vec::new();
        for due in &pending.schedules {
            if records.bytes_len() >= HELPING {
                break;
            }
            let (fire, made) = fire_one(&shared, &cell, due, now);
            fires.push(fire);
            if let Some(made) = made {
                records.push(&made.subject, &made.headers, &made.payload);
            }
        }
        propose(&shared, cell, now, &pending, fires, records);
    });
}

/// What becomes of a schedule. One that cannot be read is kept and tried again.
fn fire_one(
    shared: &Shared,
    cell: &StreamCell,
    due: &DueSchedule,
    now: Timestamp,
) -> (Fire, Option<Scheduled>) {
    let nothing = Fire {
        seq: due.seq,
        next: Some(now.plus(PAUSE)),
        makes: false,
    };
    // Applying it drops a schedule that does not stand.
    if !due.stands {
        return (nothing, None);
    }
    let firing = (|| -> Result<_, String> {
        let record = read(shared, cell, due.seq).map_err(|error| error.to_string())?;
        let Some(record) = record else {
            return Ok(None);
        };
        let schedule = record.view();
        let last = schedule_source(&schedule).and_then(|source| cell.lock().last_for(&source));
        let source = match last {
            Some(seq) => read(shared, cell, seq).map_err(|error| error.to_string())?,
            None => None,
        };
        let view = source.as_ref().map(|source| source.view());
        let firing = fire(&schedule, view.as_ref(), due.due, now);
        firing.map(Some).map_err(|error| error.to_string())
    })();
    match firing {
        Ok(Some(firing)) => {
            let fire = Fire {
                seq: due.seq,
                next: firing.next,
                makes: firing.message.is_some(),
            };
            (fire, firing.message)
        }
        Ok(None) => (nothing, None),
        Err(error) => {
            tracing::warn!(target: "nats", "schedule {} of stream `{}` makes nothing: {error}", due.seq, cell.name);
            (nothing, None)
        }
    }
}

fn propose(
    shared: &Arc<Shared>,
    cell: Arc<StreamCell>,
    now: Timestamp,
    pending: &Pending,
    fires: Vec<Fire>,
    mut records: RecordsBuilder,
) {
    cell.lock().put_markers(&pending.markers, &mut records);
    let (records, count) = records.take();
    let command = Command::Stream(StreamCommand::Due(Due {
        stream: cell.id,
        now,
        fires,
        count,
        records,
    }));
    let node = Arc::clone(&shared.node);
    let done = Arc::clone(&cell);
    shared.propose(&cell, count, &command, move |outcome| {
        let pause = outcome.err().map(|error| {
            tracing::warn!(target: "nats", "what is due in stream `{}` has to wait: {error}", done.name);
            Timestamp::now().plus(PAUSE)
        });
        node.dealt_with(&done, pause);
    });
}
