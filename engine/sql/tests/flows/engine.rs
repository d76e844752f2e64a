//! The engine under test, as the harness runs flows.

use std::sync::Arc;

use millstream_pipeline::Column;
use millstream_spec::{QuerySpec, Results};
use millstream_sql::continuous::{Compiled, Stations, compile};

use crate::data::Station;
use crate::drive::Flow;

#[derive(Debug)]
struct Known<'a>(&'a [Station]);

impl Stations for Known<'_> {
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        let station = self.0.iter().find(|station| station.name == name);
        Ok(station.map(Station::columns))
    }

    fn names(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|station| station.name.to_owned())
            .collect()
    }

    fn subjects(&self, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }
}

/// Compiles a query over stations.
///
/// # Errors
/// Why it is refused.
pub(crate) fn open(
    spec: &QuerySpec,
    stations: &[Station],
) -> Result<(Flow, Arc<Compiled>), String> {
    let compiled = compile(spec, &Known(stations)).map_err(|error| error.to_string())?;
    let compiled = Arc::new(compiled.spilling_to(std::env::temp_dir()));
    let keyed = spec
        .subject
        .as_ref()
        .is_some_and(|subject| subject.contains('{'));
    let default = if keyed {
        Results::Upsert
    } else {
        Results::Changelog
    };
    let starts = Arc::clone(&compiled);
    let flow = Flow {
        sources: compiled.sources().to_vec(),
        updating: compiled
            .is_updating()
            .then(|| spec.results.unwrap_or(default)),
        spills: spec.memory_limit == Some(0),
        start: Box::new(move || starts.start()),
    };
    Ok((flow, compiled))
}
