//! What documents refer to must be there: in the same files or on the server.

use std::collections::BTreeSet;

use crate::document::{Document, Parsed, Spec};
use crate::kind::Kind;
use crate::problem::Problem;
use crate::shapes::StageSpec;
use millstream_types::nearest;

impl Parsed {
    /// Problems for every name that neither the files nor the server know. `known` lists the names
    /// of a kind that exist on the server.
    #[must_use]
    pub fn check_references(&self, known: &dyn Fn(Kind) -> Vec<String>) -> Vec<Problem> {
        let mut names = Names::new(known);
        let documents = self
            .documents
            .iter()
            .map(|doc| (doc.spec.kind(), doc.spec.name()));
        let broken = self
            .broken
            .iter()
            .map(|(kind, name)| (*kind, name.as_str()));
        for (kind, name) in documents.chain(broken) {
            names.add(kind, name);
        }
        self.documents
            .iter()
            .flat_map(|document| names.check(document))
            .collect()
    }
}

struct Names {
    schemas: BTreeSet<String>,
    functions: BTreeSet<String>,
    stations: BTreeSet<String>,
}

impl Names {
    fn new(known: &dyn Fn(Kind) -> Vec<String>) -> Self {
        let mut names = Self {
            schemas: known(Kind::Schema).into_iter().collect(),
            functions: known(Kind::Function).into_iter().collect(),
            stations: BTreeSet::new(),
        };
        for station in known(Kind::Station) {
            names.add(Kind::Station, &station);
        }
        names
    }

    fn add(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Schema => drop(self.schemas.insert(name.to_owned())),
            Kind::Function => drop(self.functions.insert(name.to_owned())),
            Kind::Station => {
                // A station's dead letters are a stream that sinks may read.
                self.stations.insert(format!("{name}-dead-letters"));
                self.stations.insert(name.to_owned());
            }
            Kind::Flow | Kind::Source | Kind::Sink => {}
        }
    }

    fn check(&self, document: &Document) -> Vec<Problem> {
        let look = |kind: Kind, among: &BTreeSet<String>, name: &str, path: &str| {
            if among.contains(name) {
                return None;
            }
            let problem = document
                .problem(path, format!("there is no {kind} `{name}`"))
                .with_hint(format!(
                    "describe it in the same file with `kind: {kind}`, or apply it first"
                ));
            Some(problem.with_nearest(nearest(name, among.iter().map(String::as_str))))
        };
        let functions = |stages: &[StageSpec]| {
            let stages = stages.iter().enumerate();
            let found = stages.filter_map(|(index, stage)| match stage {
                StageSpec::Function(name) => {
                    let path = format!("stages[{index}].function");
                    look(Kind::Function, &self.functions, name, &path)
                }
                StageSpec::Sql(_) => None,
            });
            found.collect::<Vec<_>>().into_iter()
        };
        match &document.spec {
            Spec::Station(spec) => {
                let schemas = spec.schemas();
                let schemas = schemas.filter_map(|(path, subject)| {
                    look(Kind::Schema, &self.schemas, subject, &path)
                });
                schemas.chain(functions(&spec.stages)).collect()
            }
            // What it reads and writes may be a plain stream: the server looks for those.
            Spec::Flow(spec) => functions(&spec.stages).collect(),
            Spec::Sink(spec) => {
                let station = look(Kind::Station, &self.stations, &spec.station, "station");
                let schema = spec.schema();
                let schema = schema
                    .and_then(|subject| look(Kind::Schema, &self.schemas, subject, "read_as"));
                station.into_iter().chain(schema).collect()
            }
            Spec::Schema(_) | Spec::Function(_) | Spec::Source(_) => Vec::new(),
        }
    }
}
