//! Which compiled pipeline a station runs, and how a new one takes over.

use std::sync::Arc;

use millstream_cluster::Node;
use millstream_pipeline::Plan;
use tracing::{error, info};

use crate::ingress::Ingress;

/// Compiles pipelines; the server brings WASM and SQL, this room does not know them.
pub trait PlanSource: Send + Sync + std::fmt::Debug {
    /// A station's plan as the catalog declares it now; `None` when it has neither schema nor stages. The same `Arc` as
    /// long as nothing the plan is made from has changed.
    ///
    /// # Errors
    /// Why it cannot be compiled, for the log. What is applied was checked before, so this names damage.
    fn compile(&self, node: &Node, station: &str) -> Result<Option<Arc<Plan>>, String>;
}

/// The plan source with what must hold around it.
#[derive(Debug)]
pub struct Plans {
    source: Arc<dyn PlanSource>,
}

impl Plans {
    pub(crate) fn new(source: Arc<dyn PlanSource>) -> Self {
        Self { source }
    }

    /// A new stream's plan. A station whose plan cannot be compiled rejects everything: storing unchecked is worse.
    pub(crate) fn compile(&self, node: &Node, station: &str) -> Option<Arc<Plan>> {
        match self.source.compile(node, station) {
            Ok(plan) => plan,
            Err(why) => {
                error!(target: "nats", "pipeline of station `{station}` does not compile and rejects all messages: {why}");
                Some(Arc::new(Plan::closed(&why)))
            }
        }
    }

    /// Swaps a station's plan if it changed; batches under way end with the one they began with.
    pub(crate) fn refresh(&self, node: &Node, ingress: &Ingress) {
        let name = &ingress.cell.name;
        match self.source.compile(node, name) {
            Ok(plan) => {
                // The source answers with the same plan as long as nothing it is made from changed.
                let old = ingress.plan.load_full();
                let address = |plan: &Option<Arc<Plan>>| plan.as_ref().map(Arc::as_ptr);
                if address(&old) != address(&plan) {
                    let version = plan.as_ref().map_or(0, |plan| plan.version);
                    info!(target: "nats", "pipeline of station `{name}` is now version {version}");
                    ingress.plan.store(plan);
                }
            }
            Err(why) => {
                error!(target: "nats", "pipeline of station `{name}` keeps its last version: {why}");
            }
        }
    }
}
