//! `function deploy --dry-run`: what comes out of stored messages, beside what comes out of the version that runs.

use millstream_types::Timestamp;
use serde_json::{Map, Value};

use crate::args::{DeployArgs, Start};
use crate::client::Lines;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, field, one_line};

use super::super::{Session, ended_with};
use super::deploy::read;

/// What may become of a message, in the order of the interface.
const OUTCOMES: [&str; 7] = [
    "keep", "replace", "emit", "drop", "retry", "reject", "errors",
];
/// Characters that are shown of a payload.
const SHOWN: usize = 200;

pub(super) async fn dry_run(args: &DeployArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let mut body = read(args, console)?.to_json();
    body["station"] = args.station.as_deref().unwrap_or_default().into();
    match &args.from {
        None | Some(Start::Beginning) => {}
        Some(Start::Sequence(sequence)) => body["from_seq"] = (*sequence).into(),
        Some(Start::Time(time)) => body["from_time"] = time.as_str().into(),
        Some(Start::Age(age)) => body["from_time"] = before(Timestamp::now(), *age).into(),
    }
    if let Some(limit) = args.limit {
        body["limit"] = limit.into();
    }
    console.progress("compiling …")?;
    let lines = client.post_lines(&["functions-dry-run"], &body).await;
    if lines.is_err() {
        console.progress_done()?;
    }
    let report = report(lines?, console).await?;
    if console.structured(format, &report)? {
        return Ok(());
    }
    in_words(&report, console)
}

/// A time so long before another, as text.
fn before(time: Timestamp, age: std::time::Duration) -> String {
    let nanos = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
    Timestamp(time.0.saturating_sub(nanos).max(0)).to_rfc3339()
}

/// The last line; those before say how far it is.
async fn report(mut lines: Lines, console: &mut Console<'_>) -> Result<Value, CliError> {
    let mut last = Value::Null;
    while let Some(line) = lines.next().await? {
        if let Some(seen) = line["progress"]["looked_at"].as_u64() {
            console.progress(&format!("{seen} messages looked at"))?;
        }
        last = line;
    }
    console.progress_done()?;
    match last.get_mut("report") {
        Some(report) => Ok(report.take()),
        None => Err(ended_with(last)),
    }
}

fn in_words(report: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let compared = report["live"].is_object();
    let looked_at = report["looked_at"].as_u64().unwrap_or(0);
    let different = report["different"].as_u64().unwrap_or(0);
    let compare = if compared {
        format!("{different} with another outcome than the version that runs gives")
    } else {
        "no version runs to compare with".to_owned()
    };
    console.line(&format!("{looked_at} messages looked at; {compare}\n"))?;
    counts(report, compared, console)?;
    rejections(report, console)?;
    let list = |name: &str| {
        report[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    if !list("differences").is_empty() {
        console.line("\ndifferences:")?;
    }
    for difference in list("differences").iter().filter_map(Value::as_object) {
        let parts = ["subject", "payload", "live", "tried"].map(|name| short(difference, name));
        let [subject, payload, live, tried] = parts;
        console.line(&format!("  {subject}  {payload}"))?;
        console.line(&format!("    - {live}"))?;
        console.line(&format!("    + {tried}"))?;
    }
    if !list("samples").is_empty() {
        console.line("\nsamples:")?;
    }
    for sample in list("samples").iter().filter_map(Value::as_object) {
        let parts = ["seq", "subject", "payload", "answer"].map(|name| short(sample, name));
        let [seq, subject, payload, answer] = parts;
        console.line(&format!("  {seq}  {subject}  {payload}"))?;
        console.line(&format!("    {answer}"))?;
    }
    Ok(())
}

fn counts(report: &Value, compared: bool, console: &mut Console<'_>) -> Result<(), CliError> {
    let mut columns = vec!["", "candidate"];
    columns.extend(compared.then_some("live"));
    let mut table = Table::new(columns.iter().copied());
    for outcome in OUTCOMES {
        let count = |side: &&str| report[*side][outcome].as_u64().unwrap_or(0).to_string();
        let cells = columns[1..].iter().map(count);
        table.row(std::iter::once(outcome.to_owned()).chain(cells).collect());
    }
    let micros = |name: &str| match report["micros_per_message"][name].as_f64() {
        Some(micros) => format!("{micros:.1}"),
        None => String::new(),
    };
    let cells = columns[1..].iter().map(|side| micros(side));
    table.row(
        std::iter::once("us per message".to_owned())
            .chain(cells)
            .collect(),
    );
    for name in ["p50", "p99"] {
        table.row(vec![format!("us, {name}"), micros(name)]);
    }
    console.text(&table.draw())
}

fn rejections(report: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let kinds = report["rejections"].as_array().map(Vec::as_slice);
    let kinds = kinds.unwrap_or_default();
    if kinds.is_empty() {
        return Ok(());
    }
    console.line("\nrejected:")?;
    let empty = Map::new();
    let mut table = Table::new(["count", "code", "first seq", "reason"]);
    for kind in kinds.iter().filter_map(Value::as_object) {
        let first = kind.get("first").and_then(Value::as_object);
        let first = first.unwrap_or(&empty);
        table.row(vec![
            field(kind, "count"),
            field(kind, "code"),
            field(first, "seq"),
            short(first, "reason"),
        ]);
    }
    console.text(&table.draw())
}

/// A field on one line that fits on a screen.
fn short(object: &Map<String, Value>, name: &str) -> String {
    let text = match object.get(name) {
        None | Some(Value::Null) => return String::new(),
        Some(Value::String(text)) => one_line(text),
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millstream_types::Timestamp;

    use super::before;

    #[test]
    fn so_long_ago() {
        let now = Timestamp::parse_rfc3339("2026-11-23T07:45:00Z").unwrap();
        let text = before(now, Duration::from_secs(3600));
        assert_eq!(text, "2026-11-23T06:45:00Z");
        assert_eq!(before(now, Duration::MAX), "1970-01-01T00:00:00Z");
    }
}
