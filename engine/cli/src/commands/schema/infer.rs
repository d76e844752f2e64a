//! `schema infer`: the proposal goes to standard output, so that it can go into a file; the evidence beside it.

use serde_json::{Map, Value, json};

use super::check::result;
use super::read::laid_out;
use super::{put, told};
use crate::args::InferArgs;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, field};

use super::super::Session;

/// Values listed of a place.
const MAX_VALUES: usize = 4;
/// Characters of them.
const MAX_SHOWN: usize = 48;

pub(super) async fn infer(args: &InferArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let mut query = vec![("format", args.format.as_str().to_owned())];
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    query.extend(args.from_seq.map(|seq| ("from_seq", seq.to_string())));
    let path = ["stations", &args.station, "infer"];
    let lines = session.client.lines(&path, &query).await?;
    let mut answer = result(lines, session.console).await?;
    let text = answer["schema"].as_str().unwrap_or_default().to_owned();
    let mut registered = None;
    if let Some(subject) = &args.register {
        let kind = args.format.as_str().to_uppercase();
        let body = json!({ "schema": text, "schemaType": kind });
        let done = put(&session.client, subject, &body, false).await?;
        answer["registered"] =
            json!({ "subject": subject, "version": done.version, "id": done.id });
        registered = Some(told(subject, &done));
    }
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    evidence(&answer, session.console)?;
    session.console.text(&laid_out(&text))?;
    if let Some(line) = registered {
        writeln!(session.console.err, "{line}")?;
    }
    Ok(())
}

fn evidence(answer: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let empty = Map::new();
    let fields = answer.as_object().unwrap_or(&empty);
    let mut table = Table::new([
        "path", "seen", "null", "types", "range", "distinct", "values",
    ]);
    let places = fields.get("evidence").and_then(Value::as_array);
    for place in places.into_iter().flatten().filter_map(Value::as_object) {
        let path = match field(place, "path") {
            top if top.is_empty() => "(message)".to_owned(),
            path => path,
        };
        table.row(vec![
            path,
            format!("{} of {}", field(place, "seen"), field(place, "of")),
            field(place, "nulls"),
            types(place),
            range(place),
            field(place, "distinct"),
            values(place),
        ]);
    }
    write!(console.err, "{}", table.draw())?;
    let count = field(fields, "observed");
    writeln!(
        console.err,
        "from {count} messages of `{}`",
        field(fields, "station")
    )?;
    if let Some(Value::Object(first)) = fields.get("first_not_read") {
        let count = field(fields, "not_read");
        let (seq, reason) = (field(first, "seq"), field(first, "reason"));
        writeln!(
            console.err,
            "{count} could not be read; the first is {seq}: {reason}"
        )?;
    }
    Ok(())
}

/// Pairs of a word and a count.
fn pairs(place: &Map<String, Value>, name: &str) -> Vec<(Value, u64)> {
    let pairs = place.get(name).and_then(Value::as_array);
    let pair = |pair: &Value| Some((pair.get(0)?.clone(), pair.get(1)?.as_u64()?));
    pairs.into_iter().flatten().filter_map(pair).collect()
}

/// `integer`, or with several types `integer 98, string 2`; what texts are in parentheses.
fn types(place: &Map<String, Value>) -> String {
    let types = pairs(place, "types");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shown = match types.as_slice() {
        [(only, _)] => word(only),
        many => {
            let each = many
                .iter()
                .map(|(kind, count)| format!("{} {count}", word(kind)));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    let texts = types
        .iter()
        .find(|(kind, _)| kind == "string")
        .map(|(_, count)| *count);
    for (format, count) in pairs(place, "formats") {
        let all = texts == Some(count);
        shown += &if all {
            format!(" ({})", word(&format))
        } else {
            format!(" ({count} {})", word(&format))
        };
    }
    shown
}

fn range(place: &Map<String, Value>) -> String {
    let (least, most) = (field(place, "least"), field(place, "most"));
    if !least.is_empty() {
        return format!("{least} to {most}");
    }
    for (name, unit) in [("length", "characters"), ("items", "items")] {
        if let Some(Value::Array(both)) = place.get(name) {
            let [least, most] =
                [0, 1].map(|at| both.get(at).map(Value::to_string).unwrap_or_default());
            let ends = if least == most {
                most
            } else {
                format!("{least} to {most}")
            };
            return format!("{ends} {unit}");
        }
    }
    String::new()
}

fn values(place: &Map<String, Value>) -> String {
    let all = pairs(place, "values");
    let mut shown = String::new();
    for (at, (value, count)) in all.iter().enumerate() {
        let one = format!("{value} {count}");
        let room = shown.chars().count() + one.chars().count() <= MAX_SHOWN;
        if at >= MAX_VALUES || at > 0 && !room {
            shown += ", …";
            break;
        }
        if at > 0 {
            shown += ", ";
        }
        shown += &one;
    }
    shown
}
