//! The stage that checks payloads against a schema.

use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::JsonSchema;

use crate::{OnRejection, Record, Rejection, Stage, Verdict, headers};

/// Checks each payload against one version of a JSON Schema. Always the first stage: what it parses, the others reuse.
///
/// Its verdicts are [`Verdict::Keep`] or [`Verdict::Reject`] with code `bad_json` or `schema_violation`; what a violation
/// leads to, the plan decides by [`SchemaStage::on_violation`].
#[derive(Debug)]
pub struct SchemaStage {
    label: String,
    line: String,
    block: Bytes,
    schema: Arc<JsonSchema>,
    on_violation: OnRejection,
}

impl SchemaStage {
    /// A check against version `version` of registry subject `subject`.
    #[must_use]
    pub fn new(
        subject: &str,
        version: u32,
        schema: Arc<JsonSchema>,
        on_violation: OnRejection,
    ) -> Self {
        let line = format!("Ms-Schema: {subject}:{version}");
        let block = headers::with_line(&[], Some(line.as_bytes()));
        Self {
            label: format!("schema:{subject}"),
            line,
            block,
            schema,
            on_violation,
        }
    }

    /// What a violation leads to.
    #[must_use]
    pub fn on_violation(&self) -> OnRejection {
        self.on_violation
    }

    /// The compiled schema.
    #[must_use]
    pub fn schema(&self) -> &Arc<JsonSchema> {
        &self.schema
    }

    /// The header block of a record that passed: which version it was checked against on its way in.
    pub(crate) fn stamped(&self, raw: &Bytes) -> Bytes {
        // Most records come without headers; they share one block.
        if raw.is_empty() {
            self.block.clone()
        } else {
            headers::with_line(raw, Some(self.line.as_bytes()))
        }
    }

    fn check(&self, record: &mut Record) -> Result<(), Rejection> {
        let document = record.json(&self.label)?;
        self.schema.check(document).map_err(|violation| {
            Rejection::new(&self.label, "schema_violation", &violation.to_string())
                .at(&violation.path)
        })
    }
}

impl Stage for SchemaStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let verdict = |record| {
            self.check(record)
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
