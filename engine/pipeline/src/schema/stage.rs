//! The stage that checks payloads against a schema.

use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::{Format, JsonSchema, Schema, Violation, read_message_index};
use millstream_types::matches;
use serde_json::Value;

use super::claim::{Claim, Framing, claim, claims_by_header, may_claim, prefix, record_name};
use super::subject::{RuleFor, SchemaRule, SubjectSchemas};
use super::version::VersionSchema;
use crate::{OnRejection, Record, Rejection, Stage, Verdict, headers};

/// What a schema stage does.
#[derive(Debug)]
pub struct SchemaOptions {
    /// For what no rule takes; without it such messages are violations.
    pub default: Option<SubjectSchemas>,
    /// Looked at in order; the first that matches counts.
    pub rules: Vec<SchemaRule>,
    /// Whether payloads begin with a prefix.
    pub framing: Framing,
    /// What a violation leads to.
    pub on_violation: OnRejection,
    /// Whether stages follow: they work on JSON, whatever the schema's format is.
    pub as_json: bool,
}

/// Checks each payload against its schema. Always the first stage: what it parses, the others reuse.
///
/// Its verdicts are [`Verdict::Keep`] or [`Verdict::Reject`] with code `bad_json`, `schema_violation`, `schema_unknown` or
/// `no_schema`; what a violation leads to, the plan decides by [`SchemaStage::on_violation`]. A prefix before the payload is
/// taken off.
#[derive(Debug)]
pub struct SchemaStage {
    label: String,
    options: SchemaOptions,
}

impl SchemaStage {
    /// What stands before the colon of its label and of its rejections.
    pub(crate) const KIND: &'static str = "schema";

    /// A check; its label is `schema:<subject>`, of the default schema where there is one.
    #[must_use]
    pub fn new(options: SchemaOptions) -> Self {
        let first = options.rules.first().map(|rule| &rule.schemas);
        let named = options.default.as_ref().or(first);
        let subject = named.map_or("none", |schemas| schemas.subject.as_str());
        Self {
            label: format!("{}:{subject}", Self::KIND),
            options,
        }
    }

    /// What a violation leads to.
    #[must_use]
    pub fn on_violation(&self) -> OnRejection {
        self.options.on_violation
    }

    /// Checks a message where it lies, and answers with the version that it fits; `None` when it does not, or when that takes
    /// a closer look: then [`Stage::process`] has the verdict. For stations without stages, where nothing has to be copied.
    #[must_use]
    pub fn passes(
        &self,
        subject: &[u8],
        raw: &[u8],
        payload: &[u8],
    ) -> Option<&Arc<VersionSchema>> {
        let by_record = |rule: &SchemaRule| matches!(rule.messages, RuleFor::Record(_));
        if claims_by_header(raw)
            || self.options.framing == Framing::Prefixed
            || self.options.as_json
            || self.options.rules.iter().any(by_record)
        {
            return None;
        }
        let schemas = self.chosen(subject, None, None)?;
        let best = schemas.candidates().next()?;
        // In Avro, many payloads begin like a prefix: with an empty text, or the first branch of a union.
        if let Some(claim) = prefix(self.options.framing, payload)
            && (best.schema.format() != Format::Avro || schemas.find(&claim.tag).is_some())
        {
            return None;
        }
        best.schema.fits(payload).then_some(best)
    }

    fn chosen(
        &self,
        subject: &[u8],
        claim: Option<&Claim>,
        record: Option<&str>,
    ) -> Option<&SubjectSchemas> {
        let takes = |rule: &&SchemaRule| match &rule.messages {
            RuleFor::Subject(filter) => matches(filter.as_bytes(), subject),
            RuleFor::Record(name) => {
                record == Some(name)
                    || claim.is_some_and(|claim| rule.schemas.find(&claim.tag).is_some())
            }
        };
        let rule = self.options.rules.iter().find(takes);
        rule.map(|rule| &rule.schemas)
            .or(self.options.default.as_ref())
    }

    fn reject(&self, code: &str, reason: &str) -> Rejection {
        Rejection::new(&self.label, code, reason)
    }

    fn violation(&self, violation: &Violation) -> Rejection {
        self.reject("schema_violation", &violation.to_string())
            .at(&violation.path)
    }

    fn examine(&self, record: &mut Record) -> Result<(), Rejection> {
        let message = &record.message;
        let claimed = may_claim(self.options.framing, &message.headers, &message.payload);
        let (claim, name) = if claimed {
            let raw = &message.headers;
            (
                claim(self.options.framing, raw, &message.payload),
                record_name(raw),
            )
        } else {
            (None, None)
        };
        let chosen = self.chosen(&message.subject, claim.as_ref(), name.as_deref());
        let Some(schemas) = chosen else {
            let subject = message.subject_str().to_owned();
            let reason = format!(
                "no schema rule of the station is for subject `{subject}`; add one, or a `subject:` for all others"
            );
            return Err(self.reject("no_schema", &reason));
        };
        if headers::mentions_schema(&record.message.headers) {
            record.message.headers = headers::without_schema(&record.message.headers);
        }
        let result = match claim {
            Some(claim) => self.claimed(record, schemas, &claim),
            None if self.options.framing == Framing::Prefixed => Err(self.reject(
                "schema_unknown",
                "payload does not begin with a schema id (a zero byte and four bytes of id), and no header names one",
            )),
            None => self.unclaimed(record, schemas),
        };
        // The label names one subject; where rules chose another, that is what the publisher must look at.
        result.map_err(|why| {
            let stage = format!("{}:{}", Self::KIND, schemas.subject);
            Rejection { stage, ..why }.bounded()
        })
    }

    /// A message that says what it is.
    fn claimed(
        &self,
        record: &mut Record,
        schemas: &SubjectSchemas,
        claim: &Claim,
    ) -> Result<(), Rejection> {
        // In Avro, what looks like a prefix may be the first fields; elsewhere no payload begins like that.
        let maybe_bare = claim.prefix > 0
            && self.options.framing == Framing::Auto
            && schemas
                .candidates()
                .any(|version| version.schema.format() == Format::Avro);
        let Some(version) = schemas.find(&claim.tag) else {
            if claim.prefix == 0 {
                // A header that came along from another station says nothing about this one.
                return self.unclaimed(record, schemas);
            }
            if maybe_bare && self.unclaimed(record, schemas).is_ok() {
                return Ok(());
            }
            let reason = format!(
                "message says its schema is {}, which is no version of `{}`; versions are {}",
                claim.tag.shown(),
                schemas.subject,
                schemas.shown()
            );
            return Err(self.reject("schema_unknown", &reason));
        };
        let body = record.message.payload.slice(claim.prefix..);
        let result = self.as_version(record, schemas, version, body, claim.prefix > 0);
        match result {
            Err(_) if maybe_bare && self.unclaimed(record, schemas).is_ok() => Ok(()),
            other => other,
        }
    }

    fn as_version(
        &self,
        record: &mut Record,
        schemas: &SubjectSchemas,
        version: &Arc<VersionSchema>,
        body: Bytes,
        prefixed: bool,
    ) -> Result<(), Rejection> {
        let (version, body) = match &version.schema {
            // Behind the id, Protobuf's prefix says which message of the file it is.
            Schema::Protobuf(schema) if prefixed => {
                let (path, rest) =
                    read_message_index(&body).map_err(|violation| self.violation(&violation))?;
                let body = body.slice(body.len() - rest.len()..);
                let root = schema.at_index(&path).ok_or_else(|| {
                    let reason = format!("schema has no message with index {path:?}");
                    self.reject("schema_violation", &reason)
                })?;
                if Some(root.name()) == version.schema.name() {
                    (Arc::clone(version), body)
                } else {
                    (self.other_message(version, &root.name())?, body)
                }
            }
            _ => (Arc::clone(version), body),
        };
        if schemas.is_wanted(&version) {
            return self.fits(record, &version, body);
        }
        let mut newest = schemas.candidates();
        let Some(wanted) = newest.next() else {
            return Err(self.reject("no_schema", "station wants a version that is gone"));
        };
        let wanted = match wanted.like(&version) {
            Some(like) => like,
            None => self.other_message(wanted, &version.schema.name().unwrap_or_default())?,
        };
        let converted = schemas.migrations.carry(&version, &wanted, &body);
        let converted = converted.map_err(|violation| {
            let reason = format!(
                "version {} cannot be carried to version {}: {violation}",
                version.version, wanted.version
            );
            self.reject("schema_violation", &reason).at(&violation.path)
        })?;
        self.fits(record, &wanted, converted.into())
    }

    /// The version for another message of its schema, unless the station says which message its payloads are.
    fn other_message(
        &self,
        version: &Arc<VersionSchema>,
        message: &str,
    ) -> Result<Arc<VersionSchema>, Rejection> {
        let number = version.version;
        let wrong = |reason: String| self.reject("schema_violation", &reason);
        if let Some(wanted) = &version.message {
            return Err(wrong(format!(
                "payload says that it is a `{message}`, and the station takes `{wanted}`"
            )));
        }
        version.rooted(message).ok_or_else(|| {
            wrong(format!(
                "version {number} of the schema has no message `{message}`"
            ))
        })
    }

    /// A message that does not say what it is.
    fn unclaimed(&self, record: &mut Record, schemas: &SubjectSchemas) -> Result<(), Rejection> {
        let body = record.message.payload.clone();
        let mut first = None;
        for version in schemas.candidates() {
            match self.fits(record, version, body.clone()) {
                Ok(()) => return Ok(()),
                Err(why) => drop(first.get_or_insert(why)),
            }
        }
        Err(first
            .unwrap_or_else(|| self.reject("no_schema", "station wants a version that is gone")))
    }

    /// Checks the bare payload against a version; the record is as the stages behind want it afterwards.
    fn fits(
        &self,
        record: &mut Record,
        version: &Arc<VersionSchema>,
        body: Bytes,
    ) -> Result<(), Rejection> {
        if let Schema::Json(schema) = &version.schema {
            if body != record.message.payload {
                let framed = std::mem::replace(&mut record.message.payload, body);
                record.parsed = None;
                let checked = self.fits_json(record, schema);
                if checked.is_err() {
                    // What is stored in spite of it is stored as it came.
                    record.message.payload = framed;
                    record.parsed = None;
                }
                checked?;
            } else {
                self.fits_json(record, schema)?;
            }
        } else if self.options.as_json {
            let value = version.schema.decode(&body);
            let value = value.map_err(|violation| self.violation(&violation))?;
            let document: Value = value.to_json();
            record.message.payload = document.to_string().into();
            record.parsed = Some(document);
            record.encoded = Some(body);
        } else {
            let checked = version.schema.check(&body);
            checked.map_err(|violation| self.violation(&violation))?;
            record.message.payload = body;
        }
        record.schema = Some(Arc::clone(version));
        Ok(())
    }
}

impl SchemaStage {
    fn fits_json(&self, record: &mut Record, schema: &JsonSchema) -> Result<(), Rejection> {
        // What is parsed anyway is not walked over once more.
        let walk = !self.options.as_json && record.parsed.is_none();
        if walk && schema.fits(&record.message.payload) {
            return Ok(());
        }
        let checked = schema.check(record.json(&self.label)?);
        checked.map_err(|violation| self.violation(&violation))
    }
}

impl Stage for SchemaStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |record| {
            self.examine(record)
                .map_or_else(Verdict::Reject, |()| Verdict::Keep)
        };
        batch.iter_mut().map(verdict).collect()
    }
}

/// The header line of a record that is stored although it violates the schema.
pub(crate) fn violation_line(why: &Rejection) -> String {
    let path = why.path.as_deref().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    format!(
        "Ms-Schema-Violation: {} at {path}: {}",
        why.code, why.reason
    )
}
