//! Compiled versions of registry subjects, kept while the registry has them like this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_cluster::{Catalog, Node};
use millstream_pipeline::{Schemas, SubjectSchemas, VersionSchema, Wanted};
use millstream_schema_formats::Schema;
use millstream_schema_registry::{Name, Version, VersionView};
use millstream_spec::SchemaVersion;

/// Most versions kept; beyond that all are compiled anew when they are asked for.
const MAX_KEPT: usize = 4096;

/// See the module.
pub(crate) struct Shelf {
    node: Arc<Node>,
    /// By subject and version; id and GUID tell whether the registry has it like this. The id alone does not: a dry run
    /// gives the next id to a schema that never comes.
    known: Mutex<HashMap<(String, u32), Arc<VersionSchema>>>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

impl Shelf {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let known = Mutex::default();
        Self { node, known }
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
        })
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
}
