//! Changed queries that are built beside the version that runs.

use std::pin::Pin;
use std::sync::Arc;

use millstream_cluster::{Catalog, FlowBuild, FlowEntry, build_key, flow_key};
use millstream_jetstream::{Build, Flow, FlowSetup, FlowStatus, OwnRows};

use super::{Flows, Running, Table, compile, setup};
use crate::stages::QueryCompiled;

impl Flows {
    /// What a flow's build is doing, when there is one.
    pub(crate) fn build_status(&self, name: &str) -> Option<FlowStatus> {
        let flow = {
            let table = self.table();
            Arc::clone(&table.running.get(&build_key(name))?.flow)
        };
        Some(flow.status())
    }

    /// Starts or changes what is built of a flow; `None` when it is as it was.
    pub(super) async fn adjust_build(
        self: &Arc<Self>,
        catalog: &Catalog,
        entry: &FlowEntry,
        build: &FlowBuild,
    ) -> Option<Arc<Flow>> {
        let entry_of_build = FlowEntry {
            spec: build.spec.clone(),
            run: build.run,
            start: build.start,
            part: Some(build.run),
            build: None,
            ..entry.clone()
        };
        let name = &entry.spec.name;
        let (key, mark) = (build_key(name), compile::mark(catalog, &entry_of_build));
        let known = {
            let table = self.table();
            let known = table.running.get(&key);
            if known.is_some_and(|known| known.mark == mark) {
                return None;
            }
            known.map(|known| Arc::clone(&known.flow))
        };
        let running = self.get(name)?;
        let compiled = self.compiled(catalog, &entry_of_build).await;
        let before = self.compiled(catalog, entry).await;
        let rows = match (&before.query, &compiled.query) {
            (Some(before), Some(after)) => own_rows(catalog, entry, build, (before, after)),
            _ => None,
        };
        let setup = FlowSetup {
            key: key.clone(),
            // It is to catch up in any case.
            paused: false,
            build: Some(Build { running, rows }),
            ..setup(&entry_of_build, &compiled)
        };
        let flow = self.put(key, &mark, setup).await;
        if !known.is_some_and(|known| Arc::ptr_eq(&known, &flow)) {
            let (own, flow) = (Arc::clone(self), Arc::clone(&flow));
            tokio::spawn(own.after_switch(flow));
        }
        Some(flow)
    }
}

impl Flows {
    /// Follows the catalog when what was built has taken over. Boxed: to follow is what starts it.
    fn after_switch(self: Arc<Self>, built: Arc<Flow>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            built.switched().await;
            self.sync().await;
        })
    }
}

impl Table {
    /// What was built and has taken over runs from now on; answers the names, and what ran before.
    pub(super) fn promote(&mut self, catalog: &Catalog) -> (Vec<String>, Vec<Running>) {
        let (mut names, mut gone) = (Vec::new(), Vec::new());
        for entry in catalog.flows.values() {
            let name = &entry.spec.name;
            let setup = |built: &Running| built.flow.setup();
            let built = self.running.get(&build_key(name)).map(setup);
            let Some(built) = built.filter(|built| built.run == entry.run) else {
                continue;
            };
            let Some(running) = self.running.remove(&build_key(name)) else {
                continue;
            };
            // It was told something meanwhile, and is told what it is to do now.
            let mark = match built.build {
                Some(_) => String::new(),
                None => compile::mark(catalog, entry),
            };
            let running = Running { mark, ..running };
            gone.extend(self.running.insert(flow_key(name), running));
            names.push(name.clone());
        }
        (names, gone)
    }
}

/// What rows of the version that runs are taken away when the new one has none in their place: where both make upserts for the
/// same station, and nothing else that is declared writes there.
fn own_rows(
    catalog: &Catalog,
    entry: &FlowEntry,
    build: &FlowBuild,
    (before, after): (&QueryCompiled, &QueryCompiled),
) -> Option<OwnRows> {
    let (own, new) = (entry.spec.query.as_ref()?, build.spec.query.as_ref()?);
    if !(before.upserts() && after.upserts()) || own.into != new.into {
        return None;
    }
    let others = catalog.flows.values();
    let mut others = others.filter(|other| other.spec.name != entry.spec.name);
    if others.any(|other| other.spec.stations().any(|station| station == own.into)) {
        return None;
    }
    let changed = catalog.stations.get(&own.into);
    let changed = changed.is_some_and(|station| !station.spec.stages.is_empty());
    let columns = before.columns.iter().map(|column| column.name.clone());
    let mut columns: Vec<String> = columns.collect();
    columns.sort();
    Some(OwnRows {
        filter: shape(own.subject.as_ref()?),
        columns: (!changed).then_some(columns),
    })
}

/// The filter that a template's subjects match.
pub(crate) fn shape(template: &str) -> String {
    let token = |token: &str| if token.contains('{') { "*" } else { token }.to_owned();
    template.split('.').map(token).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn a_template_matches_what_it_makes() {
        assert_eq!(shape("delays.{carrier}.x-{dest}"), "delays.*.*");
        assert_eq!(shape("delays"), "delays");
    }
}
