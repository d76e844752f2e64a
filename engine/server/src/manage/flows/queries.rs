//! Flows that are queries: what is wrong with one before it is applied.

use millstream_cluster::{Catalog, FlowEntry};
use millstream_spec::{Document, FlowSpec, Problem, QuerySpec, Spec};
use millstream_types::filters_overlap;
use serde_json::{Value, json};

use super::super::Manager;
use super::memory_problem;
use crate::compile::names_function;
use crate::flows::shape;
use crate::stages::Modules;

/// Why a function cannot have another version.
const KEEPS: &str =
    "keeps what the version that runs has answered, and would need state of another form";

impl Manager {
    /// A flow keeps its form: positions of the one are none of the other.
    pub(super) fn form_problem(&self, document: &Document, spec: &FlowSpec) -> Option<Problem> {
        let old = self.node.catalog().flows.get(&spec.name).cloned()?;
        let was = old.spec.query.is_some();
        if was == spec.query.is_some() {
            return None;
        }
        let (before, after) = match was {
            true => ("a query", "stages"),
            false => ("stages", "a query"),
        };
        let name = &spec.name;
        let message = format!("flow `{name}` is {before} and cannot become {after}");
        let hint =
            format!("delete it first with `millstream delete flow {name}`, or take another name");
        Some(document.problem("name", message).with_hint(hint))
    }

    /// The stations and streams that a query reads; none when it does not compile.
    pub(super) fn sources_of(
        &self,
        new: &Catalog,
        query: &QuerySpec,
        modules: Modules<'_>,
    ) -> Vec<String> {
        let compiled = self.compiler.query(new, query, modules);
        let sources = compiled
            .map(|compiled| compiled.sources)
            .unwrap_or_default();
        sources.into_iter().map(|source| source.station).collect()
    }

    /// What is wrong with a query among the stations and streams there will be, besides the statement.
    pub(super) fn query_problems(
        &self,
        new: &Catalog,
        document: &Document,
        query: &QuerySpec,
        modules: Modules<'_>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        // A statement that does not compile is told of elsewhere.
        let compiled = self.compiler.query(new, query, modules).ok();
        let sources = compiled.iter().flat_map(|compiled| &compiled.sources);
        let sources: Vec<&str> = sources.map(|source| source.station.as_str()).collect();
        for source in &sources {
            problems.extend(self.source_problem(new, document, source));
        }
        problems.extend(self.target_problem(new, document, ("into", &query.into), &sources));
        if let Some(station) = compiled
            .as_ref()
            .and_then(|compiled| compiled.late.as_ref())
        {
            let problem = self.target_problem(new, document, ("late", station), &sources);
            problems.extend(problem.or_else(|| self.late_problem(new, document, station)));
        }
        problems.extend(self.subject_problem(new, document, query));
        problems
    }

    fn source_problem(&self, new: &Catalog, document: &Document, name: &str) -> Option<Problem> {
        match self.end(new, name) {
            None => Some(self.unknown_end(new, document, "sql", name)),
            Some(from) if from.by_consumers => {
                let message = format!(
                    "`{name}` drops messages when consumers have acknowledged them, whether the flow has read them or not"
                );
                Some(document.problem("sql", message))
            }
            Some(from) => from
                .in_memory
                .then(|| memory_problem(document, "sql", name)),
        }
    }

    fn target_problem(
        &self,
        new: &Catalog,
        document: &Document,
        (path, name): (&str, &str),
        sources: &[&str],
    ) -> Option<Problem> {
        if sources.contains(&name) {
            let message = format!("the query reads `{name}`: it would loop for ever");
            return Some(document.problem(path, message));
        }
        match self.end(new, name) {
            None => Some(self.unknown_end(new, document, path, name)),
            Some(to) => to.in_memory.then(|| memory_problem(document, path, name)),
        }
    }

    /// Late messages keep their subjects below the one that the station stores, or get its own.
    fn late_problem(&self, new: &Catalog, document: &Document, name: &str) -> Option<Problem> {
        let subjects = self.end(new, name)?.subjects;
        let fits = |subject: &String| {
            let below = subject.strip_suffix(".>").unwrap_or(subject);
            !below.contains(['*', '>'])
        };
        if matches!(subjects.as_slice(), [only] if fits(only)) {
            return None;
        }
        let message = format!(
            "late messages need one place, and `{name}` stores {}",
            subjects.join(", ")
        );
        let hint = "take a station with one subject such as `late` or `late.>`";
        Some(document.problem("late", message).with_hint(hint))
    }

    fn subject_problem(
        &self,
        new: &Catalog,
        document: &Document,
        query: &QuerySpec,
    ) -> Option<Problem> {
        let subject = query.subject.as_ref()?;
        let into = self.end(new, &query.into)?;
        let shape = shape(subject);
        let fits = |own: &String| filters_overlap(own.as_bytes(), shape.as_bytes());
        if into.subjects.iter().any(fits) {
            return None;
        }
        let message = format!(
            "`{subject}` is no subject of `{}`, which stores {}",
            query.into,
            into.subjects.join(", ")
        );
        Some(document.problem("subject", message))
    }

    /// The layout of a flow's state as it is declared now; `None` when there is no such query, or it stands still: who paused
    /// it to change it is told when it goes on.
    fn layout_now(&self, catalog: &Catalog, name: &str) -> Option<u64> {
        let old = catalog.flows.get(name).filter(|old| !old.spec.paused)?;
        let modules = |digest: &str| self.compiler.functions().module(digest);
        let compiled = self
            .compiler
            .query(catalog, old.spec.query.as_ref()?, &modules);
        Some(compiled.ok()?.layout)
    }

    /// Queries that are not declared anew, and whose state would be of another form because of what they read.
    pub(super) fn moved(
        &self,
        new: &Catalog,
        documents: &[&Document],
        modules: Modules<'_>,
    ) -> Vec<Problem> {
        let changes_columns = |document: &&&Document| {
            matches!(
                document.spec,
                Spec::Station(_) | Spec::Schema(_) | Spec::Function(_)
            )
        };
        let Some(first) = documents.iter().find(changes_columns) else {
            return Vec::new();
        };
        let catalog = self.node.catalog().clone();
        let same = |entry: &&FlowEntry| {
            let old = catalog.flows.get(&entry.spec.name);
            old.is_some_and(|old| old.spec == entry.spec)
        };
        let others = new.flows.values().filter(same);
        let moved = others.filter_map(|entry| {
            let name = &entry.spec.name;
            let query = entry.spec.query.as_ref()?;
            let before = self.layout_now(&catalog, name)?;
            let compiled = self.compiler.query(new, query, modules).ok()?;
            if compiled.layout == before {
                return None;
            }
            let reads = |document: &&&Document| {
                let name = document.spec.name();
                compiled.sources.iter().any(|source| source.station == name)
            };
            let calls = |document: &&&Document| {
                matches!(&document.spec, Spec::Function(spec) if names_function(&query.sql, &spec.name))
            };
            if let Some(function) = documents.iter().find(calls) {
                let message = format!("flow `{name}` {KEEPS}");
                return Some(function.problem("name", message).with_hint(rebuild(name)));
            }
            let document = documents.iter().find(reads).unwrap_or(first);
            let message = format!("flow `{name}` reads it and would need state of another form");
            Some(document.problem("name", message).with_hint(rebuild(name)))
        });
        moved.collect()
    }

    /// Queries whose state would be of another form with another version of a function: what is wrong, and what to do.
    pub(in crate::manage) fn keeping(
        &self,
        new: &Catalog,
        function: &str,
    ) -> Option<(String, String)> {
        let catalog = self.node.catalog().clone();
        let modules = |digest: &str| self.compiler.functions().module(digest);
        new.flows.values().find_map(|entry| {
            let name = &entry.spec.name;
            let query = entry.spec.query.as_ref()?;
            if !names_function(&query.sql, function) {
                return None;
            }
            let before = self.layout_now(&catalog, name)?;
            let after = self.compiler.query(new, query, &modules).ok()?.layout;
            (before != after).then(|| (format!("flow `{name}` {KEEPS}"), rebuild(name)))
        })
    }

    /// Flows that are not declared anew, and could not write any more what they write into stations that change.
    pub(super) fn shut_out(
        &self,
        new: &Catalog,
        documents: &[&Document],
        modules: Modules<'_>,
    ) -> Vec<Problem> {
        let old = self.node.catalog().clone();
        let mut problems = Vec::new();
        for document in documents {
            let Spec::Station(station) = &document.spec else {
                continue;
            };
            let before = old.stations.get(&station.name);
            if before.is_none_or(|before| before.spec.subjects == station.subjects) {
                continue;
            }
            for entry in new.flows.values() {
                let name = &entry.spec.name;
                if declares(documents, name) {
                    continue;
                }
                let found = match &entry.spec.query {
                    Some(query) => {
                        self.unwritable(&old, new, document, (query, &station.name), modules)
                    }
                    None if entry.spec.to.as_ref() == Some(&station.name) => {
                        self.destination_problem(new, document, &entry.spec)
                    }
                    None => None,
                };
                problems.extend(found.map(|found| {
                    let message = format!("flow `{name}` writes there: {}", found.message);
                    let hint = format!("change the flow in the same files, or delete it first with `millstream delete flow {name}`");
                    document.problem("subjects", message).with_hint(hint)
                }));
            }
        }
        problems
    }

    /// Why a query cannot write into a station whose subjects have changed.
    fn unwritable(
        &self,
        old: &Catalog,
        new: &Catalog,
        document: &Document,
        (query, station): (&QuerySpec, &str),
        modules: Modules<'_>,
    ) -> Option<Problem> {
        let before = self.compiler.query(old, query, modules).ok()?;
        if query.into == station {
            let subject = self.subject_problem(new, document, query);
            let compiled = self.compiler.query(new, query, modules);
            let broken = compiled.err().filter(|_| query.subject.is_none());
            let broken = broken.map(|error| document.problem("subjects", error.message));
            if let Some(problem) = subject.or(broken) {
                return Some(problem);
            }
        }
        let late = before.late.filter(|late| late == station)?;
        self.late_problem(new, document, &late)
    }

    /// What a compiled query says of itself.
    pub(super) fn described_query(&self, entry: &FlowEntry) -> Option<Value> {
        let query = entry.spec.query.as_ref()?;
        let modules = |digest: &str| self.compiler.functions().module(digest);
        let compiled = self
            .compiler
            .query(&self.node.catalog().clone(), query, &modules);
        let compiled = compiled.ok()?;
        let columns = compiled.columns.iter();
        let columns = columns
            .map(|column| column.name.clone())
            .collect::<Vec<_>>();
        Some(
            json!({ "columns": columns, "updating": compiled.is_updating, "plan": compiled.explain }),
        )
    }
}

/// Whether a flow is among what is applied.
fn declares(documents: &[&Document], flow: &str) -> bool {
    let mut flows = documents
        .iter()
        .filter(|document| matches!(document.spec, Spec::Flow(_)));
    flows.any(|document| document.spec.name() == flow)
}

/// What to do when state is to be of another form.
pub(super) fn rebuild(name: &str) -> String {
    format!(
        "`millstream flow pause {name}`, apply this, then `millstream flow restart {name}` and `millstream flow resume {name}` build it anew from what is stored; or apply the query under another name"
    )
}
