//! What a reader asks for, and stored messages turned into that.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::{Format, Value, Violation};
use millstream_types::HeaderBlock;
use thiserror::Error;

use super::migrate::Migrations;
use super::version::VersionSchema;

/// In which form a consumer, a sink or a REST reader wants messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// JSON instead of what is stored, or the format that `version` has.
    pub format: Option<Format>,
    /// Another version, or another subject's schema.
    pub version: Option<SubjectVersion>,
    /// The prefix that Confluent's deserializers expect before the payload.
    pub prefix: Option<Prefix>,
}

/// `flight` or `flight:3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectVersion {
    /// The registry subject.
    pub subject: String,
    /// Its version; the newest when absent.
    pub version: Option<u32>,
}

/// What names the schema before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// A zero byte and four bytes of id.
    Id,
    /// A byte of one and sixteen bytes of GUID.
    Guid,
}

/// Metadata of a consumer that [`Reading::of_metadata`] looks at.
const DECODE: &str = "ms.decode";
const AS: &str = "ms.as";
const PREFIX: &str = "ms.prefix";

/// Why a reader cannot have what it asks for.
#[derive(Debug, Error)]
pub enum ReadingError {
    /// The wish itself cannot be read.
    #[error("{key} is `{value}`; {hint}")]
    Wish {
        /// Which part.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        hint: &'static str,
    },
    /// A schema is not there.
    #[error("{0}")]
    Schema(String),
    /// The schema's format is not the one asked for.
    #[error(
        "schema `{subject}` is {has}, and {wants} is asked for; name a schema of that format with `ms.as`"
    )]
    Format {
        /// The schema.
        subject: String,
        /// Its format.
        has: Format,
        /// What is asked for.
        wants: Format,
    },
    /// The message has no schema to read it by.
    #[error("message carries no `Ms-Schema` header, so there is no schema to read it by")]
    NoSchema,
    /// A value has no place in what is asked for.
    #[error("value at `{path}` cannot be carried: {0}", path = .0.path)]
    Value(Violation),
}

/// Where compiled versions come from.
pub trait Schemas: Send + Sync + std::fmt::Debug {
    /// A version of a subject; the newest without a number.
    ///
    /// # Errors
    /// Why there is none.
    fn version(&self, subject: &str, version: Option<u32>) -> Result<Arc<VersionSchema>, String>;

    /// The schema with an id, under the name it had: for messages whose subject or version is gone.
    ///
    /// # Errors
    /// Why there is none.
    fn by_id(&self, id: u32, subject: &str, version: u32) -> Result<Arc<VersionSchema>, String>;

    /// The migrations of a subject.
    ///
    /// # Errors
    /// Why one of them cannot be run.
    fn migrations(&self, subject: &str) -> Result<Arc<Migrations>, String>;
}

impl FromStr for SubjectVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write `subject` or `subject:version`";
        let (subject, version) = match text.rsplit_once(':') {
            Some((subject, "latest")) => (subject, None),
            Some((subject, number)) => (subject, Some(number.parse().map_err(|_| FORM)?)),
            None => (text, None),
        };
        if subject.is_empty() || version == Some(0) {
            return Err(FORM);
        }
        Ok(Self {
            subject: subject.to_owned(),
            version,
        })
    }
}

impl Reading {
    /// What three texts say: a format, a subject with or without a version, `id` or `guid`; `None` when they say nothing.
    ///
    /// # Errors
    /// Which of them cannot be read.
    pub fn parse(
        format: Option<&str>,
        version: Option<&str>,
        prefix: Option<&str>,
    ) -> Result<Option<Self>, ReadingError> {
        let wrong = |key, value: &str, hint| ReadingError::Wish {
            key,
            value: value.to_owned(),
            hint,
        };
        let format = format
            .map(|word| {
                let hint = "use `json`, `avro` or `protobuf`";
                word.parse().map_err(|_| wrong(DECODE, word, hint))
            })
            .transpose()?;
        let version = version
            .map(|word| word.parse().map_err(|hint| wrong(AS, word, hint)))
            .transpose()?;
        let prefix = prefix
            .map(|word| match word {
                "id" => Ok(Prefix::Id),
                "guid" => Ok(Prefix::Guid),
                _ => Err(wrong(PREFIX, word, "use `id` or `guid`")),
            })
            .transpose()?;
        let reading = Self {
            format,
            version,
            prefix,
        };
        Ok(Some(reading).filter(|reading| *reading != Self::default()))
    }

    /// What a consumer's metadata asks for: `ms.decode`, `ms.as` and `ms.prefix`.
    ///
    /// # Errors
    /// As [`Reading::parse`].
    pub fn of_metadata<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, ReadingError> {
        Self::parse(get(DECODE), get(AS), get(PREFIX))
    }

    /// A stored message as it is wanted: headers and payload; `None` when that is as it is stored. So are messages without a
    /// schema when only JSON is asked for, whatever they are.
    ///
    /// # Errors
    /// Why the message cannot be had like this.
    pub fn convert(
        &self,
        schemas: &dyn Schemas,
        raw: &[u8],
        payload: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, ReadingError> {
        let block = HeaderBlock::new(raw);
        let Some(name) = block.get_str("Ms-Schema") else {
            let json = self.format == Some(Format::Json);
            if json && self.version.is_none() && self.prefix.is_none() {
                return Ok(None);
            }
            return Err(ReadingError::NoSchema);
        };
        let stored = find(schemas, name, block.get_str("Ms-Schema-Id"))?;
        let stored = match block.get_str("Ms-Schema-Message") {
            Some(message) => other_root(&stored, message)?,
            None => stored,
        };
        let is_json = block.get_str("Ms-Schema-Format").is_some();
        let wanted = match &self.version {
            Some(SubjectVersion { subject, version }) => schemas
                .version(subject, *version)
                .map_err(ReadingError::Schema)?,
            None => Arc::clone(&stored),
        };
        let wanted = match wanted.like(&stored) {
            Some(like) => like,
            None => other_root(&wanted, stored.message.as_deref().unwrap_or_default())?,
        };
        self.carry(schemas, (&stored, is_json), &wanted, raw, payload)
    }

    /// Why a version cannot be what is asked for: JSON can be had of every format, another format only of a schema in it.
    #[must_use]
    pub fn mismatch(&self, wanted: &VersionSchema) -> Option<ReadingError> {
        let has = wanted.schema.format();
        let wants = self
            .format
            .filter(|wants| *wants != Format::Json && *wants != has)?;
        let subject = wanted.subject.clone();
        Some(ReadingError::Format {
            subject,
            has,
            wants,
        })
    }

    fn carry(
        &self,
        schemas: &dyn Schemas,
        (stored, is_json): (&Arc<VersionSchema>, bool),
        wanted: &Arc<VersionSchema>,
        raw: &[u8],
        payload: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, ReadingError> {
        if let Some(why) = self.mismatch(wanted) {
            return Err(why);
        }
        let to_json = self.format == Some(Format::Json) && wanted.schema.format() != Format::Json;
        let same = stored == wanted;
        if same && is_json == to_json && self.prefix.is_none() {
            return Ok(None);
        }
        let wrong = ReadingError::Value;
        let migrations = if stored.subject == wanted.subject && !same {
            let found = schemas.migrations(&wanted.subject);
            Some(found.map_err(ReadingError::Schema)?)
        } else {
            None
        };
        let (from, to) = (stored.version, wanted.version);
        let migrated = |known: &Migrations| known.between(from, to).next().is_some();
        let encoded: Bytes = match (&migrations, is_json) {
            (None, false) if same => Bytes::copy_from_slice(payload),
            (None, false) => {
                let carried = wanted.schema.carry(&stored.schema, payload);
                carried.map_err(wrong)?.into()
            }
            (Some(known), false) => known.carry(stored, wanted, payload).map_err(wrong)?.into(),
            (Some(known), true) if migrated(known) => {
                let payload = stored.schema.encode(&wanted_value(payload)?);
                let payload = payload.map_err(wrong)?;
                known.carry(stored, wanted, &payload).map_err(wrong)?.into()
            }
            (_, true) => {
                let value = wanted_value(payload)?;
                wanted.schema.encode(&value).map_err(wrong)?.into()
            }
        };
        if to_json {
            let value = wanted.schema.decode(&encoded).map_err(wrong)?;
            let text = value.to_json().to_string();
            return Ok(Some((wanted.as_json().stamped(raw), text.into())));
        }
        Ok(Some((wanted.stamped(raw), self.framed(wanted, encoded))))
    }

    fn framed(&self, version: &VersionSchema, payload: Bytes) -> Bytes {
        let mut framed = match self.prefix {
            None => return payload,
            Some(Prefix::Id) => [&[0][..], &version.id.to_be_bytes()].concat(),
            Some(Prefix::Guid) => [&[1][..], &version.guid.to_be_bytes()].concat(),
        };
        if let millstream_schema_formats::Schema::Protobuf(schema) = &version.schema {
            let index = millstream_schema_formats::write_message_index(&schema.index_of());
            framed.extend_from_slice(&index);
        }
        framed.extend_from_slice(&payload);
        framed.into()
    }
}

fn find(
    schemas: &dyn Schemas,
    name: &str,
    id: Option<&str>,
) -> Result<Arc<VersionSchema>, ReadingError> {
    let wrong = |hint: &'static str| ReadingError::Wish {
        key: "Ms-Schema",
        value: name.to_owned(),
        hint,
    };
    let SubjectVersion { subject, version } = name.parse().map_err(wrong)?;
    let id = id.and_then(|id| id.parse::<u32>().ok());
    // The id is what stays: a subject may have been deleted and made again.
    let found = match (schemas.version(&subject, version), id) {
        (Ok(found), Some(id)) if found.id != id => {
            schemas.by_id(id, &subject, version.unwrap_or(1))
        }
        (Err(_), Some(id)) => schemas.by_id(id, &subject, version.unwrap_or(1)),
        (found, _) => found,
    };
    found.map_err(ReadingError::Schema)
}

fn other_root(
    version: &Arc<VersionSchema>,
    message: &str,
) -> Result<Arc<VersionSchema>, ReadingError> {
    version.rooted(message).ok_or_else(|| {
        let (subject, number) = (&version.subject, version.version);
        ReadingError::Schema(format!(
            "schema `{subject}:{number}` has no message `{message}`"
        ))
    })
}

fn wanted_value(payload: &[u8]) -> Result<Value, ReadingError> {
    let document: serde_json::Value = serde_json::from_slice(payload).map_err(|error| {
        ReadingError::Schema(format!(
            "message says that it is JSON, but it is not: {error}"
        ))
    })?;
    Ok(document.into())
}
