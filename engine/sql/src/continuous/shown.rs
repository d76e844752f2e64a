//! Operators in words, for people: without the planner's places of columns, types of constants and names of functions.

use std::fmt::Write as _;
use std::time::Duration;

use millstream_pipeline::FlowTable;
use millstream_spec::{QuerySpec, Results};
use millstream_types::{Timestamp, format_duration};

use super::plan::Node;
use super::source::SourcePlan;
use super::windows;

#[cfg(test)]
mod tests;

/// The operators as a tree, where results go first and what is read last.
pub(super) fn explain(
    (nodes, last): (&[Node], usize),
    sources: &[FlowTable],
    spec: &QuerySpec,
    results: Option<Results>,
) -> String {
    let mut text = target(spec, results);
    let reads = |node: &&Node| matches!(node, Node::Source(_));
    // Where there is one source, everybody knows whose columns they are.
    let qualified = nodes.iter().filter(reads).count() > 1;
    let mut stack = vec![(last, usize::from(!text.is_empty()))];
    while let Some((at, depth)) = stack.pop() {
        let indent = "  ".repeat(depth);
        let line = match &nodes[at] {
            Node::Source(source) => read(source, sources.get(source.number)),
            Node::Operator { inputs, text, .. } => {
                stack.extend(inputs.iter().rev().map(|input| (*input, depth + 1)));
                readable(text, qualified)
            }
        };
        let _ = writeln!(text, "{indent}{line}");
    }
    text
}

/// Where results go; nothing when they are only shown.
fn target(spec: &QuerySpec, results: Option<Results>) -> String {
    if spec.into.is_empty() {
        return String::new();
    }
    let how = match results {
        None => "append to",
        Some(Results::Upsert) => "upsert into",
        Some(Results::Changelog) => "tell changes to",
    };
    let subject = spec.subject.as_ref();
    let subject = subject.map_or_else(String::new, |subject| format!(" as {subject}"));
    format!("{how} {}{subject}\n", spec.into)
}

fn read(source: &SourcePlan, table: Option<&FlowTable>) -> String {
    let kind = if source.is_table { "table " } else { "" };
    let name = table.map_or("", |table| table.station.as_str());
    let shown = source.columns.iter().take(source.shown);
    let columns: Vec<&str> = shown.map(|column| column.name.as_str()).collect();
    let mut text = format!("read {kind}{name}: {}", columns.join(", "));
    if let Some(filter) = table.and_then(|table| table.filter.as_ref()) {
        let _ = write!(text, "; subjects {filter}");
    }
    if let Some(time) = &source.time {
        let column = &source.columns[time.column].name;
        let (lag, idle) = (length(time.lag), length(time.idle));
        let _ = write!(
            text,
            "; event time {column}, {lag} out of order, idle after {idle}"
        );
    }
    text
}

/// Nanoseconds as a duration.
fn length(nanoseconds: i64) -> String {
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
    format_duration(Duration::from_nanos(nanoseconds))
}

/// What the planner says of expressions, in the words of SQL.
pub(super) fn readable(text: &str, qualified: bool) -> String {
    Reader {
        rest: text,
        qualified,
    }
    .all()
}

/// Goes through a text once.
struct Reader<'t> {
    rest: &'t str,
    qualified: bool,
}

impl<'t> Reader<'t> {
    fn all(mut self) -> String {
        let mut out = String::new();
        while let Some(first) = self.rest.chars().next() {
            match first {
                '\'' | '"' => out.push_str(self.quoted(first)),
                // The place of a column among others.
                '@' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    let rest = self.rest[1..].trim_start_matches(|c: char| c.is_ascii_digit());
                    self.rest = rest;
                }
                c if c.is_alphabetic() || c == '_' => self.word(&mut out),
                // A number is no name, and no qualifier.
                c if c.is_ascii_digit() => {
                    let number = self.take(|c| c.is_alphanumeric() || c == '.');
                    out.push_str(number);
                }
                c => {
                    out.push(c);
                    self.rest = &self.rest[c.len_utf8()..];
                }
            }
        }
        out
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !belongs(c));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A text in quotes, as it is.
    fn quoted(&mut self, quote: char) -> &'t str {
        let inside = &self.rest[1..];
        let end = inside
            .find(quote)
            .map_or(self.rest.len(), |end| 1 + end + 1);
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// What stands between brackets that open here, without them.
    fn inside(&mut self, open: char, close: char) -> &'t str {
        let (mut depth, mut quote) = (0_usize, None);
        for (at, c) in self.rest.char_indices() {
            match quote {
                Some(own) if c == own => quote = None,
                Some(_) => {}
                None if c == '"' || c == '\'' => quote = Some(c),
                None if c == open => depth += 1,
                None if c == close => {
                    depth -= 1;
                    if depth == 0 {
                        let inside = &self.rest[1..at];
                        self.rest = &self.rest[at + 1..];
                        return inside;
                    }
                }
                None => {}
            }
        }
        let inside = self.rest.get(1..).unwrap_or_default();
        self.rest = "";
        inside
    }

    /// A name, a call, or a constant with its type.
    fn word(&mut self, out: &mut String) {
        let word = self.take(|c| c.is_alphanumeric() || c == '_');
        if word == INTERVAL && self.rest.starts_with(" {") {
            self.rest = &self.rest[1..];
            out.push_str(&interval(self.inside('{', '}')));
            return;
        }
        if self.rest.starts_with('(') {
            let inside = self.inside('(', ')');
            out.push_str(&self.called(word, inside));
            return;
        }
        let member = self.rest.strip_prefix('.');
        let is_name = |rest: &str| rest.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !self.qualified && member.is_some_and(is_name) {
            self.rest = member.unwrap_or_default();
            return;
        }
        out.push_str(match word {
            START_OF_SESSION => windows::START,
            END_OF_SESSION => windows::END,
            word => word,
        });
    }

    fn called(&self, name: &str, inside: &str) -> String {
        if TYPES.contains(&name) {
            return constant(name, inside);
        }
        let arguments: Vec<String> = split(inside)
            .into_iter()
            .map(|argument| readable(argument.trim(), self.qualified))
            .collect();
        let all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match (name, all.as_slice()) {
            ("count", ["1"]) => "count(*)".to_owned(),
            ("get_field", [of, member]) => {
                let member = member.trim_matches(['\'', '"']);
                match member {
                    windows::START | windows::END => member.to_owned(),
                    member => format!("{of}.{member}"),
                }
            }
            (windows::TUMBLE_START, [time, size, ..]) => format!("tumble {size} over {time}"),
            (windows::TUMBLE_END, [time, size, ..]) => format!("end of tumble {size} over {time}"),
            (windows::HOP_WINDOWS, [time, slide, size, ..]) => {
                format!("hop {size} every {slide} over {time}")
            }
            (windows::CUMULATE_WINDOWS, [time, step, size, ..]) => {
                format!("cumulate {size} by {step} over {time}")
            }
            (name, all) => format!("{name}({})", all.join(", ")),
        }
    }
}

/// The columns that an operator for sessions adds.
const START_OF_SESSION: &str = "millstream_session_window_start";
const END_OF_SESSION: &str = "millstream_session_window_end";

const INTERVAL: &str = "IntervalMonthDayNano";

/// Types that stand before constants.
const TYPES: [&str; 19] = [
    "Boolean",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float32",
    "Float64",
    "Utf8",
    "LargeUtf8",
    "Utf8View",
    "Decimal128",
    "Date32",
    "TimestampNanosecond",
    "IntervalDayTime",
    INTERVAL,
];

/// A constant without its type.
fn constant(kind: &str, inside: &str) -> String {
    let bare = inside.trim();
    let parts: Vec<&str> = split(bare).into_iter().map(str::trim).collect();
    let number = |part: &str| {
        let inner = part.strip_prefix("Some(");
        let inner = inner.and_then(|part| part.strip_suffix(')'));
        inner.unwrap_or(part).parse::<i64>().ok()
    };
    match (kind, parts.as_slice()) {
        ("Decimal128", [value, _, scale]) => {
            if let (Some(value), Ok(scale)) = (number(value), scale.parse::<usize>()) {
                return decimal(value, scale);
            }
        }
        ("TimestampNanosecond", [value, ..]) => {
            if let Some(value) = number(value) {
                return Timestamp(value).to_rfc3339();
            }
        }
        _ => {}
    }
    let text = bare
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    match text {
        Some(text) if text.starts_with(INTERVAL) => readable(text, true),
        Some(text) => format!("'{text}'"),
        None => bare.split(',').next().unwrap_or(bare).to_owned(),
    }
}

/// A whole number with a point so many digits from its end.
fn decimal(value: i64, scale: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{rest}")
}

/// `months: 0, days: 1, nanoseconds: 0` as a length.
fn interval(inside: &str) -> String {
    let number = |name: &str| {
        let part = inside.split(',').find_map(|part| {
            let (own, value) = part.split_once(':')?;
            (own.trim() == name).then_some(value.trim())
        });
        part.and_then(|value| value.parse::<i64>().ok())
            .unwrap_or(0)
    };
    let (months, days, rest) = (number("months"), number("days"), number("nanoseconds"));
    let mut parts = Vec::new();
    if months != 0 {
        parts.push(format!("{months} months"));
    }
    if days != 0 {
        parts.push(format!("{days}d"));
    }
    if rest != 0 || parts.is_empty() {
        let sign = if rest < 0 { "-" } else { "" };
        let length = format_duration(Duration::from_nanos(rest.unsigned_abs()));
        parts.push(format!("{sign}{length}"));
    }
    parts.join(" ")
}

/// Arguments between commas.
fn split(inside: &str) -> Vec<&str> {
    if inside.trim().is_empty() {
        return Vec::new();
    }
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some(own), c) if c == own => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '{' | '[') => depth += 1,
            (None, ')' | '}' | ']') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(&inside[start..]);
    parts
}
