//! Where outputs go.

use std::sync::Arc;

use millstream_pipeline::Plan;

use super::setup::FlowSetup;
use super::work::Blocked;
use crate::ingress::Ingress;
use crate::service::Shared;

/// The streams that outputs of a batch go to, each with its pipeline as the batch sees it.
pub(super) struct Doors {
    pub(super) to: Option<Arc<Ingress>>,
    pub(super) found: Vec<(Arc<Ingress>, Option<Arc<Plan>>)>,
}

impl Doors {
    pub(super) fn new(shared: &Shared, setup: &FlowSetup) -> Result<Self, Blocked> {
        let to = match &setup.to {
            None => None,
            Some(name) => {
                let cell = shared.node.stream(name);
                let door = cell.and_then(|cell| shared.ingress_of(&cell));
                Some(door.ok_or_else(|| {
                    Blocked::By(format!("there is no stream `{name}` to write to"))
                })?)
            }
        };
        Ok(Self {
            to,
            found: Vec::new(),
        })
    }

    /// The stream that stores a subject.
    pub(super) fn find(&self, shared: &Shared, subject: &[u8]) -> Option<Arc<Ingress>> {
        let known = self.found.iter().map(|(door, _)| door);
        let mut known = known.filter(|door| door.cell.lock().captures(subject));
        match known.next() {
            Some(door) => Some(Arc::clone(door)),
            None => shared.ingress_for(subject),
        }
    }

    pub(super) fn plan(&mut self, door: &Arc<Ingress>) -> Option<Arc<Plan>> {
        let known = self
            .found
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, door));
        if let Some((_, plan)) = known {
            return plan.clone();
        }
        let plan = door.plan.load_full();
        self.found.push((Arc::clone(door), plan.clone()));
        plan
    }
}
