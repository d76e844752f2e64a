//! Steps between neighbouring versions of a schema that its owner wrote, where the format's own rules do not say enough.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::{Incompatibility, Policy, Value, Violation};
use millstream_types::Message;

use super::version::VersionSchema;
use crate::run::ask;
use crate::{Record, Stage, Verdict};

/// From one version of a subject to the one next to it.
#[derive(Clone, Debug)]
pub struct Migration {
    /// What it takes.
    pub from: Arc<VersionSchema>,
    /// What it makes.
    pub to: Arc<VersionSchema>,
    /// Gets the message as JSON, and has to make exactly one of it.
    pub stage: Arc<dyn Stage>,
}

/// The migrations of one subject.
#[derive(Debug, Default)]
pub struct Migrations {
    /// Towards newer versions, the oldest first.
    pub up: Vec<Migration>,
    /// Towards older versions, the newest first.
    pub down: Vec<Migration>,
}

impl Migrations {
    /// The migrations between two versions, in the order they are run. Between them, and where there are none, the format's
    /// rules of resolution lead on.
    pub fn between(&self, from: u32, to: u32) -> impl Iterator<Item = &Migration> {
        let steps = if from < to { &self.up } else { &self.down };
        let (low, high) = (from.min(to), from.max(to));
        steps.iter().filter(move |step| {
            let (one, other) = (step.from.version, step.to.version);
            low <= one.min(other) && one.max(other) <= high
        })
    }

    /// Why readers of one version could not have messages of another: what breaks where the format's rules have to lead on.
    #[must_use]
    pub fn cannot_carry(&self, from: &VersionSchema, to: &VersionSchema) -> Vec<Incompatibility> {
        let mut at = from;
        let mut reasons = Vec::new();
        for step in self.between(from.version, to.version) {
            reasons.extend(breaks(at, &step.from));
            at = &step.to;
        }
        reasons.extend(breaks(at, to));
        reasons
    }

    /// A payload of one version of the subject as another.
    ///
    /// # Errors
    /// What cannot be carried, and where; keyword `migration` when a migration does not make one message of it.
    pub fn carry(
        &self,
        from: &VersionSchema,
        to: &VersionSchema,
        payload: &[u8],
    ) -> Result<Vec<u8>, Violation> {
        let mut at = from;
        let mut carried: Option<Vec<u8>> = None;
        for step in self.between(from.version, to.version) {
            // Of a file's messages, it is for the one that it was declared for.
            if step.from.schema.name() != from.schema.name() {
                continue;
            }
            let body = carried.as_deref().unwrap_or(payload);
            let body = resolved(at, &step.from, body)?;
            carried = Some(step.run(&body)?);
            at = &step.to;
        }
        let body = carried.as_deref().unwrap_or(payload);
        Ok(match resolved(at, to, body)? {
            Cow::Owned(body) => body,
            Cow::Borrowed(_) => carried.unwrap_or_else(|| payload.to_vec()),
        })
    }
}

fn breaks(from: &VersionSchema, to: &VersionSchema) -> Vec<Incompatibility> {
    if from.version == to.version {
        return Vec::new();
    }
    to.schema.cannot_read(&from.schema, Policy::Strict)
}

fn resolved<'a>(
    from: &VersionSchema,
    to: &VersionSchema,
    body: &'a [u8],
) -> Result<Cow<'a, [u8]>, Violation> {
    if from.version == to.version {
        return Ok(body.into());
    }
    to.schema.resolve(&from.schema, body).map(Into::into)
}

impl Migration {
    fn run(&self, body: &[u8]) -> Result<Vec<u8>, Violation> {
        let document = self.from.schema.decode(body)?.to_json();
        let message = Message {
            payload: Bytes::from(document.to_string()),
            ..Message::default()
        };
        // Without subject, headers and time: the same payload always becomes the same.
        let record = Record {
            message,
            parsed: Some(document),
            schema: Some(Arc::clone(&self.from)),
            ..Record::default()
        };
        let mut batch = [record];
        let verdict = ask(self.stage.as_ref(), &mut batch).pop();
        let [record] = batch;
        let mut made = match verdict {
            Some(Verdict::Keep) => record,
            Some(Verdict::Replace(made)) => made,
            Some(Verdict::Emit(mut made)) if made.len() == 1 => made.swap_remove(0),
            Some(Verdict::Emit(made)) => {
                return Err(self.failed(format!("{} messages", made.len())));
            }
            Some(Verdict::Drop | Verdict::Retry(_)) | None => {
                return Err(self.failed("none".to_owned()));
            }
            Some(Verdict::Reject(why)) => {
                return Err(self.failed(format!("`{}`: {}", why.code, why.reason)));
            }
        };
        let document = made.json(self.stage.label());
        let document = document.map_err(|why| self.failed(why.reason))?;
        self.to.schema.encode(&Value::from(document.clone()))
    }

    fn failed(&self, found: String) -> Violation {
        let (label, from) = (self.stage.label(), self.from.version);
        let (subject, to) = (&self.to.subject, self.to.version);
        Violation {
            path: String::new(),
            keyword: "migration".to_owned(),
            expected: format!(
                "one message of `{subject}:{to}` from `{label}` for one of version {from}"
            ),
            found,
        }
    }
}

#[cfg(test)]
mod tests;
