//! The stage that lays records out for the log, after all others.

use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::Value;

use super::migrate::Migrations;
use super::version::VersionSchema;
use crate::{Record, Rejection, Stage, Verdict};

/// What is stored.
#[derive(Debug)]
pub enum Encoding {
    /// JSON.
    Json,
    /// The format and version the message came in.
    AsItCame,
    /// This version of this subject.
    Version(Arc<VersionSchema>, Arc<Migrations>),
}

/// Encodes what the stages left. Always the last stage. Its verdicts are [`Verdict::Keep`], or [`Verdict::Reject`] with code
/// `encode_violation` for what the schema has no place for.
#[derive(Debug)]
pub struct EncodeStage {
    label: String,
    encoding: Encoding,
}

impl EncodeStage {
    /// A stage; its label is `encode:<subject>`, `encode:json` or `encode:as_it_came`.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        let label = match &encoding {
            Encoding::Json => "encode:json".to_owned(),
            Encoding::AsItCame => "encode:as_it_came".to_owned(),
            Encoding::Version(version, _) => format!("encode:{}", version.subject),
        };
        Self { label, encoding }
    }

    fn encode(&self, record: &mut Record) -> Result<(), Rejection> {
        if record.elsewhere {
            return Ok(());
        }
        // The payload in its own format is only good for what can take it as it is.
        let encoded = record.encoded.take();
        let came = record.schema.clone();
        match (&self.encoding, came) {
            (Encoding::Json, came) => record.schema = came.map(|version| version.as_json()),
            (Encoding::AsItCame, None) => {}
            (Encoding::AsItCame, Some(version)) => match encoded {
                Some(body) => record.message.payload = body,
                None => self.write(record, &version)?,
            },
            (Encoding::Version(target, migrations), came) => {
                match came.zip(encoded) {
                    Some((came, body)) => {
                        let resolved = match came.subject == target.subject {
                            true => migrations.carry(&came, target, &body),
                            false => target.schema.carry(&came.schema, &body),
                        };
                        let resolved = resolved.map_err(|violation| self.refused(&violation))?;
                        set(record, resolved.into());
                    }
                    None => self.write(record, target)?,
                }
                record.schema = Some(Arc::clone(target));
            }
        }
        Ok(())
    }

    fn write(&self, record: &mut Record, target: &VersionSchema) -> Result<(), Rejection> {
        let document = record.json(&self.label)?;
        let value = Value::from(document.clone());
        let written = target.schema.encode(&value);
        let written = written.map_err(|violation| self.refused(&violation))?;
        set(record, written.into());
        Ok(())
    }

    fn refused(&self, violation: &millstream_schema_formats::Violation) -> Rejection {
        Rejection::new(&self.label, "encode_violation", &violation.to_string()).at(&violation.path)
    }
}

fn set(record: &mut Record, payload: Bytes) {
    record.message.payload = payload;
    record.parsed = None;
}

impl Stage for EncodeStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |record| {
            self.encode(record)
                .map_or_else(Verdict::Reject, |()| Verdict::Keep)
        };
        batch.iter_mut().map(verdict).collect()
    }
}
