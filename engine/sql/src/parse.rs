//! Text to the `SELECT`s it holds.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Ident, Insert, ObjectName, Query, SetExpr, Spanned, Statement, TableObject, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::SqlError;
use crate::error::Place;

/// Longest statement in bytes. Planning time grows with the text, and no hand-written statement comes near.
pub(crate) const MAX_TEXT: usize = 64 * 1024;
/// Deepest nesting of expressions; `a OR b OR c` nests as well. Evaluating recurses this deep on the caller's stack.
const MAX_DEPTH: usize = 200;

/// Most words and signs: the parser's tree of a chain like `a + a + …` is as deep as the chain is long, and planning recurses.
pub(crate) const MAX_TOKENS: usize = 4096;
/// Most statements of a stage: each looks at every message.
const MAX_STATEMENTS: usize = 32;

/// A station's name, and where it stands.
pub(crate) type Destination = (String, Place);

/// One `SELECT` of a text, and where its rows go.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) query: Box<Query>,
    /// The station behind `INSERT INTO`.
    pub(crate) into: Option<Destination>,
    /// The text of the statements with all before this one blank, so that places in it stay what they are.
    pub(crate) text: String,
}

/// The statements of `text`, at least one.
pub(crate) fn parse(text: &str) -> Result<Vec<Parsed>, SqlError> {
    let statements = several(text)?;
    if statements.is_empty() {
        return Err(empty());
    }
    if statements.len() > MAX_STATEMENTS {
        let message = format!(
            "{} statements, at most {MAX_STATEMENTS} are allowed",
            statements.len()
        );
        return Err(SqlError::new(Place::START, message));
    }
    let starts = starts(text);
    let each = statements
        .into_iter()
        .enumerate()
        .map(|(index, statement)| {
            let start = starts.get(index).copied().unwrap_or_default();
            one_of(blank_before(text, start), statement)
        });
    each.collect()
}

fn one_of(text: String, statement: Statement) -> Result<Parsed, SqlError> {
    let (query, into) = match statement {
        Statement::Query(query) => (query, None),
        Statement::Insert(insert) => inserted(&text, insert)?,
        _ => {
            return Err(
                other(&text, "is no transform").hint("a stage is one `SELECT … FROM message`")
            );
        }
    };
    check_depth(&*query)?;
    Ok(Parsed { query, into, text })
}

/// `INSERT INTO station SELECT …`, and nothing more of what an `INSERT` may say.
fn inserted(text: &str, insert: Insert) -> Result<(Box<Query>, Option<Destination>), SqlError> {
    const FORM: &str = "write `INSERT INTO station SELECT … FROM message`";
    let at = keyword(text, "INSERT");
    let plain = Insert {
        into: true,
        source: None,
        table: insert.table.clone(),
        insert_token: insert.insert_token.clone(),
        has_table_keyword: false,
        ..bare()
    };
    let is_plain = Insert {
        source: None,
        ..insert.clone()
    } == plain;
    let (TableObject::TableName(name), Some(query), true) =
        (&insert.table, insert.source, is_plain)
    else {
        return Err(
            SqlError::new(at, "`INSERT` has more than a station and a `SELECT`").hint(FORM),
        );
    };
    if matches!(*query.body, SetExpr::Values(_)) {
        return Err(SqlError::new(at, "`INSERT` without a `SELECT`").hint(FORM));
    }
    let at = Place::of(name.span()).unwrap_or(at);
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    let parts: Vec<&str> = parts.map(|ident| ident.value.as_str()).collect();
    Ok((query, Some((parts.join("."), at))))
}

/// An `INSERT` that says nothing.
fn bare() -> Insert {
    Insert {
        insert_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        or: None,
        ignore: false,
        into: true,
        table: TableObject::TableName(ObjectName::from(Vec::<Ident>::new())),
        table_alias: None,
        columns: Vec::new(),
        overwrite: false,
        source: None,
        assignments: Vec::new(),
        partitioned: None,
        after_columns: Vec::new(),
        has_table_keyword: false,
        on: None,
        returning: None,
        output: None,
        replace_into: false,
        priority: None,
        insert_alias: None,
        settings: None,
        format_clause: None,
        multi_table_insert_type: None,
        multi_table_into_clauses: Vec::new(),
        multi_table_when_clauses: Vec::new(),
        multi_table_else_clause: None,
    }
}

/// The byte at which each statement starts.
fn starts(text: &str) -> Vec<usize> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        return Vec::new();
    };
    let mut starts = Vec::new();
    let mut between = true;
    for token in tokens {
        match token.token {
            Token::SemiColon => between = true,
            Token::Whitespace(_) | Token::EOF => {}
            _ if between => {
                between = false;
                starts.push(byte_of(text, Place::from(token.span.start)));
            }
            _ => {}
        }
    }
    starts
}

fn byte_of(text: &str, place: Place) -> usize {
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines
        .by_ref()
        .take(place.line as usize - 1)
        .map(str::len)
        .sum();
    let line = lines.next().unwrap_or_default();
    let column = line.char_indices().nth(place.column as usize - 1);
    before + column.map_or(line.len(), |(at, _)| at)
}

fn blank_before(text: &str, start: usize) -> String {
    let (before, own) = text.split_at(start);
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    before.chars().map(blank).chain(own.chars()).collect()
}

/// The question that `text` holds and nothing else: a query, or `EXPLAIN` of one.
pub(crate) fn parse_question(text: &str) -> Result<Statement, SqlError> {
    match one(text, "ask them one after the other")? {
        None => Err(empty()),
        Some(statement) => {
            let asked = match &statement {
                Statement::Explain { statement, .. } => statement,
                statement => statement,
            };
            if !matches!(asked, Statement::Query(_)) {
                return Err(other(text, "is no question")
                    .hint("write `SELECT …`, or `EXPLAIN SELECT …`; stations change by `millstream apply`"));
            }
            check_depth(&statement)?;
            Ok(statement)
        }
    }
}

fn empty() -> SqlError {
    SqlError::new(Place::START, "statement is empty").hint("write `SELECT … FROM message`")
}

fn other(text: &str, what: &str) -> SqlError {
    let first = first_word(text);
    SqlError::new(
        first.as_ref().map_or(Place::START, |(_, at)| *at),
        format!(
            "`{}` {what}",
            first.map_or_else(String::new, |(word, _)| word)
        ),
    )
}

/// The statement of a text that is not too long, if there is one.
fn one(text: &str, hint: &'static str) -> Result<Option<Statement>, SqlError> {
    let mut statements = several(text)?;
    if let Some(second) = statements.get(1) {
        let at = Place::of(second.span()).unwrap_or(Place::START);
        let message = format!("{} statements where one is expected", statements.len());
        return Err(SqlError::new(at, message).hint(hint));
    }
    Ok(statements.pop())
}

/// The statements of a text that is not too long.
fn several(text: &str) -> Result<Vec<Statement>, SqlError> {
    if text.len() > MAX_TEXT {
        let message = format!(
            "statement has {} bytes, at most {MAX_TEXT} are allowed",
            text.len()
        );
        return Err(SqlError::new(Place::START, message));
    }
    let all = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| syntax(text, &ParserError::from(error)))?;
    let tokens = all
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .count();
    if tokens > MAX_TOKENS {
        let message =
            format!("statement has {tokens} words and signs, at most {MAX_TOKENS} are allowed");
        return Err(SqlError::new(Place::START, message).hint("use a function for rules this long"));
    }
    Parser::new(&GenericDialect {})
        .with_tokens_with_locations(all)
        .parse_statements()
        .map_err(|error| syntax(text, &error))
}

/// Where the keyword `word` stands outside all parentheses; the start of the text when it does not.
pub(crate) fn keyword(text: &str, word: &str) -> Place {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else {
        return Place::START;
    };
    let mut depth = 0_i32;
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Word(found)
                if depth == 0
                    && found.quote_style.is_none()
                    && found.value.eq_ignore_ascii_case(word) =>
            {
                return Place::of(token.span).unwrap_or(Place::START);
            }
            _ => {}
        }
    }
    Place::START
}

/// Where the name `word` stands first; the start of the text when it does not.
pub(crate) fn word(text: &str, word: &str) -> Place {
    named(text, |found| found == word).unwrap_or(Place::START)
}

/// Where a function is named first, whatever the case of its letters.
pub(crate) fn called(text: &str, function: &str) -> Place {
    let found = named(text, |found| found.eq_ignore_ascii_case(function));
    found.unwrap_or(Place::START)
}

/// Where the first name that a message quotes and the text has stands in it; the start of the text when there is none.
pub(crate) fn guilty(text: &str, message: &str) -> Place {
    let quoted = ['`', '\''].into_iter();
    let mut names = quoted.flat_map(|quote| message.split(quote).skip(1).step_by(2));
    let found = names.find_map(|name| named(text, |found| found.eq_ignore_ascii_case(name)));
    found.unwrap_or(Place::START)
}

fn named(text: &str, is: impl Fn(&str) -> bool) -> Option<Place> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let mut tokens = tokens.unwrap_or_default().into_iter();
    let found = tokens.find(|token| matches!(&token.token, Token::Word(found) if is(&found.value)));
    Place::of(found?.span)
}

fn first_word(text: &str) -> Option<(String, Place)> {
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .ok()?;
    let first = tokens
        .into_iter()
        .find(|token| !matches!(token.token, Token::Whitespace(_)))?;
    Some((first.token.to_string(), Place::of(first.span)?))
}

/// The parser writes the place behind its message.
pub(crate) fn syntax(text: &str, error: &ParserError) -> SqlError {
    let (ParserError::TokenizerError(message) | ParserError::ParserError(message)) = error else {
        return SqlError::new(Place::START, "statement is nested too deep");
    };
    let (message, at) = match message.rsplit_once(" at Line: ") {
        Some((message, at)) => (message, place(at).unwrap_or_else(|| Place::end_of(text))),
        None => (message.as_str(), Place::end_of(text)),
    };
    let message = message.replace("EOF", "the end of the statement");
    SqlError::new(at, lower_first(message.trim_end_matches('.')))
}

fn place(text: &str) -> Option<Place> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Place {
        line: line.parse().ok()?,
        column: column.trim().parse().ok()?,
    })
}

/// Error texts start with a lower-case letter, unless the first word is a name or an abbreviation.
pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next();
    let word = chars
        .as_str()
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    match first {
        Some(first) if !word.is_empty() && word.chars().all(char::is_lowercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

pub(crate) fn check_depth(statement: &impl Visit) -> Result<(), SqlError> {
    match statement.visit(&mut Depth(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(at) => {
            let message = format!("expressions are nested more than {MAX_DEPTH} levels deep");
            Err(SqlError::new(at, message)
                .hint("write `x IN (…)` or a `CASE` instead of a long chain of operators"))
        }
    }
}

struct Depth(usize);

impl Visitor for Depth {
    type Break = Place;

    fn pre_visit_expr(
        &mut self,
        expr: &datafusion::sql::sqlparser::ast::Expr,
    ) -> ControlFlow<Place> {
        self.0 += 1;
        if self.0 > MAX_DEPTH {
            return ControlFlow::Break(Place::of(expr.span()).unwrap_or(Place::START));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &datafusion::sql::sqlparser::ast::Expr) -> ControlFlow<Place> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}
