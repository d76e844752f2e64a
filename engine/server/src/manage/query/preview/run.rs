//! The thread of a preview.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_admin::{Failure, FailureCode};
use millstream_jetstream::{Preview, Shown};
use millstream_pipeline::{DataflowStatus, Origin, Output, Rejection};
use millstream_types::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Look;

/// Between two reports of how far it is.
const REPORT: Duration = Duration::from_secs(1);
/// Late and rejected messages that are shown; the others are counted.
const SHOWN: u64 = 10;
/// Characters of a payload that are shown.
const PAYLOAD: usize = 1000;
/// Bytes of lines that are told at once.
const PIECE: usize = 64 << 10;

/// Nobody listens any more.
struct Gone;

#[derive(Default)]
struct Counts {
    messages: u64,
    results: u64,
    inserts: u64,
    updates: u64,
    deletes: u64,
    rejected: u64,
    late_shown: u64,
}

pub(super) struct Run {
    look: Look,
    preview: Preview,
    lines: mpsc::Sender<Bytes>,
    runtime: Handle,
    begun: Instant,
    told: Instant,
    counts: Counts,
    status: DataflowStatus,
    piece: Vec<u8>,
}

impl Run {
    pub(super) fn new(
        look: Look,
        preview: Preview,
        lines: mpsc::Sender<Bytes>,
        runtime: Handle,
    ) -> Self {
        Self {
            look,
            preview,
            lines,
            runtime,
            begun: Instant::now(),
            told: Instant::now(),
            counts: Counts::default(),
            status: DataflowStatus::default(),
            piece: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        let Ok(ended) = self.looked() else { return };
        let last = match ended {
            Ok(why) => {
                let mut end = self.numbers();
                end["ended"] = why.into();
                json!({ "end": end })
            }
            Err(failure) => failure.body(),
        };
        // Whether anybody still listens no longer matters.
        let _gone = self.line(&last).and_then(|()| self.send());
    }

    /// Looks until there is a reason to end.
    fn looked(&mut self) -> Result<Result<&'static str, Failure>, Gone> {
        self.head()?;
        loop {
            let turn = match self.preview.turn() {
                Ok(turn) => turn,
                Err(why) => {
                    let hint = "mend the query or the message, or begin behind it with `from`";
                    return Ok(Err(Failure::new(FailureCode::Refused, why, hint)));
                }
            };
            self.counts.messages += turn.messages;
            self.status = turn.status;
            self.refused(turn.late, turn.rejected)?;
            for output in &turn.outputs {
                self.result(output)?;
                if self.counts.results >= self.look.limit {
                    return Ok(Ok("limit"));
                }
            }
            if turn.caught_up && !self.look.follow {
                return Ok(Ok("history"));
            }
            if self.left().is_zero() {
                return Ok(Ok("deadline"));
            }
            if self.told.elapsed() >= REPORT {
                self.told = Instant::now();
                if self.look.progress {
                    let progress = json!({ "progress": self.numbers() });
                    self.line(&progress)?;
                }
            }
            self.send()?;
            if turn.caught_up {
                self.wait()?;
            }
        }
    }

    fn head(&mut self) -> Result<(), Gone> {
        let compiled = &self.look.compiled;
        let columns = compiled.columns.iter();
        let columns = columns
            .map(|column| json!({ "name": column.name, "type": column.kind.to_string() }))
            .collect::<Vec<_>>();
        let head = json!({ "columns": columns, "updating": compiled.is_updating,
            "subjects": self.look.subjects, "sources": self.preview.sources(), "plan": compiled.explain });
        self.line(&head)?;
        self.send()
    }

    /// A result as a line.
    fn result(&mut self, output: &Output) -> Result<(), Gone> {
        let counts = &mut self.counts;
        counts.results += 1;
        let changes = self.look.compiled.is_updating;
        if changes {
            let is = |op: &str| output.payload.starts_with(op.as_bytes());
            counts.inserts += u64::from(is("{\"op\":\"insert\""));
            counts.updates += u64::from(is("{\"op\":\"update\""));
            counts.deletes += u64::from(is("{\"op\":\"delete\""));
        }
        if counts.results > self.look.told {
            return Ok(());
        }
        let start: &[u8] = if changes {
            b"{\"change\":"
        } else {
            b"{\"row\":"
        };
        self.piece.extend_from_slice(start);
        self.piece.extend_from_slice(&output.payload);
        if self.look.subjects {
            let subject = String::from_utf8_lossy(&output.subject);
            let subject = format!(",\"subject\":{}", Value::from(subject.as_ref()));
            self.piece.extend_from_slice(subject.as_bytes());
        }
        self.piece.extend_from_slice(b"}\n");
        if self.piece.len() >= PIECE {
            return self.send();
        }
        Ok(())
    }

    /// The first messages that are no part of the result, and why.
    fn refused(
        &mut self,
        late: Vec<(Origin, Rejection)>,
        rejected: Vec<(Origin, Rejection)>,
    ) -> Result<(), Gone> {
        for (origin, why) in late {
            if self.counts.late_shown < SHOWN {
                self.counts.late_shown += 1;
                let shown = shown(self.preview.shown(origin), &why);
                self.line(&json!({ "late": shown }))?;
            }
        }
        for (origin, why) in rejected {
            self.counts.rejected += 1;
            if self.counts.rejected <= SHOWN {
                let shown = shown(self.preview.shown(origin), &why);
                self.line(&json!({ "rejected": shown }))?;
            }
        }
        Ok(())
    }

    /// How far it is.
    fn numbers(&self) -> Value {
        let (counts, status) = (&self.counts, &self.status);
        let sources = self.preview.sources();
        let left: u64 = sources.iter().map(|source| source.lag_messages).sum();
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut numbers =
            json!({ "messages": counts.messages, "left": left, "results": counts.results });
        if self.look.compiled.is_updating {
            numbers["inserts"] = counts.inserts.into();
            numbers["updates"] = counts.updates.into();
            numbers["deletes"] = counts.deletes.into();
        }
        numbers["late"] = status.late.into();
        numbers["rejected"] = counts.rejected.into();
        numbers["watermark"] = json!(status.watermark.map(Timestamp::to_rfc3339));
        numbers["state_rows"] = status.state_rows.into();
        numbers["state_bytes"] = status.state_bytes.into();
        numbers["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
        numbers["sources"] = json!(sources);
        numbers
    }

    fn line(&mut self, line: &Value) -> Result<(), Gone> {
        self.piece.extend_from_slice(line.to_string().as_bytes());
        self.piece.push(b'\n');
        match self.piece.len() >= PIECE {
            true => self.send(),
            false => Ok(()),
        }
    }

    /// What is left of its time.
    fn left(&self) -> Duration {
        self.look.time.saturating_sub(self.begun.elapsed())
    }

    /// Sends what is written. One who does not read it until the time is over has gone, too.
    fn send(&mut self) -> Result<(), Gone> {
        if self.piece.is_empty() {
            return match self.lines.is_closed() {
                true => Err(Gone),
                false => Ok(()),
            };
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let sending = self.lines.send_timeout(piece, self.left().max(REPORT));
        self.runtime.block_on(sending).map_err(|_| Gone)
    }

    /// Waits for messages, the next report, or what the query waits for.
    fn wait(&self) -> Result<(), Gone> {
        let mut most = REPORT.saturating_sub(self.told.elapsed()).min(self.left());
        if let Some(due) = self.status.next_wake {
            most = most.min(due.since(Timestamp::now()));
        }
        let most = most.max(Duration::from_millis(1));
        self.runtime.block_on(async {
            tokio::select! {
                () = self.lines.closed() => Err(Gone),
                () = self.preview.wait(most) => Ok(()),
            }
        })
    }
}

/// A message that is no part of the result.
fn shown(what: Shown, why: &Rejection) -> Value {
    let cut = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        match text.char_indices().nth(PAYLOAD) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.into_owned(),
        }
    };
    let mut line = match what {
        Shown::Message {
            station,
            sequence,
            message,
        } => {
            let (subject, payload) = match &message {
                Some(message) => (Some(cut(&message.subject)), Some(cut(&message.payload))),
                None => (None, None),
            };
            json!({ "station": station, "sequence": sequence, "subject": subject, "payload": payload })
        }
        Shown::Row(row) => json!({ "payload": cut(&row) }),
    };
    line["code"] = why.code.as_str().into();
    line["reason"] = why.reason.as_str().into();
    line
}
