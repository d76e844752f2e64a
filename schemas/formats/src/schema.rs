//! A compiled schema of any format.

use crate::avro::AvroSchema;
use crate::detail::detailed;
use crate::json::JsonSchema;
use crate::protobuf::ProtobufSchema;
use crate::{Column, Format, Incompatibility, Policy, SchemaError, Shape, Value, Violation};

/// Another schema that a schema refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// How it is referred to: the import path in Protobuf, the `$ref` URI in JSON Schema, the full name in Avro.
    pub name: String,
    /// Its text, in the same format.
    pub text: String,
}

/// A schema that was compiled once and checks any number of payloads, from any number of threads. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Schema {
    /// JSON Schema.
    Json(JsonSchema),
    /// Avro.
    Avro(AvroSchema),
    /// Protobuf, with the message that payloads are.
    Protobuf(ProtobufSchema),
}

impl Schema {
    /// Compiles a text. `references` are all schemas it refers to, also through others, those without references of their own
    /// first.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(
        format: Format,
        text: &str,
        references: &[Reference],
    ) -> Result<Self, SchemaError> {
        Ok(match format {
            Format::Json => Self::Json(JsonSchema::compile(text, references)?),
            Format::Avro => Self::Avro(AvroSchema::compile(text, references)?),
            Format::Protobuf => Self::Protobuf(ProtobufSchema::compile(text, references)?),
        })
    }

    /// Its language.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Json(_) => Format::Json,
            Self::Avro(_) => Format::Avro,
            Self::Protobuf(_) => Format::Protobuf,
        }
    }

    /// The text by which two schemas are known to be the same: as parsed, without white space and comments.
    #[must_use]
    pub fn canonical(&self) -> String {
        match self {
            Self::Json(schema) => schema.canonical(),
            Self::Avro(schema) => schema.canonical(),
            Self::Protobuf(schema) => schema.canonical(),
        }
    }

    /// The text with everything in one order and spelling that does not change what it means (`normalize=true`).
    #[must_use]
    pub fn normalized(&self) -> String {
        match self {
            Self::Json(schema) => schema.normalized(),
            Self::Avro(schema) => schema.normalized(),
            Self::Protobuf(schema) => schema.normalized(),
        }
    }

    /// The full name of what payloads are: the record's, the message's, a JSON Schema's `title`.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Json(schema) => schema.name(),
            Self::Avro(schema) => schema.name(),
            Self::Protobuf(schema) => Some(schema.name()),
        }
    }

    /// Checks a payload by walking over its bytes; nothing is decoded.
    ///
    /// # Errors
    /// The first thing that does not fit, and where.
    pub fn check(&self, payload: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Json(schema) => schema.check_bytes(payload),
            Self::Avro(schema) => schema.check(payload),
            Self::Protobuf(schema) => schema.check(payload),
        }
    }

    /// Whether a walk over the bytes finds that a payload fits, in time that grows with its length alone. False says nothing:
    /// some JSON Schemas need the document as a tree, and [`Schema::check`] says what is wrong.
    #[must_use]
    pub fn fits(&self, payload: &[u8]) -> bool {
        match self {
            Self::Json(schema) => schema.fits(payload),
            Self::Avro(schema) => schema.check(payload).is_ok(),
            Self::Protobuf(schema) => schema.check(payload).is_ok(),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// As [`Schema::check`].
    pub fn decode(&self, payload: &[u8]) -> Result<Value, Violation> {
        match self {
            Self::Json(schema) => schema.decode(payload),
            Self::Avro(schema) => schema.decode(payload),
            Self::Protobuf(schema) => schema.decode(payload),
        }
    }

    /// Writes a payload. Members that the schema does not know are refused where the schema is closed, as in Avro and Protobuf.
    ///
    /// # Errors
    /// What the schema has no place for.
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>, Violation> {
        match self {
            Self::Json(schema) => schema.encode(value),
            Self::Avro(schema) => schema.encode(value),
            Self::Protobuf(schema) => schema.encode(value),
        }
    }

    /// A payload of an older or newer version of this schema, laid out for this one by the format's own rules of resolution:
    /// what is new takes its default, what is gone is left out, numbers are widened.
    ///
    /// # Errors
    /// What has no place here, or no default.
    pub fn resolve(&self, writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        match (self, writer) {
            (Self::Json(reader), Self::Json(writer)) => reader.resolve(writer, payload),
            (Self::Avro(reader), Self::Avro(writer)) => reader.resolve(writer, payload),
            (Self::Protobuf(reader), Self::Protobuf(writer)) => reader.resolve(writer, payload),
            _ => self.encode(&writer.decode(payload)?),
        }
    }

    /// A payload of any schema, laid out for this one: by the rules of resolution where they lead there, else by its value.
    ///
    /// # Errors
    /// As [`Schema::resolve`].
    pub fn carry(&self, writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        self.resolve(writer, payload).or_else(|why| {
            let value = writer.decode(payload)?;
            self.encode(&value).map_err(|_| why)
        })
    }

    /// The columns it describes.
    ///
    /// # Errors
    /// When it does not describe an object.
    pub fn columns(&self) -> Result<Vec<Column>, SchemaError> {
        let columns = match self {
            Self::Json(schema) => schema.columns(),
            Self::Avro(schema) => schema.columns(),
            Self::Protobuf(schema) => schema.columns(),
        };
        Ok(detailed(columns?, &self.shape()))
    }

    /// What it says in words that all formats share.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self {
            Self::Json(schema) => schema.shape(),
            Self::Avro(schema) => schema.shape(),
            Self::Protobuf(schema) => schema.shape(),
        }
    }

    /// The text of a schema in `format` whose payloads can carry every value of `shape`.
    #[must_use]
    pub fn text_of(format: Format, shape: &Shape) -> String {
        match format {
            Format::Json => JsonSchema::text_of(shape),
            Format::Avro => AvroSchema::text_of(shape),
            Format::Protobuf => ProtobufSchema::text_of(shape),
        }
    }

    /// What keeps `self` as a reader from reading what `writer` allows; empty when nothing does. Schemas of different formats
    /// never get along.
    #[must_use]
    pub fn cannot_read(&self, writer: &Self, policy: Policy) -> Vec<Incompatibility> {
        match (self, writer) {
            (Self::Json(reader), Self::Json(writer)) => reader.cannot_read(writer, policy),
            (Self::Avro(reader), Self::Avro(writer)) => reader.cannot_read(writer),
            (Self::Protobuf(reader), Self::Protobuf(writer)) => reader.cannot_read(writer),
            _ => vec![Incompatibility {
                kind: "FORMAT_CHANGED".to_owned(),
                path: String::new(),
                message: format!(
                    "the format was `{}` and is `{}`",
                    writer.format(),
                    self.format()
                ),
            }],
        }
    }
}
