//! One batch on its way through a plan.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tracing::error;

use crate::metrics::{Batch, StageMetrics};
use crate::schema::violation_line;
use crate::{Ended, Look, OnRejection, Record, Rejection, SchemaStage, Stage, Verdict, headers};

/// The records that are still on their way, each with the input it was made from. Both lists are in input order.
pub(crate) struct Run {
    records: Vec<Record>,
    owners: Vec<usize>,
    /// How an input ended before the last stage.
    ends: Vec<Option<Ended>>,
    /// Per input the header line of its violation of the schema, when it is kept in spite of it.
    tags: Vec<Option<String>>,
}

impl Run {
    /// `claims` says whether the first stage reads what publishers say about their schemas; it removes those headers itself.
    pub(crate) fn new(mut inputs: Vec<Record>, claims: bool) -> Self {
        for record in &mut inputs {
            if !claims && headers::mentions_schema(&record.message.headers) {
                record.message.headers = headers::without_schema(&record.message.headers);
            }
        }
        let count = inputs.len();
        Self {
            records: inputs,
            owners: (0..count).collect(),
            ends: (0..count).map(|_| None).collect(),
            tags: Vec::new(),
        }
    }

    /// The schema stage; a violation that is tagged is no rejection.
    pub(crate) fn schema(&mut self, schema: &SchemaStage, metrics: &StageMetrics) {
        if schema.on_violation() != OnRejection::Tag {
            return self.stage(schema, metrics);
        }
        self.tags = vec![None; self.ends.len()];
        let bytes_in = self.records.iter().map(Record::size).sum();
        let started = Instant::now();
        let mut verdicts = ask(schema, &mut self.records);
        for ((record, owner), verdict) in
            self.records.iter_mut().zip(&self.owners).zip(&mut verdicts)
        {
            if let Verdict::Reject(why) = verdict {
                // The stages behind see the tag as well, so it is written now and not only in the end.
                let line = violation_line(why);
                let raw = &mut record.message.headers;
                *raw = headers::with_line(raw, Some(line.as_bytes()));
                self.tags[*owner] = Some(line);
                *verdict = Verdict::Keep;
            }
        }
        self.decide(schema, verdicts, bytes_in, metrics, started);
    }

    /// A stage that has looked at the inputs where they lay, or failed to. They are as they came: it is the first that does
    /// not keep them all.
    pub(crate) fn looked(
        &mut self,
        stage: &dyn Stage,
        look: Option<Look<'_>>,
        metrics: &StageMetrics,
        started: Instant,
    ) {
        let bytes_in = self.records.iter().map(Record::size).sum();
        let verdicts = match look {
            Some(Look::Decided(make)) => caught(|| make(&self.records)),
            Some(Look::Kept) | None => None,
        };
        let verdicts = verdicts
            .filter(|verdicts| verdicts.len() == self.records.len())
            .unwrap_or_else(|| ask(stage, &mut self.records));
        self.decide(stage, verdicts, bytes_in, metrics, started);
    }

    pub(crate) fn stage(&mut self, stage: &dyn Stage, metrics: &StageMetrics) {
        if self.records.is_empty() {
            return;
        }
        let bytes_in = self.records.iter().map(Record::size).sum();
        let started = Instant::now();
        let verdicts = ask(stage, &mut self.records);
        self.decide(stage, verdicts, bytes_in, metrics, started);
    }

    fn decide(
        &mut self,
        stage: &dyn Stage,
        verdicts: Vec<Verdict>,
        bytes_in: usize,
        metrics: &StageMetrics,
        started: Instant,
    ) {
        let mut batch = Batch {
            records_in: self.records.len(),
            bytes_in,
            ..Batch::default()
        };
        let took = started.elapsed();
        for (record, verdict) in self.records.iter().zip(&verdicts) {
            if let Some(trace) = &record.trace {
                trace.note(stage.label(), verdict, batch.records_in, took);
            }
        }
        if verdicts
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Keep))
        {
            (batch.records_out, batch.bytes_out) = (batch.records_in, bytes_in);
        } else {
            self.carry_out(stage, verdicts, &mut batch);
        }
        metrics.count(batch, started.elapsed());
    }

    fn carry_out(&mut self, stage: &dyn Stage, verdicts: Vec<Verdict>, batch: &mut Batch) {
        let records = std::mem::take(&mut self.records);
        let owners = std::mem::replace(&mut self.owners, Vec::with_capacity(records.len()));
        self.records.reserve(records.len());
        for ((record, verdict), owner) in records.into_iter().zip(verdicts).zip(&owners) {
            match verdict {
                Verdict::Keep => self.pass(record, *owner),
                Verdict::Replace(record) => self.pass(record, *owner),
                Verdict::Emit(emitted) if emitted.is_empty() => batch.dropped += 1,
                Verdict::Emit(emitted) => {
                    emitted
                        .into_iter()
                        .for_each(|record| self.pass(record, *owner));
                }
                Verdict::Drop => batch.dropped += 1,
                Verdict::Retry(after) => {
                    batch.retried += 1;
                    let stage = stage.label().to_owned();
                    self.ends[*owner].get_or_insert(Ended::Retry { stage, after });
                }
                Verdict::Reject(why) => {
                    batch.rejected += 1;
                    // The first rejection of an input is the one that is told; what is rejected is not tried again.
                    match &mut self.ends[*owner] {
                        Some(Ended::Rejected(_)) => {}
                        end => *end = Some(Ended::Rejected(why)),
                    }
                }
            }
        }
        if batch.rejected > 0 {
            batch.rejected += self.withdraw();
        } else if batch.retried > 0 {
            self.withdraw();
        }
        self.mark_dropped(stage, &owners);
        batch.records_out = self.records.len();
        batch.bytes_out = self.records.iter().map(Record::size).sum();
    }

    fn pass(&mut self, record: Record, owner: usize) {
        self.records.push(record);
        self.owners.push(owner);
    }

    /// Takes out what other records of a rejected input left behind, and says how many that were.
    fn withdraw(&mut self) -> usize {
        let before = self.records.len();
        let stays = |owner: &usize, ends: &[Option<Ended>]| ends[*owner].is_none();
        let mut owners = self.owners.iter();
        self.records
            .retain(|_| owners.next().is_some_and(|owner| stays(owner, &self.ends)));
        self.owners.retain(|owner| stays(owner, &self.ends));
        before - self.records.len()
    }

    /// Inputs that had a record before this stage, have none now and were not rejected, were dropped by it.
    fn mark_dropped(&mut self, stage: &dyn Stage, before: &[usize]) {
        let mut left = self.owners.iter().copied().peekable();
        for owner in before {
            while left.next_if(|next| next < owner).is_some() {}
            if left.peek() != Some(owner) && self.ends[*owner].is_none() {
                self.ends[*owner] = Some(Ended::Dropped {
                    stage: stage.label().to_owned(),
                });
            }
        }
    }

    pub(crate) fn end(self) -> Vec<Ended> {
        let Self {
            records,
            owners,
            ends,
            mut tags,
        } = self;
        let mut records = records.into_iter().zip(owners).peekable();
        let each = ends.into_iter().enumerate().map(|(input, end)| {
            if let Some(end) = end {
                return end;
            }
            let tag = tags.get_mut(input).and_then(Option::take);
            let mut stored = Vec::with_capacity(1);
            while let Some((mut record, _)) = records.next_if(|(_, owner)| *owner == input) {
                let raw = &record.message.headers;
                record.message.headers = match (&tag, &record.schema) {
                    (Some(line), _) => headers::with_line(raw, Some(line.as_bytes())),
                    (None, Some(version)) => version.stamped(raw),
                    (None, None) if headers::mentions_schema(raw) => headers::without_schema(raw),
                    (None, None) => raw.clone(),
                };
                stored.push(record);
            }
            assert!(
                !stored.is_empty(),
                "invariant: an input without records has ended"
            );
            Ended::Stored(stored)
        });
        each.collect()
    }
}

/// The stage's verdicts, one for each record whatever it does. A stage that panics is asked again for each record alone, so
/// that only the one it cannot bear is rejected.
pub(crate) fn ask(stage: &dyn Stage, records: &mut [Record]) -> Vec<Verdict> {
    if let Some(verdicts) = attempt(stage, records) {
        return verdicts;
    }
    error!(
        stage = stage.label(),
        records = records.len(),
        "stage failed on a batch; asking it for each record alone"
    );
    let alone = |record: &mut Record| {
        let verdict = attempt(stage, std::slice::from_mut(record)).and_then(|mut one| one.pop());
        verdict.unwrap_or_else(|| {
            let reason = "stage failed on this message; this is a bug of the server, its log has the details";
            Verdict::Reject(Rejection::new(stage.label(), "internal", reason))
        })
    };
    records.iter_mut().map(alone).collect()
}

fn attempt(stage: &dyn Stage, records: &mut [Record]) -> Option<Vec<Verdict>> {
    let verdicts = caught(|| stage.process(records))?;
    (verdicts.len() == records.len()).then_some(verdicts)
}

/// What a stage answers; `None` when it panics.
pub(crate) fn caught<T>(ask: impl FnOnce() -> T) -> Option<T> {
    // A stage changes nothing in the batch but the remembered parse, which is whole or absent.
    catch_unwind(AssertUnwindSafe(ask)).ok()
}
