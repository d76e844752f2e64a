//! How flows are doing, in words.

use millstream_spec::Kind;
use millstream_types::format_bytes;
use serde_json::Value;

use crate::error::CliError;
use crate::table::{Table, cell, one_line};

use super::super::Session;

/// What a list shows, and where the answer has it.
const COLUMNS: [(&str, &str); 12] = [
    ("name", "name"),
    ("state", "state"),
    ("from", "from"),
    ("to", "to"),
    ("watermark", "watermark"),
    ("behind", "lag_messages"),
    ("seconds", "lag_seconds"),
    ("entries", "state_rows"),
    ("bytes", "state_bytes"),
    ("late", "late"),
    ("rejected", "rejected"),
    ("reason", "reason"),
];

pub(super) async fn list(session: Session<'_, '_>) -> Result<(), CliError> {
    let answer = session.client.get(&[Kind::Flow.plural()], &[]).await?;
    let console = session.console;
    if console.structured(session.format, &answer)? {
        return Ok(());
    }
    let items = answer["items"].as_array().map(Vec::as_slice);
    let items = items.unwrap_or_default();
    if items.is_empty() {
        return console.line("no flows");
    }
    let mut table = Table::new(COLUMNS.map(|(shown, _)| shown));
    for item in items {
        let cells = COLUMNS.iter().map(|(_, name)| cell(&item[*name]));
        table.row(cells.map(Option::unwrap_or_default).collect());
    }
    console.text(&table.draw())
}

pub(super) async fn describe(name: &str, session: Session<'_, '_>) -> Result<(), CliError> {
    let answer = session
        .client
        .get(&[Kind::Flow.plural(), name], &[])
        .await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    session.console.text(&in_words(&answer))
}

/// Lines with what they are about in front of them.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, what: &str, text: &str) {
        let line = format!("  {what:<11}{}", one_line(text));
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }
}

fn in_words(flow: &Value) -> String {
    let (status, spec) = (&flow["status"], &flow["spec"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = Lines(format!(
        "{}: {}, version {}\n",
        text(&flow["name"]),
        text(&status["state"]),
        flow["version"]
    ));
    if let Some(reason) = status["reason"].as_str() {
        lines.line("blocked by", reason);
    }
    match status["query"]["sources"].as_array() {
        Some(sources) => sources
            .iter()
            .for_each(|source| lines.line("reads", &read(source))),
        None => {
            let read = read(status);
            lines.line("reads", &format!("{}{read}", text(&spec["from"])));
        }
    }
    let query = &spec["query"];
    let to = [&query["into"], &spec["to"]]
        .into_iter()
        .find_map(Value::as_str);
    let subject = [&query["subject"], &spec["subject"]]
        .into_iter()
        .find_map(Value::as_str);
    let subject = subject.map_or_else(String::new, |subject| format!(" as {subject}"));
    lines.line(
        "writes",
        &format!("{}{subject}", to.unwrap_or("what its stages name")),
    );
    counts(status, &mut lines);
    if let Some(error) = status["last_error"].as_str() {
        lines.line(
            "last error",
            &format!("{error} ({} in all)", status["errors"]),
        );
    }
    if let Some(columns) = cell(&flow["query"]["columns"]).filter(|columns| !columns.is_empty()) {
        lines.line("columns", &columns);
    }
    let mut words = lines.0;
    let plan = flow["query"]["plan"].as_str().unwrap_or_default();
    if !plan.is_empty() {
        words.push_str("  plan\n");
    }
    words.extend(plan.lines().map(|line| format!("    {}\n", one_line(line))));
    words
}

/// How far a source is read.
fn read(source: &Value) -> String {
    let count = |name: &str| source[name].as_u64().unwrap_or(0);
    let name = source["station"].as_str().unwrap_or_default();
    let mut text = format!("{name} up to {}", count("position"));
    match count("lag_messages") {
        0 => text.push_str(", nothing left"),
        left => text.push_str(&format!(
            ", {left} messages behind, the oldest {} s old",
            count("lag_seconds")
        )),
    }
    if let Some(watermark) = source["watermark"].as_str() {
        text.push_str(&format!(", watermark {watermark}"));
    }
    text
}

fn counts(status: &Value, lines: &mut Lines) {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let query = &status["query"];
    if let Some(watermark) = query["watermark"].as_str() {
        lines.line("watermark", watermark);
    }
    let mut text = format!(
        "{} in, {} out",
        count(&status["inputs"]),
        count(&status["outputs"])
    );
    if query.is_object() {
        text.push_str(&format!(", {} late", count(&status["late"])));
    } else {
        text.push_str(&format!(", {} dropped", count(&status["dropped"])));
    }
    text.push_str(&format!(", {} rejected", count(&status["rejected"])));
    for name in ["retried", "lost"] {
        match count(&status[name]) {
            0 => {}
            some => text.push_str(&format!(", {some} {name}")),
        }
    }
    lines.line("messages", &text);
    if query.is_object() {
        let (rows, bytes) = (count(&query["state_rows"]), count(&query["state_bytes"]));
        lines.line("state", &format!("{rows} entries, {}", format_bytes(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::in_words;

    #[test]
    fn a_query_in_words() {
        let flow = json!({
            "name": "hourly", "version": 2,
            "spec": { "query": { "into": "delays", "subject": "delays.{carrier}" } },
            "status": { "state": "blocked", "reason": "stream `delays` is full", "inputs": 10, "outputs": 3, "late": 1,
                "rejected": 2, "errors": 4, "last_error": "stream `delays` is full", "query": { "watermark": "2026-01-01T00:00:00Z",
                "state_rows": 7, "state_bytes": 2048, "sources": [
                    { "station": "flights", "position": 10, "lag_messages": 5, "lag_seconds": 3, "watermark": "2026-01-01T00:00:00Z" },
                    { "station": "KV_planes", "position": 4, "lag_messages": 0, "lag_seconds": 0, "watermark": null }] } },
            "query": { "columns": ["carrier", "flights"], "plan": "upsert into delays\n  read flights: carrier\n" },
        });
        let words = "hourly: blocked, version 2
  blocked by stream `delays` is full
  reads      flights up to 10, 5 messages behind, the oldest 3 s old, watermark 2026-01-01T00:00:00Z
  reads      KV_planes up to 4, nothing left
  writes     delays as delays.{carrier}
  watermark  2026-01-01T00:00:00Z
  messages   10 in, 3 out, 1 late, 2 rejected
  state      7 entries, 2.0 KiB
  last error stream `delays` is full (4 in all)
  columns    carrier, flights
  plan
    upsert into delays
      read flights: carrier
";
        assert_eq!(in_words(&flow), words);
    }

    #[test]
    fn a_flow_of_stages_in_words() {
        let flow = json!({ "name": "late", "version": 1, "spec": { "from": "flights", "to": "late" },
            "status": { "state": "running", "position": 9, "inputs": 9, "outputs": 2, "dropped": 7, "retried": 1, "lost": 0 },
            "query": null });
        let words = "late: running, version 1
  reads      flights up to 9, nothing left
  writes     late
  messages   9 in, 2 out, 7 dropped, 0 rejected, 1 retried
";
        assert_eq!(in_words(&flow), words);
    }
}
