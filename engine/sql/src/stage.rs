//! The statement as a stage of a station.

use millstream_pipeline::{Column, Record, Rejection, Stage, Verdict};

use crate::SqlError;
use crate::program::{Answer, Program, Refusal};

/// One `SELECT … FROM message [WHERE …]`, compiled. Each message is a row; its answer is the new payload, a JSON object
/// with the members in the order of the `SELECT` list. Subject, headers and time stay.
///
/// # What a statement sees
/// The columns it was compiled against, by their exact names, and of every message `_subject` (text), `_time` (when the
/// server took it in) and `_headers` (a map: `_headers['Nats-Msg-Id']`). A wildcard stands for the payload's columns.
/// Members that are no column are not carried over. `now()`, `current_date` and `current_time` are the message's own
/// `_time`, so that a message has the same answer whenever it runs again; `random()` and `uuid()` differ for each row.
///
/// # What becomes of a message
/// - The `WHERE` is false or null: [`Verdict::Drop`].
/// - The payload is no JSON: rejected with code `bad_json`. It is no object, or a column has another type or is missing
///   where the schema requires it: `wrong_type`, with a JSON pointer to it. Only columns that the statement reads count.
/// - Evaluation fails (overflow, division by zero, a `CAST`, a number that JSON cannot hold): `sql_error`.
///
/// Whole numbers that overflow fail; they never wrap around. A whole number is taken for a `float64` column, and `3.0` for an
/// `int64` column, as in JSON Schema; a number in quotes is text and nothing else.
///
/// JSON columns are text inside the statement and JSON again in the answer where they are passed on as they are, also through
/// `CASE` and `coalesce`.
#[derive(Debug)]
pub struct SqlStage {
    label: String,
    program: Program,
}

impl SqlStage {
    /// Checks and compiles a statement against the columns of the payload as it arrives here. `label` is `sql:<n>`.
    ///
    /// # Errors
    /// What is wrong with the statement, where in its text, and what to do about it.
    pub fn compile(
        label: impl Into<String>,
        text: &str,
        input: &[Column],
    ) -> Result<Self, SqlError> {
        Ok(Self {
            label: label.into(),
            program: Program::compile(text, input)?,
        })
    }

    /// The columns of the new payload, for the stage behind.
    #[must_use]
    pub fn output(&self) -> &[Column] {
        self.program.columns()
    }

    fn verdict(&self, record: &Record, answer: Answer) -> Verdict {
        match answer {
            Answer::Row(payload) => Verdict::Replace(record.replaced(payload, None)),
            Answer::Filtered => Verdict::Drop,
            Answer::Refused(Refusal { code, reason, path }) => {
                let rejection = Rejection::new(&self.label, code, &reason);
                Verdict::Reject(match path {
                    Some(path) => rejection.at(&path),
                    None => rejection,
                })
            }
        }
    }
}

impl Stage for SqlStage {
    fn label(&self) -> &str {
        &self.label
    }

    fn process(&self, batch: &mut [Record]) -> Vec<Verdict> {
        let answers = self.program.run(batch);
        batch
            .iter()
            .zip(answers)
            .map(|(record, answer)| self.verdict(record, answer))
            .collect()
    }
}
