//! Rows that wait for the end of their session, or are told again with each change of it.
//!
//! State: `0` and the row's number: version, the partition's key, the time of the row, how often it is there, the row. Numbers
//! are big-endian.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray};
use arrow::datatypes::DataType;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::row::SortField;
use datafusion::common::{Result, exec_err, internal_datafusion_err};
use millstream_pipeline::BrokenState;

use super::SessionPlan;
use super::sessions::{Kept, Segment, Session, Sessions, Span};
use crate::continuous::delta::Delta;
use crate::continuous::operator::{Input, Operator, Step};
use crate::continuous::parts::{
    Encoder, Table, each_evaluated, number, put_blob, row_entry, row_key, times,
};

const VERSION: u8 = 1;

/// What lists need for a row beside its bytes.
const OVERHEAD: u64 = 72;

/// Most rows of an output.
const MOST: usize = 8192;

pub(super) struct Assignment {
    plan: SessionPlan,
    partitions: Encoder,
    rows: Encoder,
    table: Table<Sessions>,
    /// The next number of a row.
    next: u64,
    kept: u64,
    bytes: u64,
    /// Whether there were entries since the last step.
    restored: bool,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment")
            .field("partitions", &self.table.len())
            .field("rows", &self.kept)
            .finish_non_exhaustive()
    }
}

/// A row with its session, and how often it is added.
type Told = (Span, Arc<[u8]>, i64);

/// Rows that go in a step, and rows that come.
#[derive(Debug, Default)]
struct Made {
    gone: Vec<Told>,
    come: Vec<Told>,
}

impl Assignment {
    pub(super) fn new(plan: SessionPlan) -> Result<Self> {
        let partitions = plan
            .partition
            .iter()
            .map(|expr| Ok(SortField::new(expr.data_type(&plan.input)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            partitions: Encoder::new(partitions)?,
            rows: Encoder::of(&plan.input)?,
            table: Table::new(None),
            next: 0,
            kept: 0,
            bytes: 0,
            restored: false,
            plan,
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let rows = batch.num_rows();
        let partition = self.plan.partition.iter();
        partition
            .map(|expr| expr.evaluate(batch)?.into_array(rows))
            .collect()
    }

    fn take(
        &mut self,
        delta: &Delta,
        partition: &[ArrayRef],
        floor: i64,
        step: &mut Step<'_>,
    ) -> Result<()> {
        let partitions = self.partitions.encode(partition)?;
        let rows = self.rows.encode(delta.batch.columns())?;
        let times = times(&delta.batch, self.plan.time)?;
        for at in 0..delta.len() {
            let time = times.value(at);
            if self.is_late(partitions.row(at), time, floor) {
                step.late(delta, at);
                continue;
            }
            let row: Arc<[u8]> = rows.row(at).into();
            self.kept += 1;
            self.bytes += row.len() as u64 + OVERHEAD;
            let kept = Kept {
                time,
                row,
                count: delta.diff(at),
                id: 0,
            };
            let slot = self.table.find(partitions.row(at), step.now);
            self.insert(slot, time, Session::new(kept));
        }
        Ok(())
    }

    /// Whether the session that the row makes, together with those it joins, has ended. Sessions that are kept have not.
    fn is_late(&self, partition: &[u8], time: i64, floor: i64) -> bool {
        let gap = self.plan.gap;
        if time.saturating_add(gap) >= floor {
            return false;
        }
        let slot = self.table.get(partition);
        slot.is_none_or(|slot| !self.table.part(slot).takes(time, gap))
    }

    fn insert(&mut self, slot: usize, time: i64, session: Session) {
        let gap = self.plan.gap;
        self.table.part_mut(slot).insert(time, session, gap);
        self.set_end(slot);
    }

    /// The first session ends when time has passed its end: a row at its very end still belongs to it, as in Flink.
    fn set_end(&mut self, slot: usize) {
        let end = self.table.part(slot).first_end(self.plan.gap);
        self.table.set_end(slot, end);
    }

    /// Tells rows of sessions that changed, with what they are now.
    fn tell(&mut self, active: &[usize], made: &mut Made) {
        for slot in active {
            for (span, session) in self.table.part_mut(*slot).each(self.plan.gap) {
                let stale = session
                    .segments
                    .iter()
                    .filter(|each| each.told != Some(span));
                let mut come: Vec<&Kept> = Vec::new();
                for segment in stale {
                    let mut gone: Vec<&Kept> = segment.rows.iter().collect();
                    gone.sort_by_key(|kept| (kept.time, &kept.row));
                    if let Some(told) = segment.told {
                        made.gone.extend(gone.iter().map(|kept| kept.told(told)));
                    }
                    come.append(&mut gone);
                }
                come.extend(&session.news);
                come.sort_by_key(|kept| (kept.time, &kept.row));
                made.come.extend(come.iter().map(|kept| kept.told(span)));
                settle(session, span);
            }
        }
    }

    /// Time has come so far.
    fn end(&mut self, floor: i64, made: &mut Made, step: &mut Step<'_>) {
        let active = self.table.take_active();
        if !self.plan.waits {
            self.tell(&active, made);
        }
        self.close(floor, made, step);
        self.save(&active, step);
    }

    /// Takes sessions away that have ended, and tells their rows if they waited for that.
    fn close(&mut self, floor: i64, made: &mut Made, step: &mut Step<'_>) {
        let gap = self.plan.gap;
        for slot in self.table.ended(floor) {
            let end = |sessions: &Sessions| sessions.first_end(gap);
            while end(self.table.part(slot)).is_some_and(|end| end < floor)
                && let Some((span, session)) = self.table.part_mut(slot).pop(gap)
            {
                for kept in session.segments.iter().flat_map(|segment| &segment.rows) {
                    step.put(&row_key(kept.id), None);
                }
                for kept in session.into_rows() {
                    self.kept -= 1;
                    self.bytes -= kept.row.len() as u64 + OVERHEAD;
                    if self.plan.waits {
                        made.come.push((span, kept.row, kept.count));
                    }
                }
            }
            if self.table.part(slot).is_empty() {
                self.table.remove(slot, step);
            } else {
                self.set_end(slot);
            }
        }
    }

    /// Tells the log the rows of this step.
    fn save(&mut self, active: &[usize], step: &mut Step<'_>) {
        for slot in active {
            let partition = Arc::clone(self.table.key(*slot));
            for (span, session) in self.table.part_mut(*slot).each(self.plan.gap) {
                for kept in &mut session.news {
                    kept.id = self.next;
                    self.next += 1;
                    step.put(&row_key(kept.id), Some(value(&partition, kept)));
                }
                let rows = std::mem::take(&mut session.news);
                let told = (!self.plan.waits).then_some(span);
                if !rows.is_empty() {
                    session.add(Segment { told, rows });
                }
            }
        }
    }

    /// All rows that are kept were told with their session as it is.
    fn settle(&mut self) {
        for sessions in self.table.parts_mut() {
            for (span, session) in sessions.each(self.plan.gap) {
                settle(session, span);
            }
        }
    }

    fn deltas(&self, made: &Made) -> Result<Vec<Delta>> {
        let gone = made.gone.chunks(MOST).map(|rows| self.delta(rows, -1));
        let come = made.come.chunks(MOST).map(|rows| self.delta(rows, 1));
        gone.chain(come).collect()
    }

    fn delta(&self, rows: &[Told], sign: i64) -> Result<Delta> {
        let mut columns = self.rows.decode(rows.iter().map(|(_, row, _)| &row[..]))?;
        let time = self.plan.input.field(self.plan.time).data_type();
        let DataType::Timestamp(_, zone) = time else {
            return exec_err!("time is of type {time}");
        };
        for pick in [|span: &Span| span.0, |span: &Span| span.1] {
            let times = rows.iter().map(|(span, _, _)| Some(pick(span)));
            let times: TimestampNanosecondArray = times.collect();
            columns.push(Arc::new(times.with_timezone_opt(zone.clone())));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.plan.output);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let once = sign > 0 && rows.iter().all(|(_, _, count)| *count == 1);
        let diffs = rows.iter().map(|(_, _, count)| sign * count).collect();
        Ok(Delta {
            diffs: (!once).then_some(diffs),
            ..Delta::added(batch)
        })
    }
}

impl Kept {
    fn told(&self, span: Span) -> Told {
        (span, Arc::clone(&self.row), self.count)
    }
}

/// Notes that the rows that the log knows were told with this span.
fn settle(session: &mut Session, span: Span) {
    let segments = std::mem::take(&mut session.segments);
    for mut segment in segments {
        segment.told = Some(span);
        session.add(segment);
    }
}

fn value(partition: &[u8], kept: &Kept) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + 4 + partition.len() + 16 + kept.row.len());
    value.push(VERSION);
    put_blob(partition, &mut value);
    value.extend_from_slice(&kept.time.to_be_bytes());
    value.extend_from_slice(&kept.count.to_be_bytes());
    value.extend_from_slice(&kept.row);
    value
}

impl Operator for Assignment {
    fn step(&mut self, inputs: Vec<Input>, step: &mut Step<'_>) -> Result<Vec<Delta>> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| internal_datafusion_err!("sessions have no input"))?;
        if std::mem::take(&mut self.restored) && !self.plan.waits {
            self.settle();
        }
        let mut made = Made::default();
        for delta in input.deltas {
            let floor = input.before.behind(delta.mark).floor(self.plan.bound);
            if self.plan.waits && delta.mark > input.before.event {
                // A row behind what ended sessions finds none of them.
                self.end(floor, &mut made, step);
            }
            let evaluated = each_evaluated(delta, step, &|batch| self.evaluate(batch));
            for (delta, partition) in evaluated {
                self.take(&delta, &partition, floor, step)?;
            }
        }
        self.end(input.after.floor(self.plan.bound), &mut made, step);
        self.deltas(&made)
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let (id, partition, mut rest) = row_entry(key, value, VERSION)?;
        let time = i64::from_be_bytes(number(&mut rest)?);
        let count = i64::from_be_bytes(number(&mut rest)?);
        let row: Arc<[u8]> = rest.into();
        self.kept += 1;
        self.bytes += row.len() as u64 + OVERHEAD;
        self.next = self.next.max(id.saturating_add(1));
        self.restored = true;
        let slot = self.table.slot(partition);
        let kept = Kept {
            time,
            row,
            count,
            id,
        };
        self.insert(slot, time, Session::known(kept));
        Ok(())
    }

    fn size(&self) -> (u64, u64) {
        (self.table.bytes() + self.bytes, self.kept)
    }
}
