//! A dataflow at work: sources, operators and sink, step by step.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::common::{Result, exec_err};
use millstream_pipeline::{
    Batch, BrokenState, Dataflow, DataflowStatus, Effects, FlowTable, Origin, Record, Rejection,
    StateChange,
};
use millstream_types::Timestamp;

use super::delta::Delta;
use super::operator::{Input, Operator, Step};
use super::parts::Scratch;
use super::plan::Node;
use super::sink::Sink;
use super::source::SourceNode;
use super::time::Marks;
use crate::functions::Remembered;

/// The number under which time is kept: no node's.
const TIME: u16 = u16::MAX;

/// Bytes of state in memory unless it is declared: when all of it can leave memory, and when some of it cannot.
const MEMORY: u64 = 256 << 20;
const STAYING: u64 = 1 << 30;

/// A part of the memory for state is for reading and writing what is not in memory: one of so many.
const CACHES: u64 = 8;

/// What all runs of a query share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// The node whose rows are the results.
    pub(super) last: usize,
    pub(super) sources: Vec<FlowTable>,
    pub(super) sink: Sink,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) keeps_late: bool,
    /// Most bytes of state, wherever it is.
    pub(super) limit: u64,
    /// Most bytes of it in memory, when that is declared.
    pub(super) memory: Option<u64>,
}

enum Running {
    Source(Box<SourceNode>),
    Operator(Vec<usize>, Box<dyn Operator>),
}

/// A query that runs.
pub(super) struct Flow {
    plan: Arc<Plan>,
    nodes: Vec<Running>,
    /// How far time is behind each node.
    marks: Vec<Marks>,
    now: i64,
    late: u64,
    /// Most bytes of state in memory.
    memory: u64,
    /// Why state found no place before the first step.
    stuck: Option<String>,
    /// Whether there is a place besides memory.
    spills: bool,
    /// Whether entries were put back, and there was no step since.
    restored: bool,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

impl Flow {
    /// One without state.
    ///
    /// # Errors
    /// When a type cannot be kept; compiling finds that.
    pub(super) fn new(plan: Arc<Plan>) -> Result<Self> {
        let nodes = plan.nodes.iter().map(|node| match node {
            Node::Source(plan) => {
                SourceNode::new(plan.clone()).map(|source| Running::Source(Box::new(source)))
            }
            Node::Operator { inputs, make, .. } => Ok(Running::Operator(inputs.clone(), make()?)),
        });
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let memory = match nodes.iter().all(Running::leaves) {
            true => MEMORY,
            false => STAYING,
        };
        Ok(Self {
            marks: vec![Marks::START; nodes.len()],
            memory: plan.memory.unwrap_or(memory),
            nodes,
            plan,
            now: i64::MIN,
            late: 0,
            stuck: None,
            spills: false,
            restored: false,
        })
    }

    /// State that has no room in memory goes to a file in this folder.
    pub(super) fn spill_to(&mut self, folder: &Path) {
        let all = self.nodes.iter_mut();
        let operators = all.filter_map(|node| match node {
            Running::Operator(_, operator) if !operator.stays() => Some(operator),
            Running::Operator(..) | Running::Source(_) => None,
        });
        let operators: Vec<_> = operators.collect();
        let cache = self.memory / CACHES / operators.len().max(1) as u64;
        for operator in operators {
            operator.spill_to(Scratch::new(folder.to_owned(), cache));
        }
        self.spills = true;
    }

    /// What is to be done behind restoring.
    fn gather(&mut self) -> Result<()> {
        if std::mem::take(&mut self.restored) {
            for node in &mut self.nodes {
                if let Running::Operator(_, operator) = node {
                    operator.restored()?;
                }
            }
        }
        Ok(())
    }

    /// Sees to it that state in memory is not more than it may be.
    ///
    /// # Errors
    /// When it is.
    fn make_room(&mut self) -> Result<()> {
        let (all, _) = self.sizes();
        if all <= self.memory {
            return Ok(());
        }
        let (mut stays, mut largest) = (0, (0, 0));
        for (at, node) in self.nodes.iter().enumerate() {
            if !(self.spills && node.leaves()) {
                let (bytes, _) = node.size();
                stays += bytes;
                largest = largest.max((bytes, at));
            }
        }
        if stays > self.memory {
            return exec_err!(
                "{} keeps its state in memory, which has {stays} bytes and may have {}: raise `memory_limit`, or give it a `state_ttl`, shorter windows or fewer groups",
                self.plan.name(largest.1),
                self.memory
            );
        }
        // A quarter is left free, so that this is not done for each step.
        let room = (self.memory - stays) / 4 * 3;
        let share = room as f64 / (all - stays) as f64;
        let spills = self.spills;
        for node in &mut self.nodes {
            if let Running::Operator(_, operator) = node
                && spills
                && !operator.stays()
            {
                let (bytes, _) = operator.size();
                operator.evict((bytes as f64 * share) as u64)?;
            }
        }
        Ok(())
    }

    /// The nodes whose state stays in memory, for people.
    pub(super) fn staying(&self) -> Vec<String> {
        let nodes = self.nodes.iter().enumerate();
        let stay = nodes.filter(|(_, node)| !node.leaves());
        stay.map(|(at, _)| self.plan.name(at)).collect()
    }

    /// One node after the other, each behind its inputs.
    fn run(&mut self, batches: &[Batch<'_>], effects: &mut Effects) -> Result<()> {
        let before = self.marks.clone();
        let mut made: Vec<Vec<Delta>> = Vec::with_capacity(self.nodes.len());
        self.read(batches, &mut made, effects)?;
        for at in 0..self.nodes.len() {
            let Running::Operator(from, operator) = &mut self.nodes[at] else {
                continue;
            };
            let inputs: Vec<Input> = from
                .iter()
                .map(|from| Input {
                    deltas: made[*from].clone(),
                    before: before[*from],
                    after: self.marks[*from],
                })
                .collect();
            let event = from.iter().map(|from| self.marks[*from].event).min();
            let mut step = Step {
                now: self.now,
                node: at as u16,
                effects,
                late: &mut self.late,
                keeps_late: self.plan.keeps_late,
            };
            made[at] = operator.step(inputs, &mut step)?;
            self.marks[at] = Marks {
                event: event.unwrap_or(i64::MAX).max(self.marks[at].event),
                processing: self.now,
            };
        }
        self.plan.sink.write(&made[self.plan.last], effects);
        let moved = |(old, new): (&Marks, &Marks)| old.event != new.event;
        if before.iter().zip(&self.marks).any(moved) || self.plan.has_clock() {
            effects.state.push(self.time());
        }
        Ok(())
    }

    /// Messages into their sources, and event time.
    fn read(
        &mut self,
        batches: &[Batch<'_>],
        made: &mut Vec<Vec<Delta>>,
        effects: &mut Effects,
    ) -> Result<()> {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let mut deltas = Vec::new();
            if let Running::Source(source) = node {
                let own = batches
                    .iter()
                    .filter(|batch| batch.source == source.number());
                let own: Vec<&[Record]> = own.map(|batch| batch.records).collect();
                source.hear(self.now, !own.is_empty());
                for records in own.into_iter().filter(|records| !records.is_empty()) {
                    deltas.extend(source.read(records, at as u16, effects)?);
                }
            }
            made.push(deltas);
        }
        let idle = |source: &SourceNode| source.idle_at().is_some_and(|at| at <= self.now);
        let sources = || {
            self.nodes.iter().filter_map(|node| match node {
                Running::Source(source) => Some(&**source),
                Running::Operator(..) => None,
            })
        };
        // A source that is idle goes with the others.
        let others = sources().filter(|source| source.has_time() && !idle(source));
        let others = others.map(SourceNode::mark).min();
        for (at, node) in self.nodes.iter().enumerate() {
            if let Running::Source(source) = node {
                let own = source.mark();
                let event = match others {
                    Some(others) if source.has_time() && idle(source) => own.max(others),
                    _ => own,
                };
                self.marks[at] = Marks {
                    event: event.max(self.marks[at].event),
                    processing: self.now,
                };
            }
        }
        Ok(())
    }

    /// Time as an entry of state: version, wall clock, and the event time behind each node.
    fn time(&self) -> StateChange {
        let mut value = vec![1];
        value.extend_from_slice(&self.now.to_be_bytes());
        for marks in &self.marks {
            value.extend_from_slice(&marks.event.to_be_bytes());
        }
        StateChange {
            key: TIME.to_be_bytes().to_vec().into(),
            value: Some(value.into()),
        }
    }

    fn set_time(&mut self, value: &[u8]) -> Result<(), BrokenState> {
        let wrong = || BrokenState("time has another form".to_owned());
        let numbers = value.strip_prefix(&[1]).ok_or_else(wrong)?;
        let mut numbers = numbers
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| i64::from_be_bytes(*bytes));
        self.now = numbers.next().ok_or_else(wrong)?;
        for marks in &mut self.marks {
            marks.event = numbers.next().ok_or_else(wrong)?;
            marks.processing = self.now;
        }
        Ok(())
    }

    /// Bytes of state in memory, and all entries.
    fn sizes(&self) -> (u64, u64) {
        sum(self.nodes.iter().map(Running::size))
    }

    /// Bytes and entries of state that are not in memory.
    fn spilled(&self) -> (u64, u64) {
        sum(self.nodes.iter().map(|node| match node {
            Running::Source(_) => (0, 0),
            Running::Operator(_, operator) => operator.spilled(),
        }))
    }
}

impl Running {
    fn size(&self) -> (u64, u64) {
        match self {
            Self::Source(source) => source.size(),
            Self::Operator(_, operator) => operator.size(),
        }
    }

    /// Whether there is no state, or it can leave memory.
    fn leaves(&self) -> bool {
        match self {
            Self::Source(source) => !source.is_table(),
            Self::Operator(_, operator) => !operator.stays(),
        }
    }
}

fn sum(sizes: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    sizes.fold((0, 0), |(bytes, rows), (more, others)| {
        (bytes + more, rows + others)
    })
}

/// Leaves one of several reasons for the same message.
fn once(told: &mut Vec<(Origin, Rejection)>) {
    let mut seen = HashSet::new();
    told.retain(|(origin, _)| match origin {
        Origin::Message { source, sequence } => seen.insert((*source, *sequence)),
        Origin::Row(_) => true,
    });
}

impl Plan {
    /// A node, for people.
    fn name(&self, node: usize) -> String {
        match &self.nodes[node] {
            Node::Source(source) => format!("table `{}`", self.sources[source.number].station),
            Node::Operator { text, .. } => format!("`{text}`"),
        }
    }

    /// Whether its windows are in processing time.
    fn has_clock(&self) -> bool {
        Arc::strong_count(&self.clock) > 1
    }
}

impl Dataflow for Flow {
    fn sources(&self) -> &[FlowTable] {
        &self.plan.sources
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), BrokenState> {
        let wrong = || BrokenState("entry belongs to no part of the query".to_owned());
        let (node, key) = key.split_first_chunk::<2>().ok_or_else(wrong)?;
        let node = u16::from_be_bytes(*node);
        if node == TIME {
            return self.set_time(value);
        }
        match self.nodes.get_mut(usize::from(node)).ok_or_else(wrong)? {
            Running::Source(source) => source.restore(key, value)?,
            Running::Operator(_, operator) => operator.restore(key, value)?,
        }
        self.restored = true;
        if self.stuck.is_none()
            && let Err(error) = self.make_room()
        {
            self.stuck = Some(crate::program::sql_error(&error).reason);
        }
        Ok(())
    }

    fn step(&mut self, batches: &[Batch<'_>], now: Timestamp) -> Effects {
        self.now = self.now.max(now.0);
        self.plan.clock.store(self.now, Ordering::Relaxed);
        let mut effects = Effects {
            failed: self.stuck.clone(),
            ..Effects::default()
        };
        if effects.failed.is_some() {
            return effects;
        }
        let _remembered = Remembered::for_batch();
        if let Err(error) = self
            .gather()
            .and_then(|()| self.run(batches, &mut effects))
            .and_then(|()| self.make_room())
        {
            effects.failed = Some(crate::program::sql_error(&error).reason);
        }
        once(&mut effects.late);
        once(&mut effects.rejected);
        let bytes = self.sizes().0 + self.spilled().0;
        if bytes > self.plan.limit {
            effects.failed.get_or_insert_with(|| {
                format!(
                    "its state has {bytes} bytes and may have {}: give it a `state_ttl`, shorter windows or fewer groups, or raise `state_limit`",
                    self.plan.limit
                )
            });
        }
        effects
    }

    fn status(&self) -> DataflowStatus {
        let known = |mark: i64| (mark != i64::MIN && mark != i64::MAX).then_some(Timestamp(mark));
        let (memory, state_rows) = self.sizes();
        let (spilled_bytes, spilled_rows) = self.spilled();
        let mut sources = vec![None; self.plan.sources.len()];
        let mut wakes: Vec<i64> = Vec::new();
        let timed = self
            .nodes
            .iter()
            .filter(|node| matches!(node, Running::Source(source) if source.has_time()));
        let several = timed.count() > 1;
        for node in &self.nodes {
            match node {
                Running::Source(source) => {
                    sources[source.number()] = known(source.mark());
                    let idle = source.idle_at().filter(|at| several && *at > self.now);
                    wakes.extend(idle);
                }
                Running::Operator(_, operator) => wakes.extend(operator.next_wake()),
            }
        }
        DataflowStatus {
            watermark: known(self.marks[self.plan.last].event),
            sources,
            state_bytes: memory + spilled_bytes,
            state_rows,
            spilled_bytes,
            spilled_rows,
            late: self.late,
            next_wake: wakes.into_iter().min().map(Timestamp),
        }
    }
}
