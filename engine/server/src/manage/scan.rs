//! Looking through a station's stored messages, piece by piece, away from the threads that carry data.

use bytes::Bytes;
use millstream_admin::{Failure, FailureCode};
use millstream_jetstream::{Reader, StoredRecord};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Messages read from the log at once: what is in memory of a scan.
const PAGE: usize = 256;
/// Messages between two lines that say how far it is.
const STEP: u64 = 16_384;

/// Which messages, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) station: String,
    pub(super) from: u64,
    /// The last sequence there was when the scan began.
    pub(super) to: u64,
    pub(super) limit: u64,
}

/// What looks at messages.
pub(super) trait Visit: Send + 'static {
    fn message(&mut self, record: &StoredRecord);
}

/// Where lines of an answer go.
pub(super) type Lines = mpsc::Sender<Bytes>;

/// A line of the answer; false when nobody listens any more.
pub(super) async fn line(lines: &Lines, value: &Value) -> bool {
    lines.send(format!("{value}\n").into()).await.is_ok()
}

/// Shows every message of the range to `visitor`. `None` when nobody waits for the answer any more.
pub(super) async fn scan<V: Visit>(
    reader: Reader,
    range: Range,
    mut visitor: V,
    lines: &Lines,
) -> Result<Option<(V, u64)>, Failure> {
    let (mut next, mut seen, mut told) = (range.from, 0_u64, 0_u64);
    while next <= range.to && seen < range.limit {
        if lines.is_closed() {
            return Ok(None);
        }
        let page = PAGE.min(usize::try_from(range.limit - seen).unwrap_or(PAGE));
        let (own, station, to) = (reader.clone(), range.station.clone(), range.to);
        let looked = tokio::task::spawn_blocking(move || {
            let found = own.range(&station, next, page);
            let found = found.map_err(|error| error.to_string())?;
            let mut count = 0_u64;
            let mut after = None;
            for record in found.iter().take_while(|record| record.seq <= to) {
                visitor.message(record);
                count += 1;
                after = Some(record.seq + 1);
            }
            Ok::<_, String>((visitor, count, after))
        });
        let looked = looked
            .await
            .map_err(|error| gone_wrong(&error.to_string()))?;
        let (back, count, after) = looked
            .map_err(|error| Failure::new(FailureCode::Damaged, error, "see the server's log"))?;
        visitor = back;
        seen += count;
        let Some(after) = after else { break };
        next = after;
        if seen - told >= STEP {
            told = seen;
            if !line(
                lines,
                &json!({ "progress": { "looked_at": seen, "seq": next - 1 } }),
            )
            .await
            {
                return Ok(None);
            }
        }
    }
    Ok(Some((visitor, seen)))
}

/// A check that did not end by itself.
pub(super) fn gone_wrong(reason: &str) -> Failure {
    Failure::new(
        FailureCode::Unavailable,
        format!("looking at messages failed: {reason}"),
        "see the server's log",
    )
}
