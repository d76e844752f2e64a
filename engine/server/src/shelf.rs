//! Compiled versions of registry subjects and the migrations between them, kept while the registry has them like this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_cluster::{Catalog, Node};
use millstream_pipeline::{
    Migration, Migrations, Schemas, Stage, SubjectSchemas, VersionSchema, Wanted,
};
use millstream_schema_formats::Schema;
use millstream_schema_registry::{MigrationRule, Name, Version, VersionView};
use millstream_spec::SchemaVersion;

use crate::functions::Functions;
use crate::stages::{Callable, Modules, Statements, sql};

/// Most versions kept; beyond that all are compiled anew when they are asked for.
const MAX_KEPT: usize = 4096;

/// See the module.
pub(crate) struct Shelf {
    node: Arc<Node>,
    /// By subject and version; id and GUID tell whether the registry has it like this. The id alone does not: a dry run
    /// gives the next id to a schema that never comes.
    known: Mutex<HashMap<(String, u32), Arc<VersionSchema>>>,
    functions: Arc<Functions>,
    /// By subject, with what they were compiled from.
    migrations: Mutex<HashMap<String, (String, Arc<Migrations>)>>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl Shelf {
    pub(crate) fn new(node: Arc<Node>, functions: Arc<Functions>) -> Self {
        Self {
            node,
            known: Mutex::default(),
            functions,
            migrations: Mutex::default(),
        }
    }

    /// A version of a subject as `catalog` has it.
    pub(crate) fn find(
        &self,
        catalog: &Catalog,
        subject: &str,
        version: Version,
    ) -> Result<Arc<VersionSchema>, String> {
        let view = catalog.schemas.get(subject, version);
        self.compiled(catalog, &view.map_err(|error| error.to_string())?)
    }

    /// The versions of a subject that a station takes.
    pub(crate) fn subject(
        &self,
        catalog: &Catalog,
        subject: &str,
        wanted: SchemaVersion,
        message: Option<&str>,
    ) -> Result<SubjectSchemas, String> {
        let views = catalog.schemas.versions(subject);
        let views = views.map_err(|error| error.to_string())?;
        let wanted = match wanted {
            SchemaVersion::Compatible => Wanted::Compatible,
            SchemaVersion::Latest => Wanted::Exactly(views.last().map_or(0, |view| view.version)),
            SchemaVersion::Number(number) => {
                self.find(catalog, subject, Version::Number(number))?;
                Wanted::Exactly(number)
            }
        };
        let each = views.iter().map(|view| {
            let version = self.compiled(catalog, view)?;
            match message {
                Some(message) => rooted(&version, message),
                None => Ok(version),
            }
        });
        Ok(SubjectSchemas {
            subject: subject.to_owned(),
            versions: each.collect::<Result<_, String>>()?,
            wanted,
            migrations: Arc::default(),
        })
    }

    /// The migrations between a subject's versions.
    ///
    /// # Errors
    /// Which of them cannot be run, and why.
    pub(crate) fn migrations_of(
        &self,
        catalog: &Catalog,
        subject: &str,
        modules: Modules<'_>,
    ) -> Result<Arc<Migrations>, String> {
        let key = Self::migration_key(catalog, subject);
        if key.is_empty() {
            return Ok(Arc::default());
        }
        let lock = || {
            self.migrations
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((own, found)) = lock().get(subject)
            && *own == key
        {
            return Ok(Arc::clone(found));
        }
        let views = catalog.schemas.versions(subject);
        let views = views.map_err(|error| error.to_string())?;
        let mut migrations = Migrations::default();
        for pair in views.windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            let up = self.migration(catalog, (old, new), "UPGRADE", modules)?;
            let down = self.migration(catalog, (new, old), "DOWNGRADE", modules)?;
            migrations.up.extend(up);
            migrations.down.extend(down);
        }
        migrations.down.reverse();
        let migrations = Arc::new(migrations);
        lock().insert(subject.to_owned(), (key, Arc::clone(&migrations)));
        Ok(migrations)
    }

    /// What a subject's migrations are made from; empty when there are none.
    pub(crate) fn migration_key(catalog: &Catalog, subject: &str) -> String {
        let mut key = String::new();
        let Ok(views) = catalog.schemas.versions(subject) else {
            return key;
        };
        for view in &views {
            let Some(rules) = &view.schema.rule_set else {
                continue;
            };
            let up = rules.migrations("UPGRADE");
            for (_, rule) in up.chain(rules.migrations("DOWNGRADE")) {
                if key.is_empty() {
                    // A migration is between neighbours, whichever these are.
                    for view in &views {
                        let guid = &view.schema.guid;
                        key.push_str(&format!(" {}:{guid}", view.version));
                    }
                }
                if let MigrationRule::Function(name) = rule
                    && let Some(entry) = catalog.functions.get(name)
                {
                    key.push_str(&format!(" {name} {} {}", entry.version, entry.updated));
                }
            }
        }
        key
    }

    fn migration(
        &self,
        catalog: &Catalog,
        (from, to): (&VersionView<'_>, &VersionView<'_>),
        mode: &str,
        modules: Modules<'_>,
    ) -> Result<Option<Migration>, String> {
        let owner = if from.version < to.version { to } else { from };
        let Some(rules) = &owner.schema.rule_set else {
            return Ok(None);
        };
        let mut rules = rules.migrations(mode);
        let Some((name, rule)) = rules.next() else {
            return Ok(None);
        };
        let wrong = |why: String| {
            let (subject, version) = (owner.subject, owner.version);
            format!("migration `{name}` of schema `{subject}:{version}`: {why}")
        };
        if let Some((other, _)) = rules.next() {
            return Err(wrong(format!(
                "`{other}` is for {mode} as well; the server runs one migration in each direction"
            )));
        }
        let (from, to) = (self.compiled(catalog, from)?, self.compiled(catalog, to)?);
        let stage: Arc<dyn Stage> = match rule {
            MigrationRule::Function(function) => {
                let entry = catalog.functions.get(function);
                let entry =
                    entry.ok_or_else(|| wrong(format!("there is no function `{function}`")))?;
                Arc::new(self.functions.pure(entry, modules).map_err(wrong)?)
            }
            MigrationRule::Sql(text) => {
                let columns = from.schema.columns();
                let columns = columns.map_err(|error| wrong(error.to_string()))?;
                // A migration is a function of its message: it calls nothing, and sends nothing elsewhere.
                let compiled = sql(Statements {
                    number: 1,
                    text,
                    columns: Some(&columns),
                    functions: Callable::default(),
                    stations: Vec::new(),
                    path: "migrations",
                });
                let (stage, _) = compiled.map_err(|problem| wrong(problem.to_string()))?;
                stage
            }
        };
        Ok(Some(Migration { from, to, stage }))
    }

    fn compiled(
        &self,
        catalog: &Catalog,
        view: &VersionView<'_>,
    ) -> Result<Arc<VersionSchema>, String> {
        let key = (view.subject.to_owned(), view.version);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = (view.id, view.schema.guid_number());
        let same = |version: &&Arc<VersionSchema>| (version.id, version.guid) == numbers;
        if let Some(version) = known.get(&key).filter(same) {
            return Ok(Arc::clone(version));
        }
        drop(known);
        let version = compile(catalog, view.id, view.subject, view.version)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.insert(key, Arc::clone(&version));
        Ok(version)
    }
}

fn compile(
    catalog: &Catalog,
    id: u32,
    subject: &str,
    version: u32,
) -> Result<Arc<VersionSchema>, String> {
    let entry = catalog.schemas.by_id(id);
    let entry = entry.map_err(|error| error.to_string())?;
    let references = catalog
        .schemas
        .references(&Name::read(subject), &entry.references);
    let references = references.map_err(|error| error.to_string())?;
    let schema = Schema::compile(entry.format, &entry.text, &references);
    let schema = schema.map_err(|error| error.to_string())?;
    let guid = entry.guid_number();
    Ok(Arc::new(VersionSchema::new(
        subject, version, id, guid, schema,
    )))
}

/// The version with another message of a Protobuf schema as what payloads are.
fn rooted(version: &Arc<VersionSchema>, message: &str) -> Result<Arc<VersionSchema>, String> {
    let name = format!("`{}:{}`", version.subject, version.version);
    let Schema::Protobuf(schema) = &version.schema else {
        return Err(format!(
            "`message` is for Protobuf schemas, and {name} is {}",
            version.schema.format()
        ));
    };
    version.rooted(message).ok_or_else(|| {
        let messages = schema.messages().join("`, `");
        format!("schema {name} has no message `{message}`; it has `{messages}`")
    })
}

impl Schemas for Shelf {
    fn version(&self, subject: &str, version: Option<u32>) -> Result<Arc<VersionSchema>, String> {
        let catalog = self.node.catalog();
        let version = version.map_or(Version::Latest, Version::Number);
        self.find(&catalog, subject, version)
    }

    fn by_id(&self, id: u32, subject: &str, version: u32) -> Result<Arc<VersionSchema>, String> {
        compile(&self.node.catalog(), id, subject, version)
    }

    fn migrations(&self, subject: &str) -> Result<Arc<Migrations>, String> {
        let catalog = self.node.catalog();
        self.migrations_of(&catalog, subject, &|digest| self.functions.module(digest))
    }
}
