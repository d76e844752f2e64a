//! What can be asked of the registry, whichever way it is asked.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::RegistryError;
use crate::data::{Metadata, RuleSet, SchemaReference, nullable};

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What is asked. The words are the ones of `$MS.API.SCHEMA.<word>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verb { $($(#[$doc])* $name,)* }

        impl Verb {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in NATS subjects.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The verb of a word.
            #[must_use]
            pub fn read(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|verb| verb.word() == word)
            }
        }
    };
}

verbs! {
    /// Which formats there are.
    Types = "TYPES",
    /// Versions of all subjects.
    Schemas = "SCHEMAS",
    /// The schema with an id.
    Id = "ID",
    /// Its text alone.
    IdSchema = "ID_SCHEMA",
    /// Subjects that have it.
    IdSubjects = "ID_SUBJECTS",
    /// Versions that are it.
    IdVersions = "ID_VERSIONS",
    /// The schema with a GUID.
    Guid = "GUID",
    /// Its ids in all contexts.
    GuidIds = "GUID_IDS",
    /// Names of subjects.
    Subjects = "SUBJECTS",
    /// Whether a subject has a schema, and as which version.
    Lookup = "LOOKUP",
    /// Removes a subject.
    DeleteSubject = "DELETE",
    /// Version numbers of a subject.
    Versions = "VERSIONS",
    /// A new version.
    Register = "REGISTER",
    /// One version.
    Version = "VERSION",
    /// Its text alone.
    VersionSchema = "VERSION_SCHEMA",
    /// Ids of schemas that refer to it.
    ReferencedBy = "REFERENCED_BY",
    /// Removes a version.
    DeleteVersion = "DELETE_VERSION",
    /// A new version with other tags.
    Tag = "TAG",
    /// The latest version with some metadata.
    ByMetadata = "METADATA",
    /// Whether a schema could be registered.
    Check = "CHECK",
    /// What is set.
    Config = "CONFIG",
    /// Sets.
    SetConfig = "SET_CONFIG",
    /// Unsets.
    DeleteConfig = "DELETE_CONFIG",
    /// The mode.
    Mode = "MODE",
    /// Sets it.
    SetMode = "SET_MODE",
    /// Unsets it.
    DeleteMode = "DELETE_MODE",
    /// Names of contexts.
    Contexts = "CONTEXTS",
    /// Removes one that is empty.
    DeleteContext = "DELETE_CONTEXT",
}

/// Everything a request may say. Names are those of the HTTP interface's queries and bodies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ask {
    /// A subject, `:.context:subject` outside the default context.
    #[serde(deserialize_with = "nullable")]
    pub subject: String,
    /// `latest`, -1, or a number from 1.
    #[serde(deserialize_with = "word")]
    pub version: Option<String>,
    /// A schema's id.
    #[serde(deserialize_with = "word")]
    pub id: Option<String>,
    /// A schema's GUID.
    #[serde(deserialize_with = "nullable")]
    pub guid: String,
    /// A context, with or without its dot.
    #[serde(deserialize_with = "nullable")]
    pub context: String,
    /// How the text is shown.
    #[serde(deserialize_with = "nullable")]
    pub format: String,
    /// Which subjects.
    #[serde(deserialize_with = "nullable")]
    pub subject_prefix: Option<String>,
    /// Which contexts.
    #[serde(deserialize_with = "nullable")]
    pub context_prefix: String,
    /// Metadata properties that must be there; `value` has their values in the same order.
    #[serde(deserialize_with = "words")]
    pub key: Vec<String>,
    /// See `key`.
    #[serde(deserialize_with = "words")]
    pub value: Vec<String>,
    /// First of a list.
    #[serde(deserialize_with = "word")]
    pub offset: Option<String>,
    /// Most of a list; negative for all.
    #[serde(deserialize_with = "word")]
    pub limit: Option<String>,
    /// Normalise before comparing and storing.
    #[serde(deserialize_with = "flag")]
    pub normalize: bool,
    /// Deleted ones as well.
    #[serde(deserialize_with = "flag")]
    pub deleted: bool,
    /// Only deleted ones.
    #[serde(deserialize_with = "flag")]
    pub deleted_only: bool,
    /// Deleted versions with a minus in front.
    #[serde(deserialize_with = "flag")]
    pub deleted_as_negative: bool,
    /// For good.
    #[serde(deserialize_with = "flag")]
    pub permanent: bool,
    /// The newest version of each subject.
    #[serde(deserialize_with = "flag")]
    pub latest_only: bool,
    /// What counts, instead of what is set here.
    #[serde(deserialize_with = "flag")]
    pub default_to_global: bool,
    /// With messages.
    #[serde(deserialize_with = "flag")]
    pub verbose: bool,
    /// Although there are schemas.
    #[serde(deserialize_with = "flag")]
    pub force: bool,
    /// For all below as well.
    #[serde(deserialize_with = "flag")]
    pub recursive: bool,
    /// With the highest id.
    #[serde(deserialize_with = "flag")]
    pub fetch_max_id: bool,
    /// The text.
    #[serde(deserialize_with = "nullable")]
    pub schema: String,
    /// `AVRO` when absent.
    #[serde(deserialize_with = "nullable")]
    pub schema_type: Option<String>,
    /// What it refers to.
    #[serde(deserialize_with = "nullable")]
    pub references: Vec<SchemaReference>,
    /// Free properties.
    pub metadata: Option<Metadata>,
    /// Rules.
    pub rule_set: Option<RuleSet>,
    /// The mode to set.
    #[serde(deserialize_with = "nullable")]
    pub mode: String,
    /// Tags to add, per entity.
    #[serde(alias = "schemaTagsToAdd", deserialize_with = "nullable")]
    pub tags_to_add: Vec<EntityTags>,
    /// Tags to take away, per entity.
    #[serde(alias = "schemaTagsToRemove", deserialize_with = "nullable")]
    pub tags_to_remove: Vec<EntityTags>,
    /// With the latest version's tags, on what is still there.
    #[serde(deserialize_with = "flag")]
    pub propagate_schema_tags: bool,
    /// Show the tags of the text.
    #[serde(deserialize_with = "flag")]
    pub find_tags: bool,
}

/// Tags of one part of a schema.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EntityTags {
    /// Which part.
    pub schema_entity: Entity,
    /// The tags.
    #[serde(deserialize_with = "nullable")]
    pub tags: Vec<String>,
}

/// A part of a schema.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Entity {
    /// Such as `com.example.Order.price`.
    pub entity_path: String,
    /// `sr_record` or `sr_field`.
    pub entity_type: String,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub verb: Verb,
    /// Of what.
    pub ask: Ask,
    /// The body as it came: settings tell an absent member from `null`, and are echoed.
    pub body: Map<String, Value>,
}

impl Request {
    /// A request from its body and what path and query say, which wins.
    ///
    /// # Errors
    /// When a member is of a type it cannot have.
    pub fn new(
        verb: Verb,
        body: Map<String, Value>,
        query: Map<String, Value>,
    ) -> Result<Self, RegistryError> {
        let mut all = match verb {
            // Members of settings mean something else.
            Verb::SetConfig => ["subject"]
                .into_iter()
                .filter_map(|key| Some((key.to_owned(), body.get(key)?.clone())))
                .collect(),
            _ => body.clone(),
        };
        all.extend(query);
        let ask = serde_json::from_value(Value::Object(all))
            .map_err(|error| RegistryError::Body(format!("request cannot be read: {error}")))?;
        Ok(Self { verb, ask, body })
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// JSON.
    Json(Value),
    /// A text that is not JSON.
    Text(String),
    /// Nothing.
    Done,
}

fn word<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

fn words<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let one = |value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(match Value::deserialize(input)? {
        Value::Null => Vec::new(),
        Value::Array(many) => many.into_iter().map(one).collect(),
        other => vec![one(other)],
    })
}

fn flag<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Bool(flag) => flag,
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("true"),
        _ => false,
    })
}
