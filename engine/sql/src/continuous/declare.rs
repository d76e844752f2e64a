//! Flows that are declared in SQL: `CREATE FLOW name INTO station [SUBJECT '…'] [WITH (…)] AS SELECT …`, behind what is to be
//! known of their sources: `CREATE TABLE name (column type, …, WATERMARK FOR column AS column - INTERVAL '5' SECOND) [WITH (…)]`,
//! as in Flink.

use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use millstream_spec::{QuerySource, QuerySpec, Results};
use millstream_types::parse_duration;

use super::text::{interval, name, tokens, word};
use crate::error::{Place, SqlError};

/// The flows that a text declares.
///
/// # Errors
/// What is wrong with it, and where. Queries are not compiled.
pub fn declared(text: &str) -> Result<Vec<(String, QuerySpec)>, SqlError> {
    let all = tokens(text)?;
    let mut sources = std::collections::BTreeMap::new();
    let mut flows = Vec::new();
    for statement in all.split(|token| token.token == Token::SemiColon) {
        if statement.is_empty() {
            continue;
        }
        let mut rest = Rest::new(statement);
        rest.expect("CREATE")?;
        if rest.is("OR") {
            rest.expect("REPLACE")?;
        }
        let kind = rest.next()?;
        match word(&kind).as_deref() {
            Some("FLOW") => {
                let (name, spec) = flow(&mut rest, text)?;
                flows.push((
                    name,
                    QuerySpec {
                        sources: std::collections::BTreeMap::clone(&sources),
                        ..spec
                    },
                ));
            }
            Some("TABLE" | "STREAM" | "SOURCE") => {
                let (name, source) = source(&mut rest)?;
                sources.insert(name, source);
            }
            _ => {
                return Err(SqlError::new(place(&kind), format!("`{}` cannot be created here", kind.token))
                    .hint("write `CREATE FLOW name INTO station AS SELECT …`, and `CREATE TABLE` for what it reads"));
            }
        }
    }
    if flows.is_empty() {
        return Err(SqlError::new(Place::START, "no flow is declared")
            .hint("write `CREATE FLOW name INTO station AS SELECT …`"));
    }
    Ok(flows)
}

fn place(token: &TokenWithSpan) -> Place {
    Place::of(token.span).unwrap_or(Place::START)
}

/// What is left of a statement.
struct Rest {
    tokens: Vec<TokenWithSpan>,
    end: Place,
}

impl Rest {
    fn new(tokens: &[TokenWithSpan]) -> Self {
        let end = tokens
            .last()
            .map_or(Place::START, |last| Place::from(last.span.end));
        Self {
            tokens: tokens.to_vec(),
            end,
        }
    }

    fn at(&self) -> Place {
        self.tokens.first().map_or(self.end, place)
    }

    fn next(&mut self) -> Result<TokenWithSpan, SqlError> {
        if self.tokens.is_empty() {
            return Err(SqlError::new(self.end, "statement ends too early"));
        }
        Ok(self.tokens.remove(0))
    }

    /// Takes a word or sign when it comes next.
    fn is(&mut self, expected: &str) -> bool {
        let next = self.tokens.first();
        let found = next.is_some_and(|next| {
            word(next).as_deref() == Some(expected) || next.token.to_string() == expected
        });
        if found {
            self.tokens.remove(0);
        }
        found
    }

    fn expect(&mut self, expected: &str) -> Result<(), SqlError> {
        let at = self.at();
        if self.is(expected) {
            return Ok(());
        }
        let found = self
            .tokens
            .first()
            .map_or_else(|| "the end".to_owned(), |next| format!("`{}`", next.token));
        Err(SqlError::new(
            at,
            format!("`{expected}` is expected here, found {found}"),
        ))
    }

    fn text(&mut self) -> Result<String, SqlError> {
        let token = self.next()?;
        match token.token {
            Token::SingleQuotedString(text) => Ok(text),
            other => Err(SqlError::new(
                Place::of(token.span).unwrap_or(Place::START),
                format!("a text in single quotes is expected here, found `{other}`"),
            )),
        }
    }

    /// `(key = 'value', …)`.
    fn options(&mut self) -> Result<Vec<(String, String, Place)>, SqlError> {
        let mut options = Vec::new();
        if !self.is("WITH") {
            return Ok(options);
        }
        self.expect("(")?;
        while !self.is(")") {
            let key = self.next()?;
            self.expect("=")?;
            let value = self.next()?;
            options.push((name(&key).to_lowercase(), name(&value), place(&key)));
            if !self.is(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(options)
    }
}

fn bytes(text: &str, at: Place) -> Result<u64, SqlError> {
    let wrong = |_| SqlError::new(at, format!("`{text}` is no number of bytes"));
    text.parse().map_err(wrong)
}

fn flow(rest: &mut Rest, text: &str) -> Result<(String, QuerySpec), SqlError> {
    let own = name(&rest.next()?);
    rest.expect("INTO")?;
    let into = name(&rest.next()?);
    let subject = if rest.is("SUBJECT") {
        Some(rest.text()?)
    } else {
        None
    };
    let mut spec = QuerySpec {
        into,
        subject,
        ..QuerySpec::default()
    };
    for (key, value, at) in rest.options()? {
        match key.as_str() {
            "state_ttl" => spec.state_ttl = Some(duration(&value, at)?),
            "state_limit" => spec.state_limit = Some(bytes(&value, at)?),
            "memory_limit" => spec.memory_limit = Some(bytes(&value, at)?),
            "results" => {
                spec.results = Some(match value.as_str() {
                    "upsert" => Results::Upsert,
                    "changelog" => Results::Changelog,
                    _ => {
                        return Err(SqlError::new(
                            at,
                            format!("`{value}` is none of `upsert` and `changelog`"),
                        ));
                    }
                })
            }
            _ => {
                return Err(SqlError::new(at, format!("a flow has no option `{key}`"))
                    .hint("there are `state_ttl`, `state_limit`, `memory_limit` and `results`"));
            }
        }
    }
    rest.expect("AS")?;
    let (Some(first), Some(last)) = (rest.tokens.first(), rest.tokens.last()) else {
        return Err(SqlError::new(rest.end, "the query is missing"));
    };
    let (start, end) = (offset(text, first.span.start), offset(text, last.span.end));
    spec.sql = text.get(start..end).unwrap_or_default().to_owned();
    Ok((own, spec))
}

/// Where a place is in a text, in bytes.
fn offset(text: &str, at: Location) -> usize {
    let line = usize::try_from(at.line).unwrap_or(1).saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let column = usize::try_from(at.column).unwrap_or(1).saturating_sub(1);
    let rest = text.get(before..).unwrap_or_default();
    before + rest.chars().take(column).map(char::len_utf8).sum::<usize>()
}

fn source(rest: &mut Rest) -> Result<(String, QuerySource), SqlError> {
    let own = name(&rest.next()?);
    let mut source = QuerySource::default();
    if rest.is("(") {
        loop {
            if rest.is("WATERMARK") {
                rest.expect("FOR")?;
                source.event_time = Some(name(&rest.next()?));
                rest.expect("AS")?;
                let _same = rest.next()?;
                source.watermark = Some(if rest.is("-") {
                    let at = rest.at();
                    interval(&mut rest.tokens, at)?
                } else {
                    Duration::ZERO
                });
            } else {
                let column = rest.next()?;
                let kind = column_kind(rest)?;
                source.columns.insert(name(&column), kind);
            }
            if rest.is(")") {
                break;
            }
            rest.expect(",")?;
        }
    }
    for (key, value, at) in rest.options()? {
        match key.as_str() {
            "station" => source.station = Some(value),
            "filter" => source.filter = Some(value),
            "idle" => source.idle = Some(duration(&value, at)?),
            "watermark" => source.watermark = Some(duration(&value, at)?),
            "event_time" => source.event_time = Some(value),
            "table" => source.table = value.eq_ignore_ascii_case("true"),
            _ => {
                return Err(SqlError::new(at, format!("a table has no option `{key}`"))
                    .hint("there are `station`, `event_time`, `watermark`, `idle`, `table` and `filter`"));
            }
        }
    }
    Ok((own, source))
}

/// A column's type up to the next comma.
fn column_kind(rest: &mut Rest) -> Result<String, SqlError> {
    let token = rest.next()?;
    let kind = match word(&token).unwrap_or_default().as_str() {
        "BIGINT" | "INT" | "INTEGER" | "SMALLINT" | "TINYINT" | "INT64" => "int64",
        "DOUBLE" | "FLOAT" | "REAL" | "FLOAT64" => "float64",
        "VARCHAR" | "TEXT" | "STRING" | "CHAR" => "string",
        "BOOLEAN" | "BOOL" => "bool",
        "TIMESTAMP" | "TIMESTAMPTZ" | "TIMESTAMP_LTZ" => "timestamp",
        "JSON" | "JSONB" => "json",
        _ => {
            return Err(SqlError::new(
                place(&token),
                format!("`{}` is no type of a column", token.token),
            )
            .hint("use BIGINT, DOUBLE, VARCHAR, BOOLEAN, TIMESTAMP or JSON"));
        }
    };
    let mut depth = 0_i32;
    while let Some(next) = rest.tokens.first() {
        match next.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => break,
            _ => {}
        }
        rest.tokens.remove(0);
    }
    Ok(kind.to_owned())
}

fn duration(value: &str, at: Place) -> Result<Duration, SqlError> {
    parse_duration(value).map_err(|why| SqlError::new(at, why.to_string()))
}
