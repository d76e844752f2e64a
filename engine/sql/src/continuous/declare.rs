//! Flows that are declared in SQL: `CREATE FLOW name INTO station [SUBJECT '…'] [WITH (…)] AS SELECT …`, behind what is to be
//! known of their sources: `CREATE TABLE name (column type, …, WATERMARK FOR column AS column - INTERVAL '5' SECOND) [WITH (…)]`,
//! as in Flink.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use millstream_spec::{QuerySource, QuerySpec, Results, ValueType};
use millstream_types::{parse_bytes, parse_duration};

use super::text::{interval, name, tokens, word};
use crate::error::{Place, SqlError};

/// A flow that a text declares, and where its parts stand there: line and column, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What it is.
    pub spec: QuerySpec,
    /// Where a field of `spec` stands, and the `name`.
    pub places: BTreeMap<&'static str, (u32, u32)>,
}

/// The flows that a text declares.
///
/// # Errors
/// What is wrong with it, and where. Queries are not compiled.
pub fn declared(text: &str) -> Result<Vec<Declared>, SqlError> {
    let queries = queries(text, false)?;
    if queries.is_empty() {
        return Err(SqlError::new(Place::START, "no flow is declared")
            .hint("write `CREATE FLOW name INTO station AS SELECT …`"));
    }
    Ok(queries)
}

/// A query that is to be looked at without making a flow of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previewed {
    /// The name of the flow; `None` of a query that is none.
    pub name: Option<String>,
    /// Without a station to store in when it is no flow.
    pub spec: QuerySpec,
    /// Line and column, from 1, where the query begins in the text: errors of compiling it are told from there.
    pub start: (u32, u32),
}

/// The query of a text: `CREATE FLOW …`, or its `SELECT` alone, behind what is declared of tables.
///
/// # Errors
/// What is wrong with it, and where. It is not compiled.
pub fn previewed(text: &str) -> Result<Previewed, SqlError> {
    let mut queries = queries(text, true)?;
    match (queries.pop(), queries.is_empty()) {
        (Some(one), true) => Ok(Previewed {
            start: one.places["sql"],
            name: Some(one.name).filter(|name| !name.is_empty()),
            spec: one.spec,
        }),
        (None, _) => Err(SqlError::new(Place::START, "there is no query to preview")
            .hint("write `SELECT … FROM station`, or `CREATE FLOW name INTO station AS SELECT …`")),
        (Some(second), false) => {
            let (line, column) = second.places["sql"];
            let at = Place { line, column };
            Err(SqlError::new(at, "one query is previewed at a time")
                .hint("leave the others out, or preview them one after the other"))
        }
    }
}

/// The queries of a text, in which `bare` allows those that are no flows; these have no name.
fn queries(text: &str, bare: bool) -> Result<Vec<Declared>, SqlError> {
    let all = tokens(text)?;
    let mut sources = BTreeMap::new();
    let mut source_at = None;
    let mut found: Vec<Declared> = Vec::new();
    for statement in all.split(|token| token.token == Token::SemiColon) {
        let Some(first) = statement.first() else {
            continue;
        };
        let mut rest = Rest::new(statement);
        let mut add = |mut query: Declared| {
            query.spec.sources = BTreeMap::clone(&sources);
            query.places.extend(source_at.map(|at| ("sources", at)));
            found.push(query);
        };
        if bare && word(first).as_deref() != Some("CREATE") {
            add(Declared {
                name: String::new(),
                places: BTreeMap::from([("sql", pair(place(first)))]),
                spec: QuerySpec {
                    sql: rest.query(text)?,
                    ..QuerySpec::default()
                },
            });
            continue;
        }
        rest.expect("CREATE")?;
        if rest.is("OR") {
            rest.expect("REPLACE")?;
        }
        let kind = rest.next()?;
        match word(&kind).as_deref() {
            Some("FLOW") => {
                add(flow(&mut rest, text)?);
            }
            Some("TABLE" | "STREAM" | "SOURCE") => {
                source_at.get_or_insert(pair(rest.at()));
                let (name, source) = source(&mut rest)?;
                sources.insert(name, source);
            }
            _ => {
                return Err(SqlError::new(place(&kind), format!("`{}` cannot be created here", kind.token))
                    .hint("write `CREATE FLOW name INTO station AS SELECT …`, and `CREATE TABLE` for what it reads"));
            }
        }
    }
    Ok(found)
}

fn place(token: &TokenWithSpan) -> Place {
    Place::of(token.span).unwrap_or(Place::START)
}

fn pair(place: Place) -> (u32, u32) {
    (place.line, place.column)
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

    /// All that is left, as it is written.
    fn query(&self, text: &str) -> Result<String, SqlError> {
        let (Some(first), Some(last)) = (self.tokens.first(), self.tokens.last()) else {
            return Err(SqlError::new(self.end, "the query is missing"));
        };
        let (start, end) = (offset(text, first.span.start), offset(text, last.span.end));
        Ok(text.get(start..end).unwrap_or_default().to_owned())
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
    parse_bytes(text).map_err(|why| SqlError::new(at, why.to_string()))
}

fn flow(rest: &mut Rest, text: &str) -> Result<Declared, SqlError> {
    let mut places = BTreeMap::from([("name", pair(rest.at()))]);
    let own = name(&rest.next()?);
    rest.expect("INTO")?;
    places.insert("into", pair(rest.at()));
    let mut spec = QuerySpec {
        into: name(&rest.next()?),
        ..QuerySpec::default()
    };
    if rest.is("SUBJECT") {
        places.insert("subject", pair(rest.at()));
        spec.subject = Some(rest.text()?);
    }
    for (key, value, at) in rest.options()? {
        places.insert(option(&mut spec, &key, &value, at)?, pair(at));
    }
    rest.expect("AS")?;
    places.insert("sql", pair(rest.at()));
    spec.sql = rest.query(text)?;
    Ok(Declared {
        name: own,
        spec,
        places,
    })
}

/// Sets what an option says; answers the field.
fn option(
    spec: &mut QuerySpec,
    key: &str,
    value: &str,
    at: Place,
) -> Result<&'static str, SqlError> {
    match key {
        "state_ttl" => {
            spec.state_ttl = Some(duration(value, at)?);
            Ok("state_ttl")
        }
        "state_limit" => {
            spec.state_limit = Some(bytes(value, at)?);
            Ok("state_limit")
        }
        "memory_limit" => {
            spec.memory_limit = Some(bytes(value, at)?);
            Ok("memory_limit")
        }
        "results" => {
            spec.results = Some(match value {
                "upsert" => Results::Upsert,
                "changelog" => Results::Changelog,
                _ => {
                    let message = format!("`{value}` is none of `upsert` and `changelog`");
                    return Err(SqlError::new(at, message));
                }
            });
            Ok("results")
        }
        _ => Err(SqlError::new(at, format!("a flow has no option `{key}`"))
            .hint("there are `state_ttl`, `state_limit`, `memory_limit` and `results`")),
    }
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

/// A column's type up to the next comma; what stands behind it, such as `NOT NULL`, is left out.
fn column_kind(rest: &mut Rest) -> Result<String, SqlError> {
    let at = rest.at();
    let mut written = rest.next()?.token.to_string();
    let mut depth = 0_i32;
    let mut behind = false;
    while let Some(next) = rest.tokens.first() {
        match next.token {
            Token::LParen | Token::Lt => depth += 1,
            Token::RParen | Token::Gt if depth == 0 => break,
            Token::RParen | Token::Gt => depth -= 1,
            Token::ShiftRight => depth -= 2,
            Token::Comma if depth == 0 => break,
            Token::Word(_) if depth == 0 => behind = true,
            _ => {}
        }
        let token = rest.next()?.token;
        if !behind {
            written.push_str(&token.to_string());
        }
    }
    match written.parse::<ValueType>() {
        Ok(ValueType::Int) => Ok("int64".to_owned()),
        Ok(ValueType::Float) => Ok("float64".to_owned()),
        Ok(kind) => Ok(kind.to_string()),
        Err(why) => Err(SqlError::new(at, why).hint(
            "types are BIGINT, DOUBLE, VARCHAR, BOOLEAN, TIMESTAMP, DATE, DECIMAL(12, 2) and JSON",
        )),
    }
}

fn duration(value: &str, at: Place) -> Result<Duration, SqlError> {
    parse_duration(value).map_err(|why| SqlError::new(at, why.to_string()))
}
