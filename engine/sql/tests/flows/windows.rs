//! Window functions written out: `FROM TABLE(TUMBLE(…))` becomes a table that is computed here, row by row.
//!
//! It works on the words of the text and knows nothing of how the engine reads them.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use millstream_types::Timestamp;
use serde_json::{Value, json};

use crate::data::{Row, SECOND};
use crate::oracle::{collect, register};

/// What a window's last moment is before its end.
const LAST: i64 = 1_000_000;

/// The query without window functions; what they make is registered.
pub(crate) async fn expand(context: &SessionContext, sql: &str) -> Result<String, String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| error.to_string())?;
    let tokens = tokens.into_iter();
    let mut tokens: Vec<Token> = tokens
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    let mut number = 0;
    while let Some(at) =
        (1..tokens.len()).find(|at| tokens[*at] == Token::LParen && kind(&tokens[at - 1]).is_some())
    {
        number += 1;
        let name = format!("window_{number}");
        let call = Call::parse(&tokens, at)?;
        let before = common_tables(&tokens[..call.from]);
        let input = format!("{before} SELECT * FROM {}", call.table);
        let (schema, rows) = collect(context, &input).await?;
        let mut fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        for added in ["window_start", "window_end", "window_time"] {
            let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
            fields.retain(|field| field.name() != added);
            fields.push(Field::new(added, time, true));
        }
        register(context, &name, Schema::new(fields), &call.assign(&rows))?;
        tokens.splice(call.from..call.to, [Token::make_word(&name, None)]);
    }
    Ok(text(&tokens))
}

fn text(tokens: &[Token]) -> String {
    let words: Vec<String> = tokens.iter().map(Token::to_string).collect();
    words.join(" ")
}

/// The `WITH` clause in front of a query, as far as its tables are whole.
fn common_tables(tokens: &[Token]) -> String {
    if !tokens.first().is_some_and(|first| is(first, "WITH")) {
        return String::new();
    }
    let mut depth = 0;
    let mut end = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth -= 1;
                if depth == 0 {
                    end = index + 1;
                }
            }
            token if depth == 0 && is(token, "SELECT") => break,
            _ => {}
        }
    }
    text(&tokens[..end])
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.value.eq_ignore_ascii_case(word))
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

fn kind(token: &Token) -> Option<Kind> {
    let kinds = [
        ("TUMBLE", Kind::Tumble),
        ("HOP", Kind::Hop),
        ("CUMULATE", Kind::Cumulate),
        ("SESSION", Kind::Session),
    ];
    let found = kinds.iter().find(|(word, _)| is(token, word));
    found.map(|(_, kind)| *kind)
}

/// A call of a window function.
#[derive(Debug)]
struct Call {
    /// Its tokens, with `TABLE(` around it.
    from: usize,
    to: usize,
    kind: Kind,
    table: String,
    partition: Vec<String>,
    time: String,
    spans: Vec<i64>,
}

impl Call {
    /// `open` is its opening parenthesis.
    fn parse(tokens: &[Token], open: usize) -> Result<Self, String> {
        let kind = kind(&tokens[open - 1]).ok_or("no window function")?;
        let mut depth = 0;
        let mut arguments: Vec<Vec<Token>> = vec![Vec::new()];
        let mut to = open;
        for token in &tokens[open..] {
            to += 1;
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            match token {
                Token::Comma if depth == 1 => arguments.push(Vec::new()),
                Token::LParen if depth == 1 => {}
                token => arguments
                    .last_mut()
                    .ok_or("no argument")?
                    .push(token.clone()),
            }
        }
        let mut from = open - 1;
        if from >= 2 && tokens[from - 1] == Token::LParen && is(&tokens[from - 2], "TABLE") {
            (from, to) = (from - 2, to + 1);
        }
        // Further keys of `PARTITION BY` are arguments of their own so far.
        let several = arguments
            .iter()
            .position(|part| part.first().is_some_and(|first| is(first, "DESCRIPTOR")));
        if let Some(end) = several {
            let keys: Vec<Token> = arguments.drain(1..end).flatten().collect();
            arguments[0].extend(keys);
        }
        let [table, time, spans @ ..] = arguments.as_slice() else {
            return Err("a window function needs a table, a time and a length".to_owned());
        };
        let table: Vec<&Token> = table.iter().filter(|token| !is(token, "TABLE")).collect();
        let time: Vec<&Token> = time
            .iter()
            .filter(|token| matches!(token, Token::Word(_)) && !is(token, "DESCRIPTOR"))
            .collect();
        let partition = table
            .iter()
            .skip(1)
            .filter(|token| matches!(token, Token::Word(_)));
        let partition = partition.filter(|token| !is(token, "PARTITION") && !is(token, "BY"));
        Ok(Self {
            from,
            to,
            kind,
            partition: partition.map(|token| token.to_string()).collect(),
            table: table.first().ok_or("no table")?.to_string(),
            time: time.first().ok_or("no time")?.to_string(),
            spans: spans
                .iter()
                .map(|span| nanoseconds(span))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The rows, once per window.
    fn assign(&self, rows: &[Row]) -> Vec<Row> {
        let timed = rows
            .iter()
            .filter_map(|row| Some((at(row.get(&self.time)?)?, row)));
        let timed: Vec<(i64, &Row)> = timed.collect();
        if matches!(self.kind, Kind::Session) {
            return self.sessions(timed);
        }
        let offset = |index: usize| self.spans.get(index).copied().unwrap_or(0);
        let mut assigned = Vec::new();
        for (time, row) in timed {
            let windows: Vec<(i64, i64)> = match self.kind {
                Kind::Tumble => {
                    let start = floor(time, self.spans[0], offset(1));
                    vec![(start, start + self.spans[0])]
                }
                Kind::Hop => {
                    let (slide, size) = (self.spans[0], self.spans[1]);
                    let last = floor(time, slide, offset(2));
                    let starts = (0..).map(|back| last - back * slide);
                    let starts = starts.take_while(|start| start + size > time);
                    starts.map(|start| (start, start + size)).collect()
                }
                Kind::Cumulate => {
                    let (step, size) = (self.spans[0], self.spans[1]);
                    let start = floor(time, size, offset(2));
                    let ends = (1..=size / step).map(|count| start + count * step);
                    ends.filter(|end| *end > time)
                        .map(|end| (start, end))
                        .collect()
                }
                Kind::Session => Vec::new(),
            };
            assigned.extend(windows.into_iter().map(|window| with(row, window)));
        }
        assigned
    }

    /// Rows of a partition belong together while no two that follow each other are further apart than the gap.
    fn sessions(&self, mut timed: Vec<(i64, &Row)>) -> Vec<Row> {
        let gap = self.spans[0];
        let key = |row: &Row| -> Vec<Value> {
            let values = self.partition.iter().map(|name| row.get(name).cloned());
            values.map(Option::unwrap_or_default).collect()
        };
        timed.sort_by_key(|(time, row)| (format!("{:?}", key(row)), *time));
        let mut assigned = Vec::new();
        let mut session: Vec<(i64, &Row)> = Vec::new();
        let mut close = |session: &mut Vec<(i64, &Row)>| {
            let window = session.first().zip(session.last());
            if let Some((first, last)) = window.map(|(first, last)| (first.0, last.0)) {
                let rows = session.drain(..);
                assigned.extend(rows.map(|(_, row)| with(row, (first, last + gap))));
            }
        };
        for (time, row) in timed {
            let joins = session
                .last()
                .is_some_and(|(last, other)| key(other) == key(row) && time - last <= gap);
            if !joins {
                close(&mut session);
            }
            session.push((time, row));
        }
        close(&mut session);
        assigned
    }
}

fn floor(time: i64, size: i64, offset: i64) -> i64 {
    (time - offset).div_euclid(size) * size + offset
}

fn with(row: &Row, (start, end): (i64, i64)) -> Row {
    let mut row = row.clone();
    for (name, time) in [
        ("window_start", start),
        ("window_end", end),
        ("window_time", end - LAST),
    ] {
        row.insert(name.to_owned(), json!(Timestamp(time).to_rfc3339()));
    }
    row
}

fn at(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let time =
        Timestamp::parse_rfc3339(text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")));
    time.map(|time| time.0)
}

/// `INTERVAL '10' SECOND` or `INTERVAL '10 seconds'`, perhaps with a minus in front.
fn nanoseconds(tokens: &[Token]) -> Result<i64, String> {
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| !is(token, "INTERVAL"))
        .flat_map(|token| match token {
            Token::SingleQuotedString(text) => text.split(' ').map(str::to_owned).collect(),
            token => vec![token.to_string()],
        })
        .collect();
    let [number, unit] = words.as_slice() else {
        return Err(format!("not understood as a length of time: {words:?}"));
    };
    let number: i64 = number.parse().map_err(|_| format!("no number: {number}"))?;
    let unit = match unit.to_ascii_lowercase().trim_end_matches('s') {
        "millisecond" => SECOND / 1000,
        "second" => SECOND,
        "minute" => 60 * SECOND,
        "hour" => 3600 * SECOND,
        "day" => 86_400 * SECOND,
        other => return Err(format!("no unit: {other}")),
    };
    Ok(number * unit)
}
