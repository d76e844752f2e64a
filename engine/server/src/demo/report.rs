//! What the demo prints.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::drive::Outcome;
use super::example::Example;
use super::numbers::{Arrived, Numbers};
use super::{DEAD_LETTERS, STATION};
use crate::running::Running;

/// Longest example of a reason.
const MOST_REASON: usize = 200;

/// Everything there is to tell.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) running: &'a Running,
    pub(super) example: &'a Example,
    pub(super) folder: &'a Path,
}

impl Report<'_> {
    /// The steps, the sums, samples and dead letters.
    pub(super) fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        let numbers = &self.outcome.numbers;
        writeln!(
            out,
            "{} flights went from a file through the station `{STATION}` to a NATS client, a webhook and a file, in {:.1} s.\n",
            grouped(numbers.read.records),
            numbers.took().as_secs_f64(),
        )?;
        out.write_all(steps(numbers).as_bytes())?;
        writeln!(
            out,
            "\nper second: of a stage while it was at work, of the others from the source's start\n"
        )?;
        writeln!(
            out,
            "read {} = stored {} + dropped {} + rejected {}; delivered {}, to the webhook {}, to the file {}",
            grouped(numbers.read.records),
            grouped(numbers.stored),
            grouped(numbers.dropped()),
            grouped(numbers.rejected),
            grouped(numbers.delivered.records),
            grouped(numbers.sunk.records),
            grouped(numbers.copied.records),
        )?;
        self.samples(out)?;
        self.dead_letters(out)
    }

    fn samples(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nBefore and after")?;
        for (before, sample) in self.outcome.samples.with_origins(&self.example.text) {
            writeln!(out, "  {}", sample.subject)?;
            if let Some(before) = before {
                writeln!(out, "  - {before}")?;
            }
            writeln!(out, "  + {}", sample.after)?;
        }
        Ok(())
    }

    fn dead_letters(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = grouped(self.outcome.numbers.rejected);
        writeln!(
            out,
            "\nDead letters: {count} in the stream `{DEAD_LETTERS}`, each with its original bytes and the reason"
        )?;
        out.write_all(reasons(&self.outcome.dead_letters).as_bytes())
    }

    /// How to look further, when the server is gone in a moment.
    pub(super) fn more(&self, out: &mut dyn Write) -> io::Result<()> {
        let program = program();
        writeln!(
            out,
            "\nTo look further, leave the server running: {program} demo --keep"
        )?;
        writeln!(out, "It then says how to use these on it:")?;
        writeln!(
            out,
            "  {program} tail {STATION}                 what is stored, and what comes"
        )?;
        writeln!(
            out,
            "  {program} dead-letters list {STATION}    each rejected record with its reason"
        )?;
        writeln!(
            out,
            "  {program} describe station {STATION}     what it is made of, and its numbers"
        )
    }

    /// The commands to try on the server that is left running.
    pub(super) fn next_commands(&self, out: &mut dyn Write) -> io::Result<()> {
        let program = program();
        let http = self
            .running
            .http_address()
            .map(|address| format!("http://{address}"))
            .unwrap_or_default();
        let nats = format!("nats://{}", self.running.nats_address());
        let station_file = self.example.station_file.display();
        let samples = self.outcome.samples.with_origins(&self.example.text);
        let accepted = samples
            .iter()
            .find_map(|(before, sample)| Some(((*before)?, &sample.subject)));
        writeln!(
            out,
            "\nThe server runs until Ctrl-C. In another terminal:\n"
        )?;
        writeln!(out, "  export MILLSTREAM_SERVER={http}")?;
        writeln!(out, "  {program} tail {STATION} --limit 3")?;
        writeln!(out, "  {program} dead-letters list {STATION}")?;
        writeln!(out, "  {program} dead-letters show {STATION} 1")?;
        writeln!(out, "  {program} describe station {STATION}")?;
        if let Some((before, subject)) = accepted {
            let before = before.replace('\'', "'\\''");
            writeln!(out, "  {program} publish {subject} '{before}'")?;
        }
        writeln!(
            out,
            "  {program} apply -f {station_file} --dry-run   # after a change to it"
        )?;
        writeln!(out, "  curl {http}/metrics\n")?;
        writeln!(
            out,
            "Any NATS client: {nats}, streams `{STATION}` and `{DEAD_LETTERS}`"
        )?;
        writeln!(out, "Management, OpenAPI: {http}/openapi.json")?;
        writeln!(
            out,
            "Station file, sinks, source, log: {}",
            self.folder.display()
        )
    }
}

/// How this program was called, so that the commands can be pasted.
fn program() -> String {
    std::env::args()
        .next()
        .filter(|name| !name.contains(' '))
        .unwrap_or_else(|| "millstream".to_owned())
}

/// The table of steps.
fn steps(numbers: &Numbers) -> String {
    let header = [
        "STEP",
        "TOOK IN",
        "PASSED ON",
        "DROPPED",
        "REJECTED",
        "PER SECOND",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    let row = |step: &str, taken: u64, passed: u64, dropped: u64, rejected: u64, rate: String| {
        [
            step.to_owned(),
            grouped(taken),
            grouped(passed),
            grouped(dropped),
            grouped(rejected),
            rate,
        ]
    };
    let read = numbers.read;
    rows.push(row(
        "source, a file",
        numbers.in_file,
        read.records,
        0,
        0,
        speed(read),
    ));
    for stage in &numbers.stages {
        let rate = per_second(stage.records_in, stage.busy);
        let name = format!("  {}", stage.label);
        rows.push(row(
            &name,
            stage.records_in,
            stage.records_out,
            stage.dropped,
            stage.rejected,
            rate,
        ));
    }
    let stored = Arrived {
        records: numbers.stored,
        after: read.after,
    };
    rows.push(row(
        "station, on disk",
        numbers.stored,
        numbers.stored,
        0,
        0,
        speed(stored),
    ));
    for (name, arrived) in [
        ("NATS client, pull and ack", numbers.delivered),
        ("sink, a webhook", numbers.sunk),
        ("sink, a file", numbers.copied),
    ] {
        rows.push(row(
            name,
            numbers.stored,
            arrived.records,
            0,
            0,
            speed(arrived),
        ));
    }
    draw(&rows, 1)
}

/// Dead letters by stage, code and place, the most frequent first, and the first letter of each as an example.
fn reasons(letters: &[Value]) -> String {
    let mut groups: BTreeMap<[String; 3], (u64, &Value)> = BTreeMap::new();
    for letter in letters {
        let key = ["stage", "code", "path"].map(|name| text(letter, name));
        groups.entry(key).or_insert((0, letter)).0 += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let header = ["COUNT", "STAGE", "CODE", "PLACE"];
    let mut rows = vec![header.map(str::to_owned)];
    let mut examples = vec![String::new()];
    for ([stage, code, path], (count, first)) in groups {
        let id = first.get("id").map(ToString::to_string).unwrap_or_default();
        let reason = short(&text(first, "reason"));
        rows.push([grouped(count), stage, code, path]);
        examples.push(format!("       number {id}: {reason}\n"));
    }
    let table = draw(&rows, 0);
    table
        .lines()
        .zip(examples)
        .map(|(line, example)| format!("{line}\n{example}"))
        .collect()
}

fn text(letter: &Value, name: &str) -> String {
    letter
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn short(reason: &str) -> String {
    if reason.chars().count() <= MOST_REASON {
        return reason.to_owned();
    }
    reason.chars().take(MOST_REASON - 1).chain(['…']).collect()
}

/// Columns as wide as their widest cell. Those from `numbers` on that hold numbers are aligned right.
fn draw<const N: usize>(rows: &[[String; N]], numbers: usize) -> String {
    let is_number = |column: usize| {
        column >= numbers
            && rows[1..]
                .iter()
                .all(|row| !row[column].contains(char::is_alphabetic))
    };
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let columns: Vec<(usize, bool)> = (0..N)
        .map(|column| (width(column), is_number(column)))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&columns)
            .map(|(cell, (width, right))| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn speed(arrived: Arrived) -> String {
    per_second(arrived.records, arrived.after)
}

fn per_second(records: u64, time: Duration) -> String {
    let micros = time.as_micros();
    if micros == 0 {
        return "-".to_owned();
    }
    let rate = u128::from(records) * 1_000_000 / micros;
    grouped(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{draw, grouped, per_second, reasons};

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(per_second(500, Duration::from_millis(250)), "2,000");
        assert_eq!(per_second(500, Duration::ZERO), "-");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["A", "N"], ["long", "1"], ["s", "1,000"]].map(|row| row.map(str::to_owned));
        assert_eq!(draw(&rows, 1), "A         N\nlong      1\ns     1,000\n");
    }

    #[test]
    fn dead_letters_are_counted_by_reason() {
        let letter = |id: u64, code: &str, path: Option<&str>| json!({"id": id, "stage": "schema:x", "code": code, "path": path, "reason": format!("why {id}")});
        let letters = [
            letter(4, "a", Some("/p")),
            letter(5, "b", None),
            letter(7, "a", Some("/p")),
        ];
        let text = reasons(&letters);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["2", "schema:x", "a", "/p"]);
        assert_eq!(lines[2], ["number", "4:", "why", "4"]);
        assert_eq!(lines[3], ["1", "schema:x", "b"]);
        assert_eq!(lines[4], ["number", "5:", "why", "5"]);
    }
}
