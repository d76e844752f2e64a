//! Whether everything that is declared can run, before anything is applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_cluster::{Catalog, FunctionEntry, Kind};
use millstream_pipeline::FunctionStage;
use millstream_schema_registry::Version;
use millstream_spec::{Document, FunctionSpec, Problem, SinkSpec, Spec};

use super::Manager;
use super::apply::Attached;
use crate::blobs::digest;
use crate::compile::Compiler;
use crate::connectors::reading_of;
use crate::functions::{Place, State};
use crate::schemas::readers;
use crate::stages::{CompileProblem, Modules};

impl Manager {
    /// Compiles every station that is declared or that uses something declared, against the catalog as it would be.
    pub(super) async fn compile_all(
        &self,
        new: &Catalog,
        documents: &[&Document],
        attached: &Attached,
    ) -> Vec<Problem> {
        let mut modules: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for document in documents {
            if let (Spec::Function(_), Ok(Some(bytes))) = (&document.spec, attached.of(document)) {
                modules.insert(digest(bytes), bytes.to_vec());
            }
        }
        let (tests, missing) = tests(documents, attached);
        if !missing.is_empty() {
            return missing;
        }
        let schemas = documents
            .iter()
            .filter_map(|document| match &document.spec {
                Spec::Schema(spec) => Some(spec.name.clone()),
                _ => None,
            });
        let schemas: Vec<String> = schemas.collect();
        let compiler = std::sync::Arc::clone(&self.compiler);
        let blobs = self.blobs.clone();
        let catalog = new.clone();
        // Compiling WASM takes its time; the workers that carry data go on.
        let compiled = tokio::task::spawn_blocking(move || {
            let bytes = |name: &str| {
                modules
                    .get(name)
                    .map_or_else(|| blobs.get(name), |bytes| Ok(bytes.clone()))
            };
            let (_loaded, mut broken) = load_functions(&compiler, &catalog, &modules, &bytes);
            if broken.is_empty() {
                broken = failing(&compiler, &tests);
            }
            if !broken.is_empty() {
                return broken;
            }
            let migrations = schemas.iter().filter_map(|name| {
                let why = compiler
                    .shelf()
                    .migrations_of(&catalog, name, &bytes)
                    .err()?;
                let problem = CompileProblem::new("migrations", why);
                Some((Kind::Schema, name.clone(), problem))
            });
            let broken: Broken = migrations.collect();
            if !broken.is_empty() {
                return broken;
            }
            unfit(&compiler, &catalog, &schemas, &bytes)
        })
        .await;
        match compiled {
            Ok(found) => found
                .into_iter()
                .map(|found| place(documents, found))
                .collect(),
            Err(error) => vec![nowhere(documents, &format!("compiling failed: {error}"))],
        }
    }
}

/// What is wrong with a declaration, by kind and name.
type Broken = Vec<(Kind, String, CompileProblem)>;

/// Stations, flows, readers and sinks that could not run against a catalog.
fn unfit(compiler: &Compiler, catalog: &Catalog, schemas: &[String], bytes: Modules<'_>) -> Broken {
    let stations = catalog.stations.values().filter_map(|entry| {
        let problem = compiler.plan(catalog, entry, bytes).err()?;
        Some((Kind::Station, entry.spec.name.clone(), problem))
    });
    let flows = catalog.flows.values().filter_map(|entry| {
        let problem = compiler.flow(catalog, entry, bytes).err()?;
        Some((Kind::Flow, entry.spec.name.clone(), problem))
    });
    let readers = schemas.iter().flat_map(|name| {
        let broken = readers(compiler, catalog, name, bytes).into_iter();
        broken.map(|reader| {
            let problem = CompileProblem::new("name", reader.to_string());
            (Kind::Schema, name.clone(), problem)
        })
    });
    let sinks = catalog.sinks.values().filter_map(|entry| {
        let problem = unreadable(compiler, catalog, &entry.spec)?;
        Some((Kind::Sink, entry.spec.name.clone(), problem))
    });
    stations.chain(flows).chain(readers).chain(sinks).collect()
}

/// A function of the files with the tests that came along.
struct Tested {
    spec: FunctionSpec,
    module: Vec<u8>,
    tests: String,
}

/// The functions of the files that have tests; and tests that did not come along.
fn tests(documents: &[&Document], attached: &Attached) -> (Vec<Tested>, Vec<Problem>) {
    let (mut tests, mut missing) = (Vec::new(), Vec::new());
    for document in documents {
        let Spec::Function(spec) = &document.spec else {
            continue;
        };
        match (attached.tests(document), attached.of(document)) {
            (Ok(Some(own)), Ok(module)) => tests.push(Tested {
                spec: spec.clone(),
                module: module.unwrap_or_default().to_vec(),
                tests: String::from_utf8_lossy(own).into_owned(),
            }),
            (Err(problem), _) => missing.push(problem),
            (Ok(_), _) => {}
        }
    }
    (tests, missing)
}

/// Functions that fail their own tests.
fn failing(compiler: &Compiler, tests: &[Tested]) -> Broken {
    let mut broken = Vec::new();
    for Tested {
        spec,
        module,
        tests,
    } in tests
    {
        let failures = match compiler.functions().test(spec, module, tests) {
            Ok(report) => report.failures(),
            Err(why) => vec![why],
        };
        broken.extend(failures.into_iter().map(|why| {
            let problem = CompileProblem::new("tests", why);
            (Kind::Function, spec.name.clone(), problem)
        }));
    }
    broken
}

/// Loads the functions whose modules came along, which stay loaded while the answer is held; and those that cannot be.
fn load_functions(
    compiler: &Compiler,
    catalog: &Catalog,
    modules: &BTreeMap<String, Vec<u8>>,
    bytes: Modules<'_>,
) -> (Vec<FunctionStage>, Broken) {
    let (mut loaded, mut broken) = (Vec::new(), Vec::new());
    let came = |entry: &&FunctionEntry| {
        let tried = entry.tried().map(|(_, version)| &version.digest);
        modules.contains_key(&entry.digest) || tried.is_some_and(|own| modules.contains_key(own))
    };
    for entry in catalog.functions.values().filter(came) {
        let state = entry
            .spec
            .bucket()
            .map(|bucket| Arc::new(State::new(bucket)));
        match compiler
            .functions()
            .stage(entry, bytes, &Place::Flow(state))
        {
            Ok(stage) => loaded.push(stage),
            Err(why) => {
                let problem = CompileProblem::new("component", why);
                broken.push((Kind::Function, entry.spec.name.clone(), problem));
            }
        }
    }
    (loaded, broken)
}

/// Why a sink can never have its records as it wants them.
fn unreadable(compiler: &Compiler, catalog: &Catalog, sink: &SinkSpec) -> Option<CompileProblem> {
    let reading = match reading_of(sink) {
        Ok(reading) => reading?,
        Err(why) => return Some(CompileProblem::new("read_as", why)),
    };
    let wanted = reading.version.as_ref()?;
    let version = wanted.version.map_or(Version::Latest, Version::Number);
    match compiler.shelf().find(catalog, &wanted.subject, version) {
        Err(why) => Some(CompileProblem::new("read_as", why)),
        Ok(found) => {
            let why = reading.mismatch(&found)?;
            Some(CompileProblem::new("decode", why.to_string()))
        }
    }
}

/// A problem of a station or function, at its place in the files; or, when it is not in them, at what broke it.
fn place(
    documents: &[&Document],
    (kind, name, problem): (Kind, String, CompileProblem),
) -> Problem {
    let own = documents
        .iter()
        .find(|document| document.spec.kind() == kind && document.spec.name() == name);
    let found = match (own, problem.place) {
        (Some(document), Some((line, column))) => document
            .text_at(&problem.path, line, column)
            .problem(problem.message),
        (Some(document), None) => {
            let file = document
                .attachment()
                .map(|attachment| format!("`{}`: ", attachment.path));
            let file = if problem.path == "component" {
                file.unwrap_or_default()
            } else {
                String::new()
            };
            document.problem(&problem.path, format!("{file}{}", problem.message))
        }
        (None, _) => nowhere(
            documents,
            &format!("{kind} `{name}` would break: {}", problem.message),
        ),
    };
    match problem.hint {
        Some(hint) => found.with_hint(hint),
        None => found,
    }
}

fn nowhere(documents: &[&Document], message: &str) -> Problem {
    match documents.first() {
        Some(document) => document.problem("name", message),
        None => Problem {
            file: String::new(),
            line: 0,
            column: 0,
            message: message.to_owned(),
            hint: None,
        },
    }
}
