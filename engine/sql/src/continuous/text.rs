//! From the text of a continuous query to a statement that the planner understands.
//!
//! Window table functions are written as in Flink (`FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))`) or as in
//! RisingWave (`FROM TUMBLE(t, ts, INTERVAL '10 seconds')`); `sugar` knows Arroyo's `GROUP BY`. Each becomes a subquery with the columns `window_start`,
//! `window_end` and `window_time` behind those of its table. Behind the query stand `EMIT ON WINDOW CLOSE | ON UPDATE |
//! CHANGES | FINAL` and `LATE DROP | SIDE OUTPUT TO station | UPDATE WITHIN INTERVAL '1' HOUR`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Spanned as _,
    Statement, TableAlias, TableFactor, VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};
use millstream_spec::{Emit, Late};

use super::sugar;
use super::windows::{
    CUMULATE_WINDOWS, END, HOP_WINDOWS, SESSION_END, SESSION_START, START, TUMBLE_END, TUMBLE_START,
};
use crate::error::{Place, SqlError};
use crate::parse::{MAX_TEXT, MAX_TOKENS, check_depth, syntax};

/// What a text says.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) query: Box<Query>,
    pub(crate) emit: Option<Emit>,
    pub(crate) late: Option<Late>,
    /// The column that windows name as the event time of a table.
    pub(crate) times: BTreeMap<String, String>,
    /// Whether there are windows.
    pub(crate) windowed: bool,
    /// Whether some of them are sessions.
    pub(crate) sessions: bool,
}

/// Reads a query. `times` knows what is declared as the event time of a table.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn read(text: &str, times: &dyn Fn(&str) -> Option<String>) -> Result<Read, SqlError> {
    let mut tokens = tokens(text)?;
    let (emit, late) = clauses(&mut tokens)?;
    let tokens = plain_arguments(without_time_travel(tokens));
    let mut statements = Parser::new(&GenericDialect {})
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| syntax(text, &error))?;
    if let Some(second) = statements.get(1) {
        let at = Place::of(second.span()).unwrap_or(Place::START);
        return Err(SqlError::new(at, "a flow is one query").hint("make a flow of each query"));
    }
    let mut query = match statements.pop() {
        Some(Statement::Query(query)) => query,
        Some(other) => {
            let at = Place::of(other.span()).unwrap_or(Place::START);
            return Err(
                SqlError::new(at, "a flow is a query").hint("write `SELECT … FROM station`")
            );
        }
        None => {
            return Err(SqlError::new(Place::START, "statement is empty")
                .hint("write `SELECT … FROM station`"));
        }
    };
    check_depth(&*query)?;
    sugar::rewrite(&mut query, times)?;
    let mut windows = Windows {
        times: BTreeMap::new(),
        windowed: false,
        sessions: false,
    };
    if let ControlFlow::Break(error) = query.visit(&mut windows) {
        return Err(error);
    }
    Ok(Read {
        query,
        emit,
        late,
        times: windows.times,
        windowed: windows.windowed,
        sessions: windows.sessions,
    })
}

/// The words and signs of a text that is not too long.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    if text.len() > MAX_TEXT {
        let message = format!(
            "statement has {} bytes, at most {MAX_TEXT} are allowed",
            text.len()
        );
        return Err(SqlError::new(Place::START, message));
    }
    let all = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| syntax(text, &error.into()))?;
    let tokens: Vec<_> = all
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect();
    if tokens.len() > MAX_TOKENS {
        let message = format!(
            "statement has {} words and signs, at most {MAX_TOKENS} are allowed",
            tokens.len()
        );
        return Err(SqlError::new(Place::START, message));
    }
    Ok(tokens)
}

/// The word in upper case, when it is one without quotes.
pub(super) fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
        _ => None,
    }
}

fn is(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    words.len() <= tokens.len()
        && words
            .iter()
            .zip(tokens)
            .all(|(expected, token)| word(token).as_deref() == Some(*expected))
}

/// Takes the clauses behind the query.
fn clauses(tokens: &mut Vec<TokenWithSpan>) -> Result<(Option<Emit>, Option<Late>), SqlError> {
    while tokens
        .last()
        .is_some_and(|last| last.token == Token::SemiColon)
    {
        tokens.pop();
    }
    let mut depth = 0_i32;
    let start = tokens.iter().enumerate().position(|(at, token)| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0 && begins(&tokens[at..])
    });
    let Some(start) = start else {
        return Ok((None, None));
    };
    let mut rest = tokens.split_off(start);
    let (mut emit, mut late) = (None, None);
    while !rest.is_empty() {
        let at = Place::of(rest[0].span).unwrap_or(Place::START);
        let taken = match () {
            () if is(&rest, &["EMIT", "ON", "WINDOW", "CLOSE"]) => (4, Some(Emit::WindowClose)),
            () if is(&rest, &["EMIT", "ON", "UPDATE"]) => (3, Some(Emit::Update)),
            () if is(&rest, &["EMIT", "CHANGES"]) => (2, Some(Emit::Update)),
            () if is(&rest, &["EMIT", "FINAL"]) => (2, Some(Emit::WindowClose)),
            () => (0, None),
        };
        if let (count, Some(found)) = taken {
            emit = Some(found);
            rest.drain(..count);
        } else if is(&rest, &["LATE", "DROP"]) {
            late = Some(Late::Drop);
            rest.drain(..2);
        } else if is(&rest, &["LATE", "SIDE", "OUTPUT", "TO"]) && rest.len() > 4 {
            late = Some(Late::SideOutput(name(&rest[4])));
            rest.drain(..5);
        } else if is(&rest, &["LATE", "UPDATE", "WITHIN"]) {
            rest.drain(..3);
            late = Some(Late::UpdateWithin(interval(&mut rest, at)?));
        } else {
            return Err(SqlError::new(at, format!("`{}` is none of what may stand behind a query", rest[0].token))
                .hint("`EMIT ON WINDOW CLOSE`, `EMIT ON UPDATE`, `LATE DROP`, `LATE SIDE OUTPUT TO station`, `LATE UPDATE WITHIN INTERVAL '1' HOUR`"));
        }
    }
    Ok((emit, late))
}

fn begins(tokens: &[TokenWithSpan]) -> bool {
    let clauses: [&[&str]; 6] = [
        &["EMIT", "ON"],
        &["EMIT", "CHANGES"],
        &["EMIT", "FINAL"],
        &["LATE", "DROP"],
        &["LATE", "SIDE", "OUTPUT"],
        &["LATE", "UPDATE", "WITHIN"],
    ];
    clauses.iter().any(|words| is(tokens, words))
}

/// A name or text as it is written, without quotes.
pub(super) fn name(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Takes `INTERVAL '1' HOUR` or `INTERVAL '1 hour'`.
pub(super) fn interval(rest: &mut Vec<TokenWithSpan>, at: Place) -> Result<Duration, SqlError> {
    let wrong =
        || SqlError::new(at, "an interval is expected here").hint("write `INTERVAL '1' HOUR`");
    if !is(rest, &["INTERVAL"]) || rest.len() < 2 {
        return Err(wrong());
    }
    let Token::SingleQuotedString(text) = &rest[1].token else {
        return Err(wrong());
    };
    let mut text = text.trim().to_lowercase();
    let mut taken = 2;
    if let Some(unit) = rest.get(2).and_then(word)
        && text.parse::<f64>().is_ok()
    {
        text = format!("{text} {}", unit.to_lowercase());
        taken = 3;
    }
    let (number, unit) = text.split_once(' ').ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim().trim_end_matches('s') {
        "millisecond" => 0.001,
        "second" => 1.0,
        "minute" => 60.0,
        "hour" => 3600.0,
        "day" => 86_400.0,
        "week" => 7.0 * 86_400.0,
        _ => return Err(wrong()),
    };
    rest.drain(..taken);
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// `FOR SYSTEM_TIME AS OF PROCTIME()`, or of a column, says of a join that it looks up what a table has at that moment. Joins
/// with tables do that in any case.
fn without_time_travel(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const WORDS: [&str; 4] = ["FOR", "SYSTEM_TIME", "AS", "OF"];
    let mut made = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if !is(&tokens[at..], &WORDS) {
            made.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // A column, or a call without arguments.
        at += WORDS.len() + 1;
        while let Some(next) = tokens.get(at) {
            match next.token {
                Token::Period => at += 2,
                Token::LParen => at += 1,
                Token::RParen if matches!(tokens[at - 1].token, Token::LParen) => at += 1,
                _ => break,
            }
        }
    }
    made
}

pub(super) const WINDOWS: [&str; 4] = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];

/// `TABLE t` within a window's parentheses becomes `t`, `PARTITION BY a, b` becomes `, millstream_keys(a, b)`: plain arguments.
fn plain_arguments(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut made: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        made.push(token.clone());
        at += 1;
        let window = word(token).is_some_and(|word| WINDOWS.contains(&word.as_str()));
        if !window
            || tokens
                .get(at)
                .is_none_or(|next| next.token != Token::LParen)
        {
            continue;
        }
        made.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).and_then(word).as_deref() == Some("TABLE") {
            at += 1;
        }
        // To the end of the first argument.
        let mut depth = 0_i32;
        while let Some(token) = tokens.get(at) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => break,
                Token::RParen => depth -= 1,
                Token::Comma if depth == 0 => break,
                _ => {}
            }
            if depth == 0 && is(&tokens[at..], &["PARTITION", "BY"]) {
                at = keys(&tokens, at + 2, token.span, &mut made);
                break;
            }
            made.push(token.clone());
            at += 1;
        }
    }
    made
}

/// The name that stands for `PARTITION BY`.
pub(super) const KEYS: &str = "millstream_keys";

/// Writes the keys from `at` on as an argument of their own; answers where they end.
fn keys(tokens: &[TokenWithSpan], at: usize, span: Span, made: &mut Vec<TokenWithSpan>) -> usize {
    let put = |token: Token| TokenWithSpan { token, span };
    let end = end_of_keys(tokens, at);
    made.push(put(Token::Comma));
    made.push(put(Token::make_word(KEYS, None)));
    made.push(put(Token::LParen));
    made.extend_from_slice(&tokens[at..end]);
    made.push(put(Token::RParen));
    end
}

/// Keys end before the comma in front of `DESCRIPTOR`; without that word, a time and a gap stand behind them.
fn end_of_keys(tokens: &[TokenWithSpan], at: usize) -> usize {
    let mut depth = 0_i32;
    let mut commas = Vec::new();
    let mut end = at;
    while let Some(token) = tokens.get(end) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 && is(&tokens[end + 1..], &["DESCRIPTOR"]) => return end,
            Token::Comma if depth == 0 => commas.push(end),
            _ => {}
        }
        end += 1;
    }
    commas.iter().rev().nth(1).copied().unwrap_or(end)
}

/// Puts subqueries where window table functions stand.
struct Windows {
    times: BTreeMap<String, String>,
    windowed: bool,
    sessions: bool,
}

impl VisitorMut for Windows {
    type Break = SqlError;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        let found = match factor {
            TableFactor::TableFunction {
                expr: Expr::Function(function),
                alias,
            } => {
                let args = match &function.args {
                    FunctionArguments::List(list) => list.args.clone(),
                    _ => Vec::new(),
                };
                Some((function.name.clone(), args, alias.clone()))
            }
            TableFactor::Table {
                name,
                args: Some(args),
                alias,
                ..
            } => Some((name.clone(), args.args.clone(), alias.clone())),
            TableFactor::Function {
                name, args, alias, ..
            } => Some((name.clone(), args.clone(), alias.clone())),
            _ => None,
        };
        let Some((name, args, alias)) = found else {
            return ControlFlow::Continue(());
        };
        let at = Place::of(name.span()).unwrap_or(Place::START);
        match self.window(&name, args, alias, at) {
            Ok(subquery) => {
                *factor = subquery;
                self.windowed = true;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Windows {
    fn window(
        &mut self,
        name: &ObjectName,
        args: Vec<FunctionArg>,
        alias: Option<TableAlias>,
        at: Place,
    ) -> Result<TableFactor, SqlError> {
        let name = name.to_string().to_uppercase();
        if !WINDOWS.contains(&name.as_str()) {
            return Err(
                SqlError::new(at, format!("there is no table function `{name}`"))
                    .hint("windows are TUMBLE, HOP, CUMULATE and SESSION"),
            );
        }
        let mut exprs = arguments(args, at)?.into_iter();
        let wrong =
            || SqlError::new(at, format!("`{name}` has other arguments")).hint(usage(&name));
        let table = exprs.next().ok_or_else(wrong)?;
        let mut next = exprs.next().ok_or_else(wrong)?;
        let mut keys = Vec::new();
        if let Some(parts) = called(&next, KEYS) {
            keys = parts;
            next = exprs.next().ok_or_else(wrong)?;
        }
        let time = match called(&next, "DESCRIPTOR") {
            Some(mut parts) if parts.len() == 1 => parts.remove(0),
            Some(_) => return Err(wrong()),
            None => next,
        };
        let rest: Vec<String> = exprs.map(|expr| expr.to_string()).collect();
        let parts = if matches!(name.as_str(), "HOP" | "CUMULATE") {
            2
        } else {
            1
        };
        let most = if name == "SESSION" { 1 } else { parts + 1 };
        if rest.len() < parts || rest.len() > most {
            return Err(wrong());
        }
        self.sessions |= name == "SESSION";
        let (from, own) = self.source(&table, &time, at)?;
        let text = subquery(&name, &from, &time.to_string(), &rest, &keys);
        let parsed = Parser::parse_sql(&GenericDialect {}, &text).map_err(|_| wrong())?;
        let Some(Statement::Query(subquery)) = parsed.into_iter().next() else {
            return Err(wrong());
        };
        let alias = alias.or_else(|| {
            own.map(|name| TableAlias {
                explicit: true,
                name,
                columns: Vec::new(),
                at: None,
            })
        });
        Ok(TableFactor::Derived {
            lateral: false,
            subquery,
            alias,
            sample: None,
        })
    }

    /// The table of a window, as it stands in the subquery, and its own name.
    fn source(
        &mut self,
        table: &Expr,
        time: &Expr,
        at: Place,
    ) -> Result<(String, Option<Ident>), SqlError> {
        let last = match table {
            Expr::Identifier(ident) => ident.clone(),
            Expr::CompoundIdentifier(parts) if !parts.is_empty() => parts[parts.len() - 1].clone(),
            Expr::Subquery(query) => return Ok((format!("({query})"), None)),
            other => {
                return Err(SqlError::new(at, format!("`{other}` is no table"))
                    .hint("name a station, a `WITH` table, or write a subquery in parentheses"));
            }
        };
        let column = match time {
            Expr::Identifier(ident) => Some(&ident.value),
            Expr::CompoundIdentifier(parts) => parts.last().map(|ident| &ident.value),
            _ => None,
        };
        if let Some(column) = column {
            self.times.insert(last.value.clone(), column.clone());
        }
        Ok((table.to_string(), Some(last)))
    }
}

/// How a window table function is written.
fn usage(name: &str) -> &'static str {
    match name {
        "TUMBLE" => "TUMBLE(TABLE t, DESCRIPTOR(time), INTERVAL '10' SECOND [, offset])",
        "HOP" => "HOP(TABLE t, DESCRIPTOR(time), slide, size [, offset])",
        "CUMULATE" => "CUMULATE(TABLE t, DESCRIPTOR(time), step, size [, offset])",
        _ => "SESSION(TABLE t PARTITION BY key, DESCRIPTOR(time), gap)",
    }
}

pub(super) fn arguments(args: Vec<FunctionArg>, at: Place) -> Result<Vec<Expr>, SqlError> {
    let argument = |arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
        | FunctionArg::Named {
            arg: FunctionArgExpr::Expr(expr),
            ..
        }
        | FunctionArg::ExprNamed {
            arg: FunctionArgExpr::Expr(expr),
            ..
        } => Ok(expr),
        other => Err(SqlError::new(
            at,
            format!("`{other}` is no argument of a window"),
        )),
    };
    args.into_iter().map(argument).collect()
}

/// The arguments of a call of this function.
fn called(expr: &Expr, name: &str) -> Option<Vec<Expr>> {
    let Expr::Function(function) = expr else {
        return None;
    };
    if !function.name.to_string().eq_ignore_ascii_case(name) {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    args.collect()
}

/// A window table function as a subquery.
fn subquery(name: &str, from: &str, time: &str, rest: &[String], keys: &[Expr]) -> String {
    let lengths = rest.join(", ");
    let with_time = |inner: String| {
        format!("SELECT *, {END} - INTERVAL '1 millisecond' AS window_time FROM ({inner})")
    };
    match name {
        "TUMBLE" => with_time(format!(
            "SELECT *, {TUMBLE_START}({time}, {lengths}) AS {START}, {TUMBLE_END}({time}, {lengths}) AS {END} FROM {from}"
        )),
        "SESSION" => {
            let keys: String = keys.iter().map(|key| format!(", {key}")).collect();
            with_time(format!(
                "SELECT *, {SESSION_START}({time}, {lengths}{keys}) AS {START}, {SESSION_END}({time}, {lengths}{keys}) AS {END} FROM {from}"
            ))
        }
        _ => {
            let function = if name == "HOP" {
                HOP_WINDOWS
            } else {
                CUMULATE_WINDOWS
            };
            with_time(format!(
                "SELECT * EXCLUDE (millstream_window), get_field(millstream_window, '{START}') AS {START}, get_field(millstream_window, '{END}') AS {END} FROM (SELECT *, unnest({function}({time}, {lengths})) AS millstream_window FROM {from})"
            ))
        }
    }
}
