//! `delete`: refused while something uses it.

use millstream_admin::{Failure, FailureCode};
use millstream_cluster::{Catalog, CatalogChange, CatalogCommand, Command, Kind, Outcome};
use millstream_jetstream::state_stream;
use millstream_spec::StageSpec;
use millstream_streams::Command as StreamCommand;
use millstream_types::Timestamp;
use serde_json::{Value, json};

use crate::compile::{Compiler, names_function};

use super::{Manager, not_found, refused, streams};

impl Manager {
    pub(super) async fn delete(&self, kind: Kind, name: &str) -> Result<Value, Failure> {
        let _one_at_a_time = self.apply.lock().await;
        let jetstream = self.jetstream()?;
        let (known, users) = {
            let catalog = self.node.catalog();
            (
                super::apply::names(&catalog, kind),
                [
                    catalog.users_of(kind, name),
                    referring(&catalog, kind, name),
                    self.naming(&catalog, kind, name),
                    self.querying(&catalog, kind, name),
                ]
                .concat(),
            )
        };
        if !known.iter().any(|known| known == name) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(not_found(kind, name, &known));
        }
        if !users.is_empty() {
            return Err(Failure::new(
                FailureCode::Conflict,
                format!("{kind} `{name}` is used by {}", users.join(", ")),
                "change or delete those first",
            ));
        }
        // A function of the same name that comes later counts from nothing.
        let counted = match kind {
            Kind::Function => self.versions_of(name),
            _ => Vec::new(),
        };
        let change = CatalogChange::Delete {
            kind,
            name: name.to_owned(),
        };
        let catalog = CatalogCommand {
            time: Timestamp::now().0,
            changes: vec![change],
        };
        let mut commands = vec![Command::Catalog(catalog)];
        let own = match kind {
            Kind::Station => vec![name.to_owned(), streams::letters_name(name)],
            Kind::Flow => vec![state_stream(name)],
            _ => Vec::new(),
        };
        for stream in own {
            if let Some(cell) = self.node.stream(&stream) {
                commands.push(Command::Stream(StreamCommand::DeleteStream { id: cell.id }));
            }
        }
        let outcome = jetstream
            .propose(&Command::Several(commands))
            .await
            .map_err(|error| refused(&error))?;
        if let Outcome::Several(outcomes) = outcome {
            for outcome in outcomes {
                if let Outcome::Refused(error) = outcome {
                    return Err(refused(&error));
                }
            }
        }
        for version in counted {
            self.compiler.functions().metrics().forget(name, version);
        }
        self.connectors()?.sync().await;
        self.flows()?.sync().await;
        Ok(json!({ "changes": [{ "kind": kind, "name": name, "action": "deleted", "diff": [] }] }))
    }
}

impl Manager {
    /// Flows whose queries read a station without saying so outside of the statement, as `flow name`.
    fn querying(&self, catalog: &Catalog, kind: Kind, name: &str) -> Vec<String> {
        let (Kind::Station, Some(flows)) = (kind, &self.flows) else {
            return Vec::new();
        };
        let letters = streams::letters_name(name);
        let reads = |flow: &str| {
            let flow = flows.get(flow);
            flow.is_some_and(|flow| flow.setup().reads(name) || flow.setup().reads(&letters))
        };
        let others = catalog.flows.keys().filter(|flow| reads(flow));
        let others = others.map(|flow| format!("flow `{flow}`"));
        let known = catalog.users_of(kind, name);
        others.filter(|flow| !known.contains(flow)).collect()
    }

    /// The numbers of a function's versions.
    fn versions_of(&self, name: &str) -> Vec<u64> {
        let catalog = self.node.catalog();
        let entry = catalog.functions.get(name);
        entry.map_or_else(Vec::new, |entry| entry.versions.keys().copied().collect())
    }
}

impl Manager {
    /// Stations and flows whose SQL names it: which could not run without.
    fn naming(&self, catalog: &Catalog, kind: Kind, name: &str) -> Vec<String> {
        if !matches!(kind, Kind::Function | Kind::Station) {
            return Vec::new();
        }
        let mut without = catalog.clone();
        without
            .functions
            .retain(|own, _| kind != Kind::Function || own != name);
        without
            .stations
            .retain(|own, _| kind != Kind::Station || own != name);
        let changed = |owner: &str, stages: &[StageSpec]| {
            let key = |catalog: &Catalog| Compiler::sql_key(catalog, owner, stages);
            key(catalog) != key(&without)
        };
        let modules = |digest: &str| self.compiler.functions().module(digest);
        let stations = without.stations.values().filter_map(|entry| {
            let spec = &entry.spec;
            let breaks = changed(&spec.name, &spec.stages)
                && self.compiler.plan(&without, entry, &modules).is_err();
            breaks.then(|| format!("station `{}`", spec.name))
        });
        let flows = without.flows.values().filter_map(|entry| {
            let spec = &entry.spec;
            let query = spec.query.as_ref();
            let calls = query
                .is_some_and(|query| kind == Kind::Function && names_function(&query.sql, name));
            let breaks = (calls || changed(&spec.from, &spec.stages))
                && self.compiler.flow(&without, entry, &modules).is_err();
            breaks.then(|| format!("flow `{}`", spec.name))
        });
        stations.chain(flows).collect()
    }
}

/// Schemas that refer to a schema, as `schema name:version`.
fn referring(catalog: &Catalog, kind: Kind, name: &str) -> Vec<String> {
    if kind != Kind::Schema {
        return Vec::new();
    }
    let versions = catalog.schemas.referring(name).into_iter();
    versions
        .map(|version| format!("schema `{version}`"))
        .collect()
}
