//! Statements with a question inside: `COPY … TO STDOUT` and `DECLARE … CURSOR`; and those about cursors.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::copy::{Copy, Form};
use crate::cursors::Fetch;
use crate::statements::{Kind, Local};

type Words<'a> = [&'a TokenWithSpan];

/// What a statement is, and the words of the question inside.
pub(crate) type Command<'a> = (Kind, Inside<'a>);

/// The question inside a statement.
pub(crate) enum Inside<'a> {
    Nothing,
    /// Written out.
    Words(&'a Words<'a>),
    /// Not written out.
    Table(String),
}

/// A word in capitals; nothing where there is no word.
fn word(words: &Words<'_>, index: usize) -> String {
    match words.get(index).map(|word| &word.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    }
}

fn is(words: &Words<'_>, index: usize, token: &Token) -> bool {
    words.get(index).is_some_and(|word| word.token == *token)
}

/// A name as PostgreSQL folds it.
pub(crate) fn name(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        Token::Word(word) => Some(word.value.to_ascii_lowercase()),
        _ => None,
    }
}

/// One of these statements; an error says why it cannot be carried out.
pub(crate) fn command<'a>(words: &'a Words<'a>) -> Option<Result<Command<'a>, String>> {
    Some(match word(words, 0).as_str() {
        "COPY" => copy(words),
        "DECLARE" => declare(words),
        "FETCH" => fetch(words, false),
        "MOVE" => fetch(words, true),
        "CLOSE" => close(words),
        _ => return None,
    })
}

fn close<'a>(words: &Words<'_>) -> Result<Command<'a>, String> {
    let name = match words {
        [_, one] if word(words, 1) != "ALL" => {
            Some(name(&one.token).ok_or("`CLOSE` needs the name of a cursor")?)
        }
        [_, _] => None,
        _ => return Err("write `CLOSE name` or `CLOSE ALL`".to_owned()),
    };
    Ok((Kind::Local(Local::Close(name)), Inside::Nothing))
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR question`
fn declare<'a>(words: &'a Words<'a>) -> Result<Command<'a>, String> {
    let usage = "write `DECLARE name CURSOR FOR SELECT …`";
    let name = words.get(1).and_then(|word| name(&word.token));
    let name = name.ok_or(usage)?;
    let at = (2..words.len()).find(|at| word(words, *at) == "FOR");
    let at = at.ok_or(usage)?;
    let mut is_held = false;
    for index in 2..at {
        match word(words, index).as_str() {
            "SCROLL" if word(words, index - 1) != "NO" => {
                return Err("cursors only go forward: declare it without `SCROLL`".to_owned());
            }
            "BINARY" => return Err("`BINARY` cursors are not supported".to_owned()),
            "HOLD" => is_held = word(words, index - 1) == "WITH",
            "SCROLL" | "CURSOR" | "NO" | "INSENSITIVE" | "ASENSITIVE" | "WITH" | "WITHOUT" => {}
            _ => return Err(usage.to_owned()),
        }
    }
    let question = words.get(at + 1..).filter(|rest| !rest.is_empty());
    let question = question.ok_or(usage)?;
    Ok((Kind::Declare { name, is_held }, Inside::Words(question)))
}

/// `FETCH [NEXT | ALL | FORWARD [n | ALL] | n] [FROM | IN] name`
fn fetch<'a>(words: &Words<'_>, is_move: bool) -> Result<Command<'a>, String> {
    let usage = "write `FETCH n FROM cursor`, or `ALL` for `n`: cursors only go forward";
    let (last, rest) = words.split_last().ok_or(usage)?;
    let name = name(&last.token).ok_or(usage)?;
    let mut rest = rest.get(1..).ok_or(usage)?;
    if let Some((_, before)) = rest.split_last()
        && matches!(word(rest, rest.len() - 1).as_str(), "FROM" | "IN")
    {
        rest = before;
    }
    if word(rest, 0) == "FORWARD" {
        rest = &rest[1..];
    }
    let count = match rest {
        [] => Some(1),
        [one] => match &one.token {
            Token::Number(number, _) => Some(number.parse().map_err(|_| usage)?),
            _ if word(rest, 0) == "ALL" => None,
            _ if word(rest, 0) == "NEXT" => Some(1),
            _ => return Err(usage.to_owned()),
        },
        _ => return Err(usage.to_owned()),
    };
    let fetch = Fetch {
        name,
        count,
        is_move,
    };
    Ok((Kind::Fetch(fetch), Inside::Nothing))
}

/// `COPY {(question) | table [(columns)]} TO STDOUT [[WITH] options]`
fn copy<'a>(words: &'a Words<'a>) -> Result<Command<'a>, String> {
    let usage = "write `COPY (SELECT …) TO STDOUT`";
    let mut depth = 0_u32;
    let to = (1..words.len()).find(|at| {
        match words[*at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(word(words, *at).as_str(), "TO" | "FROM")
    });
    let to = to.ok_or(usage)?;
    if word(words, to) == "FROM" {
        return Err("statements only read: publish messages to write to a station".to_owned());
    }
    if word(words, to + 1) != "STDOUT" {
        return Err("only `STDOUT` can be copied to: in `psql`, write `\\copy`".to_owned());
    }
    let source = words.get(1..to).filter(|source| !source.is_empty());
    let source = source.ok_or(usage)?;
    let inside = match source {
        [open, inner @ .., close]
            if open.token == Token::LParen && close.token == Token::RParen && !inner.is_empty() =>
        {
            Inside::Words(inner)
        }
        source => Inside::Table(of_table(source).ok_or(usage)?),
    };
    let options = options(words.get(to + 2..).unwrap_or_default())?;
    Ok((Kind::Copy(options), inside))
}

/// `name (a, b)` as a question.
fn of_table(source: &Words<'_>) -> Option<String> {
    let open = source.iter().position(|word| word.token == Token::LParen);
    let (table, columns) = source.split_at(open.unwrap_or(source.len()));
    let text =
        |words: &Words<'_>| -> String { words.iter().map(|word| word.token.to_string()).collect() };
    let columns = match columns {
        [] => "*".to_owned(),
        [_, inner @ .., close] if close.token == Token::RParen => text(inner),
        _ => return None,
    };
    let is_name = |word: &&TokenWithSpan| matches!(word.token, Token::Word(_) | Token::Period);
    table
        .iter()
        .all(is_name)
        .then(|| format!("SELECT {columns} FROM {}", text(table)))
}

/// `[WITH] (name [value], …)`, and the older form without parentheses: `[WITH] CSV HEADER DELIMITER ','`.
fn options(words: &Words<'_>) -> Result<Copy, String> {
    let rest = if word(words, 0) == "WITH" {
        &words[1..]
    } else {
        words
    };
    let rest = match rest {
        [open, inner @ .., close]
            if open.token == Token::LParen && close.token == Token::RParen =>
        {
            inner
        }
        rest => rest,
    };
    let form = rest.iter().enumerate().find_map(|(index, own)| {
        let form = match &own.token {
            Token::SingleQuotedString(text) => text.to_ascii_uppercase(),
            _ => word(rest, index),
        };
        match form.as_str() {
            "CSV" => Some(Form::Csv),
            "BINARY" => Some(Form::Binary),
            _ => None,
        }
    });
    let mut copy = Copy::of(form.unwrap_or(Form::Text));
    let mut index = 0;
    while index < rest.len() {
        if is(rest, index, &Token::Comma) {
            index += 1;
            continue;
        }
        index += 1 + option(&mut copy, rest, index)?;
    }
    if copy.form == Form::Binary && copy.header {
        return Err("`HEADER` is for text and CSV".to_owned());
    }
    Ok(copy)
}

/// Takes an option; answers how many words its value has.
fn option(copy: &mut Copy, words: &Words<'_>, index: usize) -> Result<usize, String> {
    let name = word(words, index);
    // `DELIMITER AS ','`
    let more = usize::from(word(words, index + 1) == "AS");
    let value = match words.get(index + 1 + more).map(|word| &word.token) {
        Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => {
            Some(text.clone())
        }
        Some(Token::Mul) => Some("*".to_owned()),
        Some(token @ (Token::Word(_) | Token::Number(..))) => Some(token.to_string()),
        _ => None,
    };
    let byte = || match value.as_deref().map(str::as_bytes) {
        Some([byte]) => Ok(*byte),
        _ => Err(format!("`{name}` must be a character of one byte")),
    };
    match name.as_str() {
        "CSV" | "BINARY" => return Ok(0),
        "FORMAT" => {
            let known = ["CSV", "TEXT", "BINARY"];
            let form = value.unwrap_or_default().to_ascii_uppercase();
            if !known.contains(&form.as_str()) {
                return Err(format!(
                    "there is no format `{form}`: there are text, csv and binary"
                ));
            }
        }
        "HEADER" => {
            let said = value.unwrap_or_default().to_ascii_uppercase();
            let is_said = matches!(said.as_str(), "TRUE" | "ON" | "1" | "FALSE" | "OFF" | "0");
            copy.header = !is_said || matches!(said.as_str(), "TRUE" | "ON" | "1");
            return Ok(usize::from(is_said));
        }
        "DELIMITER" => copy.delimiter = byte()?,
        "QUOTE" => {
            // The escape is the quote unless it is something else.
            if copy.escape == copy.quote {
                copy.escape = byte()?;
            }
            copy.quote = byte()?;
        }
        "ESCAPE" => copy.escape = byte()?,
        "NULL" => copy.null = value.unwrap_or_default(),
        "ENCODING" if value.as_deref().is_some_and(is_utf8) => {}
        "FORCE" if word(words, index + 1) == "QUOTE" && is(words, index + 2, &Token::Mul) => {
            copy.force_quote = true;
            return Ok(2);
        }
        "FORCE_QUOTE" if value.as_deref() == Some("*") => copy.force_quote = true,
        _ => return Err(format!("`COPY` has no option `{name}` here")),
    }
    Ok(1 + more)
}

fn is_utf8(name: &str) -> bool {
    name.replace(['-', '_'], "").eq_ignore_ascii_case("utf8")
}
