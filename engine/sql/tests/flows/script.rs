//! Runs the text files under `cases/`. A case is a query, what it reads, and steps with what they make:
//!
//! ```text
//! case a row behind the end of its window is dropped
//! stream t k:string v:int64 ts:timestamp* lag=5s      the star: its event time
//! table d k:string name:string                        rows by subject
//! with emit: update                                    further options, as in a station file
//! sql SELECT …                                         to the next line that is not indented
//! refused no column                                    instead of all below: a part of the error
//! in t {"k":"a","ts":@12.5}                            @12.5: that many seconds into 2024, as a timestamp
//! in d/a {"k":"a","name":"A"}                          a row of a table, by its subject; `-` takes it away
//! step                                                 what was read since the last one
//! > {"k":"a","n":2}                                    a result; with its subject in front where that has columns
//! late t#3                                             message 3 of `t` is stored as late
//! rejected t#4 null_event_time                         and this one as a dead letter
//! now 40                                               the wall clock, in seconds since the flow was made
//! crash                                                made anew from its state
//! watermark @7                                         or `none`
//! dropped 2                                            late rows, as long as it was not made anew
//! state 0                                              most entries that groups, windows and joins may hold
//! once                                                 crashes would change what comes of it
//! ```
//!
//! The order of results within a step does not count. Each case is run a second time with a crash behind every step.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_pipeline::{Batch, ColumnKind, Dataflow, Effects, Origin, Output, Record};
use millstream_spec::{QuerySource, QuerySpec, yaml_value};
use millstream_types::{Timestamp, parse_duration};
use serde_json::{Map, Value, json};

use crate::data::{Row, SECOND, START, Station, Stored};
use crate::drive::{Flow, NOW};
use crate::engine::open;
use crate::rows::canonical;

/// A case as it is written.
#[derive(Clone, Debug, Default)]
struct Script {
    name: String,
    stations: Vec<Station>,
    spec: QuerySpec,
    refused: Option<String>,
    /// Not run with crashes.
    once: bool,
    /// Lines with their numbers.
    lines: Vec<(usize, String)>,
}

/// Runs all cases of a file.
pub(crate) fn run_file(file: &str, text: &str) {
    let mut wrong = Vec::new();
    let scripts = parse(text);
    assert!(!scripts.is_empty(), "{file} has no case");
    for script in scripts {
        for crashes in if script.once {
            vec![false]
        } else {
            vec![false, true]
        } {
            if let Err(why) = run(&script, crashes) {
                let how = if crashes { " with crashes" } else { "" };
                wrong.push(format!("{file}: {}{how}: {why}", script.name));
                break;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases are wrong:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

fn parse(text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut options = String::new();
    let mut in_sql = false;
    for (number, line) in (1..).zip(text.lines()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            scripts.push(Script {
                name: rest.to_owned(),
                ..Script::default()
            });
            scripts.last_mut().expect("just pushed").spec.into = "out".to_owned();
            options.clear();
            continue;
        }
        let Some(script) = scripts.last_mut() else {
            continue;
        };
        if in_sql && line.starts_with(' ') {
            script.spec.sql.push_str(&format!("\n{line}"));
            continue;
        }
        in_sql = false;
        match word {
            "" | "#" => {}
            "stream" | "table" => source(script, rest, word == "table"),
            "with" => options.push_str(&format!("{rest}\n")),
            "sql" => {
                rest.clone_into(&mut script.spec.sql);
                in_sql = true;
                script.spec = with(&script.spec, &options);
            }
            "once" => script.once = true,
            "refused" => script.refused = Some(rest.to_owned()),
            _ => script.lines.push((number, line.to_owned())),
        }
    }
    scripts
}

/// The specification with further options.
fn with(spec: &QuerySpec, options: &str) -> QuerySpec {
    let mut whole = json!(spec).as_object().cloned().unwrap_or_default();
    let options = yaml_value("with", options).expect("YAML");
    whole.extend(options.as_object().cloned().unwrap_or_default());
    serde_json::from_value(Value::Object(whole)).expect("options of a flow")
}

/// `t k:string ts:timestamp* lag=5s idle=30s`.
fn source(script: &mut Script, text: &str, is_table: bool) {
    let mut words = text.split_whitespace();
    // Names live as long as the test.
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let name = leak(words.next().expect("a name"));
    let mut source = QuerySource {
        table: is_table,
        ..QuerySource::default()
    };
    let mut station = Station {
        name,
        columns: Vec::new(),
        event_time: None,
        is_table,
        messages: Vec::new(),
    };
    for word in words {
        if let Some((option, value)) = word.split_once('=') {
            let duration = parse_duration(value).expect("a duration");
            match option {
                "lag" => source.watermark = Some(duration),
                "idle" => source.idle = Some(duration),
                other => panic!("no option: {other}"),
            }
            continue;
        }
        let (column, kind) = word.split_once(':').expect("column:kind");
        let is_time = kind.ends_with('*');
        let kind = kind.trim_end_matches('*');
        if is_time {
            source.event_time = Some(column.to_owned());
            station.event_time = Some(leak(column));
        }
        source.columns.insert(column.to_owned(), kind.to_owned());
        station.columns.push((leak(column), kind_of(kind)));
    }
    script.spec.sources.insert(name.to_owned(), source);
    script.stations.push(station);
}

fn kind_of(word: &str) -> ColumnKind {
    match word {
        "bool" => ColumnKind::Bool,
        "int64" => ColumnKind::Int64,
        "float64" => ColumnKind::Float64,
        "string" => ColumnKind::String,
        "timestamp" => ColumnKind::Timestamp,
        "json" => ColumnKind::Json,
        other => panic!("no kind of column: {other}"),
    }
}

/// `@12.5` where a value stands becomes a timestamp.
fn times(text: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, behind) = rest.split_at(at);
        made.push_str(before);
        let end = behind[1..].find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'));
        let end = end.map_or(behind.len(), |end| end + 1);
        match seconds(&behind[1..end]) {
            Some(time) if before.ends_with([':', '[', ' ']) => {
                made.push_str(&json!(time.to_rfc3339()).to_string())
            }
            _ => made.push_str(&behind[..end]),
        }
        rest = &behind[end..];
    }
    made.push_str(rest);
    made
}

/// Seconds into 2024.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds: i64 = format!("{part:0<9}").parse().ok()?;
    Some(Timestamp(
        START + whole.parse::<i64>().ok()? * SECOND + nanoseconds,
    ))
}

/// A flow on its way through a script.
struct Run {
    flow: Flow,
    running: Box<dyn Dataflow>,
    state: BTreeMap<Bytes, Bytes>,
    now: Timestamp,
    /// What is to be read, and how many there were before, of each source.
    pending: Vec<Vec<Record>>,
    counts: BTreeMap<String, u64>,
    crashed: bool,
}

fn run(script: &Script, crashes: bool) -> Result<(), String> {
    let opened = open(&script.spec, &script.stations);
    let flow = match (&script.refused, opened) {
        (Some(part), Err(error)) if error.contains(part) => return Ok(()),
        (Some(part), Err(error)) => return Err(format!("refused otherwise: {error}, not {part}")),
        (Some(part), Ok(_)) => return Err(format!("not refused: {part}")),
        (None, Err(error)) => return Err(format!("refused: {error}")),
        (None, Ok((flow, _))) => flow,
    };
    let mut run = Run {
        running: (flow.start)(),
        pending: vec![Vec::new(); flow.sources.len()],
        flow,
        state: BTreeMap::new(),
        now: NOW,
        counts: BTreeMap::new(),
        crashed: false,
    };
    let mut lines = script.lines.iter().peekable();
    while let Some((number, line)) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "step" {
            let mut expected = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(['>', 'l', 'r']))
            {
                expected.push(expectation(line)?);
            }
            run.step(expected)
                .map_err(|why| format!("line {number}: {why}"))?;
            if crashes {
                run.crash()?;
            }
            continue;
        }
        run.line(word, rest)
            .map_err(|why| format!("line {number}: {why}"))?;
    }
    Ok(())
}

impl Run {
    fn line(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let status = self.running.status();
        match word {
            "in" => self.read(rest)?,
            "now" => {
                let seconds: i64 = rest.parse().map_err(|_| "no seconds".to_owned())?;
                self.now = Timestamp(NOW.0 + seconds * SECOND);
            }
            "crash" => self.crash()?,
            "watermark" => {
                let expected = rest.strip_prefix('@').and_then(seconds);
                if status.watermark != expected {
                    let found = status.watermark.map(Timestamp::to_rfc3339);
                    return Err(format!("the watermark is {found:?}, not {rest}"));
                }
            }
            // Counts begin anew behind a crash.
            "dropped" if !self.crashed && rest.parse() != Ok(status.late) => {
                return Err(format!("{} rows are late, not {rest}", status.late));
            }
            "state"
                if rest
                    .parse::<u64>()
                    .map_or(true, |most| status.state_rows > most) =>
            {
                return Err(format!(
                    "{} entries of state, more than {rest}",
                    status.state_rows
                ));
            }
            "dropped" | "state" => {}
            other => return Err(format!("no such line: `{other}`")),
        }
        Ok(())
    }

    fn read(&mut self, text: &str) -> Result<(), String> {
        let (name, payload) = text.split_once(' ').ok_or("no message")?;
        let (station, key) = name.split_once('/').unwrap_or((name, "x"));
        let row: Option<Row> = match payload {
            "-" => None,
            payload => Some(
                serde_json::from_str(&times(payload))
                    .map_err(|error| format!("{error}: {payload}"))?,
            ),
        };
        let stored = Stored {
            subject: format!("{station}.{key}"),
            row,
        };
        let count = self.counts.entry(station.to_owned()).or_default();
        *count += 1;
        let record = stored.record(*count);
        let mut found = false;
        for (source, pending) in self.flow.sources.iter().zip(&mut self.pending) {
            if source.station == station {
                pending.push(record.clone());
                found = true;
            }
        }
        if found {
            Ok(())
        } else {
            Err(format!("the query does not read `{station}`"))
        }
    }

    fn step(&mut self, mut expected: Vec<String>) -> Result<(), String> {
        let batches: Vec<Batch<'_>> = self
            .pending
            .iter()
            .enumerate()
            .filter(|(_, records)| !records.is_empty())
            .map(|(source, records)| Batch { source, records })
            .collect();
        let effects = self.running.step(&batches, self.now);
        self.pending.iter_mut().for_each(Vec::clear);
        let mut found = self.told(&effects)?;
        for change in effects.state {
            match change.value {
                Some(value) => self.state.insert(change.key, value),
                None => self.state.remove(&change.key),
            };
        }
        expected.sort();
        found.sort();
        if expected == found {
            return Ok(());
        }
        Err(format!(
            "expected\n  {}\nfound\n  {}",
            expected.join("\n  "),
            found.join("\n  ")
        ))
    }

    /// What a step made, in the words of a script.
    fn told(&self, effects: &Effects) -> Result<Vec<String>, String> {
        if let Some(why) = &effects.failed {
            return Err(format!("it fails: {why}"));
        }
        let mut lines: Vec<String> = Vec::new();
        for output in &effects.outputs {
            lines.push(result(output)?);
        }
        let of = |origin: &Origin| match origin {
            Origin::Message { source, sequence } => {
                format!("{}#{sequence}", self.flow.sources[*source].station)
            }
            Origin::Row(row) => String::from_utf8_lossy(row).into_owned(),
        };
        lines.extend(
            effects
                .late
                .iter()
                .map(|(origin, _)| format!("late {}", of(origin))),
        );
        let rejected = effects.rejected.iter();
        lines.extend(rejected.map(|(origin, why)| format!("rejected {} {}", of(origin), why.code)));
        Ok(lines)
    }

    fn crash(&mut self) -> Result<(), String> {
        self.crashed = true;
        self.running = (self.flow.start)();
        for (key, value) in &self.state {
            let restored = self.running.restore(key, value);
            restored.map_err(|error| format!("its own state: {error}"))?;
        }
        Ok(())
    }
}

fn result(output: &Output) -> Result<String, String> {
    let subject = String::from_utf8_lossy(&output.subject);
    let subject = if subject == "out" {
        String::new()
    } else {
        format!("{subject} ")
    };
    if output.delete {
        return Ok(format!("> {subject}-"));
    }
    let row: Row = serde_json::from_slice(&output.payload).map_err(|error| error.to_string())?;
    Ok(format!("> {subject}{}", Value::Object(canonical(&row))))
}

/// An expected line in the same form.
fn expectation(line: &str) -> Result<String, String> {
    let Some(at) = line.find('{').filter(|_| line.starts_with('>')) else {
        return Ok(line.trim_end().to_owned());
    };
    let row: Map<String, Value> =
        serde_json::from_str(&times(&line[at..])).map_err(|error| format!("{error}: {line}"))?;
    Ok(format!("{}{}", &line[..at], Value::Object(canonical(&row))))
}

macro_rules! files {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            let name = stringify!($name);
            run_file(name, include_str!(concat!("cases/", stringify!($name), ".slt")));
        })*
    };
}

files!(
    windows, sugar, late, sessions, time, updating, joins, ranks, types, refused
);
