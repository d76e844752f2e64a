//! Statements as a stage of a station.

use bytes::Bytes;
use datafusion::common::DataFusionError;
use millstream_pipeline::{Column, Record, Stage, Verdict};
use millstream_types::matches;

use crate::SqlError;
use crate::compile::{Surroundings, Target, compile};
use crate::program::{End, Found, Head, Made, Program, Refusal, sql_error};
use crate::scan::Scan;

/// Statements `SELECT … FROM message [WHERE …]`, compiled. Each message is a row. What a statement makes of it are messages
/// whose payload is a JSON object with the members in the order of the `SELECT` list; subject, headers, key and time stay.
///
/// # What a statement sees
/// The columns it was compiled against, by their exact names, and of every message `_subject` (text), `_time` (when the
/// server took it in), `_headers` (a map: `_headers['Nats-Msg-Id']`), `_key` (text, where one is declared) and `_sequence`
/// (NULL before the log, for the log gives it; in a flow its number in the station it was read from). A wildcard stands for
/// the payload's columns. Members that are no column are not carried over, except within objects and arrays that are passed
/// on as they are. `now()`, `current_date` and `current_time` are the message's own `_time`, so that a message has the same
/// answer whenever it runs again; `random()` and `uuid()` differ for each row.
///
/// # What a statement makes
/// - Outputs called `_subject`, `_headers` and `_key` are no members: they set the message's own.
/// - `FROM message, UNNEST(list) AS item`, or `unnest(list)` in the `SELECT` list, makes a message of each element, in order;
///   an empty list and NULL make none.
/// - Statements separated by `;` look at each message one after the other, and what they make goes on in that order.
/// - `INSERT INTO station SELECT …` makes messages for another station, whose own rules they go through.
///
/// # What becomes of a message
/// - No statement makes anything of it: [`Verdict::Drop`].
/// - The payload is no JSON: rejected with code `bad_json`. It is no object, or a column has another type or is missing
///   where the schema requires it: `wrong_type`, with a JSON pointer to it. Only columns that the statements read count.
/// - Evaluation fails (overflow, division by zero, a `CAST`, a number that JSON cannot hold, more messages than allowed):
///   `sql_error`. A subject that the station of `INSERT INTO` does not store: `wrong_subject`. What a deployed function says:
///   its own code.
///
/// Whole numbers that overflow fail; they never wrap around. A whole number is taken for a `float64` column, and `3.0` for an
/// `int64` column, as in JSON Schema; a number in quotes is text and nothing else.
///
/// JSON columns are text inside the statement and JSON again in the answer where they are passed on as they are, also through
/// `CASE` and `coalesce`.
#[derive(Debug)]
pub struct SqlStage {
    label: String,
    scan: Scan,
    statements: Vec<Statement>,
}

#[derive(Debug)]
struct Statement {
    program: Program,
    into: Option<Target>,
}

impl SqlStage {
    /// Checks and compiles a text against the columns of the payload as it arrives here. `label` is `sql:<n>`.
    ///
    /// # Errors
    /// What is wrong with a statement, where in the text, and what to do about it.
    pub fn compile(
        label: impl Into<String>,
        text: &str,
        input: &[Column],
    ) -> Result<Self, SqlError> {
        let around = Surroundings {
            columns: Some(input),
            ..Surroundings::default()
        };
        Self::among(label, text, &around)
    }

    /// The same with more that statements may name.
    ///
    /// # Errors
    /// As [`SqlStage::compile`].
    pub fn among(
        label: impl Into<String>,
        text: &str,
        around: &Surroundings<'_>,
    ) -> Result<Self, SqlError> {
        let compiled = compile(text, around)?;
        // In the order of the first: with one statement there is nothing to choose from.
        let mut scanned: Vec<usize> = Vec::new();
        for (lowered, _) in &compiled.each {
            for column in &lowered.scan {
                if !scanned.contains(column) {
                    scanned.push(*column);
                }
            }
        }
        let sources = scanned
            .iter()
            .map(|column| compiled.sources[*column].clone());
        let scan = match around.columns {
            Some(_) => Scan::new(sources.collect()),
            None => Scan::any_payload(sources.collect()),
        };
        let statements = compiled.each.into_iter().map(|(lowered, into)| Statement {
            program: Program::new(lowered, &scanned),
            into,
        });
        Ok(Self {
            label: label.into(),
            scan,
            statements: statements.collect(),
        })
    }

    /// The columns of the new payload, for the stage behind; `None` when there are several outputs, behind which there can be
    /// none.
    #[must_use]
    pub fn output(&self) -> Option<&[Column]> {
        match self.statements.as_slice() {
            [only] if only.into.is_none() => Some(only.program.columns()),
            _ => None,
        }
    }

    fn reject(&self, why: &Refusal) -> Verdict {
        Verdict::Reject(why.rejection(&self.label))
    }

    /// What all statements made of the message at `index`.
    fn verdict(&self, record: &Record, index: usize, found: &mut [(Vec<End>, Bytes)]) -> Verdict {
        let mut made: Vec<Record> = Vec::new();
        for (statement, (ends, text)) in self.statements.iter().zip(found) {
            let mut push = |one: Made| {
                made.push(statement.message(record, one, text)?);
                Ok(())
            };
            let pushed = match std::mem::replace(&mut ends[index], End::Filtered) {
                End::Filtered => Ok(()),
                End::One(one) => push(one),
                End::Many(all) => all.into_iter().try_for_each(push),
                End::Refused(why) => Err(why),
            };
            if let Err(why) = pushed {
                return self.reject(&why);
            }
        }
        if made.len() > 1 {
            return Verdict::Emit(made);
        }
        made.pop().map_or(Verdict::Drop, Verdict::Replace)
    }
}

impl Statement {
    fn message(&self, record: &Record, made: Made, text: &Bytes) -> Result<Record, Refusal> {
        let mut message = record.replaced(text.slice(made.text), None);
        let Head {
            subject,
            headers,
            key,
        } = made.head.map(|head| *head).unwrap_or_default();
        if let Some(headers) = headers {
            message.message.headers = headers;
        }
        if let Some(key) = key {
            message.key = key;
        }
        let target = self.into.as_ref();
        if let Some(subject) = subject.or_else(|| target?.subject.clone()) {
            message.message.subject = subject;
        }
        if let Some(Target { station, .. }) = target {
            message.elsewhere = true;
            // The other station checks it against its own.
            message.schema = None;
            let subject = &message.message.subject;
            let stores = |filter: &String| matches(filter.as_bytes(), subject);
            if !station.subjects.iter().any(stores) {
                let subject = message.message.subject_str();
                let reason = format!(
                    "station `{}` does not store subject `{subject}`",
                    station.name
                );
                return Err(Refusal::new("wrong_subject", reason, None));
            }
        }
        Ok(message)
    }
}

impl Stage for SqlStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let mut scanned = match self.scan.read(batch) {
            Ok(scanned) => scanned,
            Err(error) => {
                let why = sql_error(&DataFusionError::from(error));
                return batch.iter().map(|_| self.reject(&why)).collect();
            }
        };
        let mut refused = std::mem::take(&mut scanned.refused).into_iter().peekable();
        let mut found: Vec<_> = self
            .statements
            .iter()
            .map(|statement| {
                let Found { ends, text } = statement.program.run(&scanned, batch.len());
                (ends, Bytes::from(text))
            })
            .collect();
        let each = batch.iter().enumerate().map(|(index, record)| {
            match refused.next_if(|(own, _)| *own == index) {
                Some((_, why)) => self.reject(&why),
                None => self.verdict(record, index, &mut found),
            }
        });
        each.collect()
    }
}
