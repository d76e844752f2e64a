//! The tests that come with a function: messages in, expected outcomes. One file serves the author at the command line, CI,
//! and the server, which deploys nothing that fails them.

mod outside;
mod table;

use std::sync::Arc;
use std::time::Instant;

use millstream_function_api::{Fault, FunctionHost, FunctionMessage, FunctionOutcome, Output};
use millstream_spec::FunctionSpec;
use millstream_types::{Timestamp, format_duration};
use serde::Serialize;
use serde_json::{Value, json};

use self::outside::Pretended;
use self::table::{Case, Expected, ExpectedOutput, Given, Table};
use super::load_with;

/// Problems of one case that are told.
const MAX_PROBLEMS: usize = 10;

/// What the tests came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) function: String,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) tests: Vec<Test>,
}

/// What one case came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) ok: bool,
    /// Milliseconds.
    pub(crate) ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// What failed, a line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.tests.iter().filter(|test| !test.ok);
        failed
            .flat_map(|test| {
                let line = |problem: &String| format!("test `{}`: {problem}", test.name);
                test.problems.iter().map(line).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Loads the function as its document says, with the tests' own surroundings, and runs every case in order.
///
/// # Errors
/// The tests cannot be read, or the function does not load.
pub(crate) fn run_tests(
    host: &dyn FunctionHost,
    spec: &FunctionSpec,
    bytes: &[u8],
    tests: &str,
) -> Result<Report, String> {
    let file = spec.tests.as_deref().unwrap_or("tests.yaml");
    let table = Table::read(file, tests)?;
    let mut spec = spec.clone();
    spec.config.extend(table.config.clone());
    let outside = Arc::new(Pretended::new(&table));
    let function = load_with(host, &spec, bytes, 0, Arc::clone(&outside) as _)?;
    let tests: Vec<Test> = table
        .tests
        .iter()
        .map(|case| {
            let started = Instant::now();
            let messages: Result<Vec<_>, String> = case.given.all().iter().map(message).collect();
            let mut problems = match messages {
                Ok(messages) => {
                    let answers = function.process(&messages);
                    compare(case, &messages, &answers)
                }
                Err(why) => vec![why],
            };
            let ms = started.elapsed().as_secs_f64() * 1000.0;
            problems.extend(outside.compare(&case.bucket));
            problems.truncate(MAX_PROBLEMS);
            Test {
                name: case.name.clone(),
                ok: problems.is_empty(),
                ms,
                problems,
            }
        })
        .collect();
    let passed = tests.iter().filter(|test| test.ok).count();
    Ok(Report {
        function: spec.name.clone(),
        passed,
        failed: tests.len() - passed,
        tests,
    })
}

fn message(given: &Given) -> Result<FunctionMessage<'static>, String> {
    Ok(FunctionMessage {
        subject: given.subject.clone().into_bytes().into(),
        sequence: given.sequence,
        timestamp: given
            .time
            .as_deref()
            .map_or(Some(Timestamp(0)), Timestamp::parse_rfc3339)
            .ok_or("`time` is no RFC 3339 time")?,
        headers: given
            .headers
            .iter()
            .map(|(name, value)| (name.clone().into(), value.clone().into()))
            .collect(),
        key: given.key.clone().map(|key| key.into_bytes().into()),
        payload: Vec::from(given.body.bytes()?.unwrap_or_default()).into(),
        schema_id: given.schema_id,
        deliveries: given.deliveries,
    })
}

type Answer = Result<FunctionOutcome, Fault>;

fn compare(case: &Case, messages: &[FunctionMessage<'_>], answers: &[Answer]) -> Vec<String> {
    let expected = case.expect.all();
    if expected.len() != messages.len() {
        return vec![format!(
            "gives {} messages and expects {} outcomes",
            messages.len(),
            expected.len()
        )];
    }
    let each = expected.iter().zip(messages).zip(answers).enumerate();
    each.filter_map(|(index, ((expected, message), answer))| {
        let why = differs(expected, message, answer)?;
        Some(match expected_count(case) {
            1 => why,
            _ => format!("message {}: {why}", index + 1),
        })
    })
    .collect()
}

fn expected_count(case: &Case) -> usize {
    case.expect.all().len()
}

/// How an answer differs from what is expected; `None` when it does not.
fn differs(expected: &Expected, message: &FunctionMessage<'_>, answer: &Answer) -> Option<String> {
    let told = || format!("expected {expected}, got {}", shown(answer));
    let same = match (expected, answer) {
        (Expected::Keep, Ok(FunctionOutcome::Keep))
        | (Expected::Drop, Ok(FunctionOutcome::Drop)) => true,
        (Expected::Replace(wanted), Ok(FunctionOutcome::Replace(output))) => {
            return output_differs(wanted, message, output);
        }
        (Expected::Emit(wanted), Ok(FunctionOutcome::Emit(outputs))) => {
            if wanted.len() != outputs.len() {
                return Some(told());
            }
            let mut each = wanted.iter().zip(outputs).enumerate();
            return each.find_map(|(index, (wanted, output))| {
                let why = output_differs(wanted, message, output)?;
                Some(format!("output {}: {why}", index + 1))
            });
        }
        (Expected::Reject(wanted), Ok(FunctionOutcome::Reject { code, reason, path })) => {
            wanted.code == *code
                && wanted.reason.as_ref().is_none_or(|wanted| wanted == reason)
                && wanted
                    .path
                    .as_ref()
                    .is_none_or(|wanted| Some(wanted) == path.as_ref())
        }
        (Expected::Retry(wanted), Ok(FunctionOutcome::Retry(after))) => wanted == after,
        (Expected::Error(wanted), Err(fault)) => wanted == fault.code.as_str(),
        _ => false,
    };
    (!same).then(told)
}

/// The first header of a name.
fn value<'a, T: AsRef<str>>(headers: &'a [(T, T)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(own, _)| own.as_ref() == name);
    found.map(|(_, value)| value.as_ref())
}

fn output_differs(
    wanted: &ExpectedOutput,
    message: &FunctionMessage<'_>,
    output: &Output,
) -> Option<String> {
    let subject = output.subject.as_deref().unwrap_or(&message.subject);
    let own = String::from_utf8_lossy(subject);
    if let Some(wanted) = &wanted.subject
        && *wanted != own
    {
        return Some(format!("expected subject `{wanted}`, got `{own}`"));
    }
    for (name, wanted) in &wanted.headers {
        let found = match &output.headers {
            Some(headers) => value(headers, name),
            None => value(&message.headers, name),
        };
        if found != Some(wanted.as_str()) {
            let found = found.unwrap_or("none");
            return Some(format!("expected header `{name}: {wanted}`, got `{found}`"));
        }
    }
    if let Some(wanted) = &wanted.body.payload {
        let found = serde_json::from_slice::<Value>(&output.payload);
        if found
            .as_ref()
            .ok()
            .is_some_and(|found| same_json(wanted, found))
        {
            return None;
        }
        let found = found.map_or_else(|_| excerpt(&output.payload), |found| found.to_string());
        return Some(format!("expected payload {wanted}, got {found}"));
    }
    match wanted.body.bytes() {
        Ok(Some(wanted)) if wanted != output.payload => Some(format!(
            "expected payload {}, got {}",
            excerpt(&wanted),
            excerpt(&output.payload)
        )),
        Ok(_) => None,
        Err(why) => Some(why),
    }
}

/// Whether two JSON values mean the same: members in any order, numbers by value.
fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64().is_some_and(|one| Some(one) == other.as_f64())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    other.get(name).is_some_and(|other| same_json(value, other))
                })
        }
        _ => one == other,
    }
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let end = text.floor_char_boundary(200);
    format!("`{}`", &text[..end])
}

/// An answer as it would be written into the tests.
pub(crate) fn shown(answer: &Answer) -> String {
    let output = |output: &Output| {
        let payload = serde_json::from_slice::<Value>(&output.payload)
            .map_or_else(|_| excerpt(&output.payload), |value| value.to_string());
        let subject = output
            .subject
            .as_ref()
            .map(|subject| String::from_utf8_lossy(subject));
        match subject {
            Some(subject) => format!("{{ subject: {subject}, payload: {payload} }}"),
            None => format!("{{ payload: {payload} }}"),
        }
    };
    match answer {
        Ok(FunctionOutcome::Keep) => "`keep`".to_owned(),
        Ok(FunctionOutcome::Drop) => "`drop`".to_owned(),
        Ok(FunctionOutcome::Retry(after)) => format!("`retry: {}`", format_duration(*after)),
        Ok(FunctionOutcome::Replace(written)) => format!("`replace: {}`", output(written)),
        Ok(FunctionOutcome::Emit(written)) => {
            let each: Vec<String> = written.iter().map(output).collect();
            format!("`emit: [{}]`", each.join(", "))
        }
        Ok(FunctionOutcome::Reject { code, reason, path }) => {
            format!(
                "`reject: {}`",
                json!({ "code": code, "reason": reason, "path": path })
            )
        }
        Err(fault) => format!("`error: {}` ({})", fault.code, fault.reason),
    }
}

#[cfg(test)]
mod tests;
