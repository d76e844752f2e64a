//! What a flow is to do.

use std::fmt::Debug;
use std::sync::Arc;

use millstream_cluster::FlowStart;
use millstream_pipeline::{Dataflow, FlowTable, Plan, Running};
use millstream_types::{Message, SubjectTemplate};

use super::handle::Flow;

/// A flow as it is declared, compiled. Swapped whole: a batch sees one of them.
#[derive(Clone, Debug)]
pub struct FlowSetup {
    /// Its name.
    pub name: String,
    /// Under what its position is kept.
    pub key: String,
    /// The run that its position must be of; with another one it begins anew.
    pub run: u64,
    /// The stream it reads.
    pub from: String,
    /// Only messages on subjects that match.
    pub filter: String,
    /// Where it begins when there is no position.
    pub start: FlowStart,
    /// It is done behind this sequence; `None`: never.
    pub until: Option<u64>,
    /// The stream that gets what keeps its subject.
    pub to: Option<String>,
    /// The subject that it gets there; `None`: the one it has.
    pub subject: Option<SubjectTemplate>,
    /// Its stages; `None` without any. Or why they cannot be compiled: then it stands still.
    pub plan: Result<Option<Arc<Plan>>, String>,
    /// In which order, by how many threads and how often they are run.
    pub running: Running,
    /// Which version of the declaration this is.
    pub version: u64,
    /// Whether it stands still.
    pub paused: bool,
    /// What its stages write besides their outputs.
    pub effects: Option<Arc<dyn FlowEffects>>,
    /// The query that it is, instead of `from`, `filter`, `until`, `subject` and stages; `to` gets its results.
    pub query: Option<Arc<QuerySetup>>,
    /// Of a query that is not published yet: what it takes over from when it has caught up with it.
    pub build: Option<Build>,
}

/// What a query is built for.
#[derive(Clone, Debug)]
pub struct Build {
    /// The version that runs.
    pub running: Arc<Flow>,
    /// Rows of that version to be taken away when this one has none in their place; `None`: they stay.
    pub rows: Option<OwnRows>,
}

/// How rows of a query are told from what else its station stores.
#[derive(Clone, Debug)]
pub struct OwnRows {
    /// What their subjects match.
    pub filter: String,
    /// The members that each of them has, sorted; `None` where the station's stages change them.
    pub columns: Option<Vec<String>>,
}

impl FlowSetup {
    /// Whether it reads this stream.
    #[must_use]
    pub fn reads(&self, stream: &str) -> bool {
        match &self.query {
            None => self.from == stream,
            Some(query) => query.sources.iter().any(|source| source.station == stream),
        }
    }
}

/// A query that never ends, compiled.
#[derive(Debug)]
pub struct QuerySetup {
    /// Makes it.
    pub query: Arc<dyn Query>,
    /// What it reads, as [`Dataflow::sources`] says.
    pub sources: Vec<FlowTable>,
    /// State of a query with another one is of no use to it.
    pub layout: u64,
    /// The stream that gets messages which come too late; `None`: none does.
    pub late: Option<String>,
    /// The stream that keeps its state, see [`crate::state_stream`].
    pub state: String,
    /// The part of that stream which is its own: the run that it was built in beside an earlier version.
    pub part: Option<u64>,
    /// Whether a result takes the place of the one before it on its subject.
    pub upserts: bool,
    /// Most bytes of results that are kept for it while it is built.
    pub limit: u64,
}

/// A compiled query.
pub trait Query: Send + Sync + Debug {
    /// Makes one without state.
    fn start(&self) -> Box<dyn Dataflow>;
}

/// What the stages of a flow change besides making outputs: their state. It is committed with the outputs, in the same log
/// entry. A flow with effects has one worker, and its next batch begins when the last one is decided.
pub trait FlowEffects: Send + Sync + Debug {
    /// A batch begins. Called again without [`FlowEffects::take`] in between when the batch has to be run anew with fewer
    /// inputs; [`FlowEffects::committed`] was called with `false` then.
    fn begin(&self);

    /// What is to be stored with the batch that was run: streams and messages, in order.
    fn take(&self) -> Vec<(String, Message)>;

    /// Whether the batch is stored. When it is not, everything since [`FlowEffects::begin`] must be as it was before.
    fn committed(&self, ok: bool);
}
