//! A text to its statements, and which of them are answered without asking anything.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::commands::{self, Inside};
use crate::copy::Copy;
use crate::cursors::Fetch;

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it begins, in bytes; `None` where its text is nowhere as it is.
    pub(crate) at: Option<usize>,
    /// Its text without the semicolon; that of the question inside where it has one.
    pub(crate) text: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a statement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something to run, or to refuse.
    Question,
    /// Something of the session.
    Local(Local),
    /// A question whose rows go to a file.
    Copy(Copy),
    /// A question whose rows are fetched later.
    Declare {
        /// The cursor.
        name: String,
        /// Whether it outlives its transaction.
        is_held: bool,
    },
    /// Rows of a cursor.
    Fetch(Fetch),
    /// Something that cannot be, and why.
    Wrong(String),
}

/// Statements of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// A setting; `None` is the default again.
    Set(String, Option<String>),
    /// All settings as they were.
    ResetAll,
    /// A setting's value.
    Show(String),
    /// All of them.
    ShowAll,
    /// A transaction, which is nothing here.
    Begin,
    /// Its end; the word says which.
    End(&'static str),
    /// Back to before something failed.
    Back,
    /// A cursor goes; `None` is all of them.
    Close(Option<String>),
    /// Prepared statements go; the word is its tag.
    Forget(Option<String>, &'static str),
    /// Changes nothing; the word is its tag.
    Nothing(&'static str),
}

/// The statements of a text. What cannot be told apart is one statement, whose error is found when it is run.
pub(crate) fn split(text: &str) -> Vec<Piece> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location();
    let Ok(tokens) = tokens else {
        return vec![Piece {
            at: Some(0),
            text: text.to_owned(),
            kind: Kind::Question,
        }];
    };
    let places = Places::of(text);
    let mut pieces = Vec::new();
    let mut words: Vec<&TokenWithSpan> = Vec::new();
    for token in &tokens {
        match &token.token {
            Token::SemiColon => pieces.extend(piece(text, &places, &std::mem::take(&mut words))),
            Token::Whitespace(_) | Token::EOF => {}
            _ => words.push(token),
        }
    }
    pieces.extend(piece(text, &places, &words));
    pieces
}

fn piece(text: &str, places: &Places<'_>, words: &[&TokenWithSpan]) -> Option<Piece> {
    let (kind, inside) = match commands::command(words) {
        Some(Ok(found)) => found,
        Some(Err(why)) => (Kind::Wrong(why), Inside::Nothing),
        None => {
            let kind = local(words).map_or(Kind::Question, Kind::Local);
            (kind, Inside::Nothing)
        }
    };
    let own = match inside {
        Inside::Nothing => words,
        Inside::Words(words) => words,
        Inside::Table(text) => {
            return Some(Piece {
                at: None,
                text,
                kind,
            });
        }
    };
    let (first, last) = (own.first()?, own.last()?);
    let at = places.byte(first.span.start.line, first.span.start.column);
    let end = places.byte(last.span.end.line, last.span.end.column);
    Some(Piece {
        at: Some(at),
        text: text.get(at..end)?.to_owned(),
        kind,
    })
}

/// Where lines begin.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            lines: std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// Of a line and a column, both from 1, the column in characters.
    fn byte(&self, line: u64, column: u64) -> usize {
        let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let begin = self
            .lines
            .get(index(line))
            .copied()
            .unwrap_or(self.text.len());
        let rest = self.text.get(begin..).unwrap_or_default();
        let within = rest.char_indices().nth(index(column));
        begin + within.map_or(rest.len(), |(at, _)| at)
    }
}

fn local(words: &[&TokenWithSpan]) -> Option<Local> {
    let word = |index: usize| match words.get(index).map(|word| &word.token) {
        Some(Token::Word(word)) => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let none = |name: &'static str| Some(Local::Nothing(name));
    match word(0).as_str() {
        "BEGIN" => Some(Local::Begin),
        "START" if word(1) == "TRANSACTION" => Some(Local::Begin),
        "COMMIT" | "END" => Some(Local::End("COMMIT")),
        "ROLLBACK" if (1..4).any(|at| word(at) == "TO") => Some(Local::Back),
        "ROLLBACK" | "ABORT" => Some(Local::End("ROLLBACK")),
        "SAVEPOINT" => none("SAVEPOINT"),
        "RELEASE" => none("RELEASE"),
        "UNLISTEN" => none("UNLISTEN"),
        "DISCARD" => Some(Local::Forget(None, "DISCARD ALL")),
        "DEALLOCATE" => Some(Local::Forget(forgotten(words), "DEALLOCATE")),
        "RESET" if word(1) == "ALL" => Some(Local::ResetAll),
        "RESET" => Some(Local::Set(name(&words[1..]).0, None)),
        "SHOW" if word(1) == "ALL" => Some(Local::ShowAll),
        "SHOW" if word(1) == "TIME" => Some(Local::Show("timezone".to_owned())),
        "SHOW" if word(1) == "TRANSACTION" => Some(Local::Show("transaction_isolation".to_owned())),
        "SHOW" if words.len() > 1 => Some(Local::Show(name(&words[1..]).0)),
        "SET" => set(words),
        _ => None,
    }
}

/// The name behind `DEALLOCATE`; `None` is all of them.
fn forgotten(words: &[&TokenWithSpan]) -> Option<String> {
    match words.last().map(|word| &word.token) {
        Some(Token::Word(word)) if !word.value.eq_ignore_ascii_case("ALL") => {
            Some(word.value.clone())
        }
        _ => None,
    }
}

/// A name with its dots, and how many words it took.
fn name(words: &[&TokenWithSpan]) -> (String, usize) {
    let part = |word: &&&TokenWithSpan| matches!(word.token, Token::Word(_) | Token::Period);
    let mut name = String::new();
    let mut count = 0;
    for word in words.iter().take_while(part) {
        match &word.token {
            Token::Period => name.push('.'),
            Token::Word(word) if name.is_empty() || name.ends_with('.') => {
                name.push_str(&word.value)
            }
            _ => break,
        }
        count += 1;
    }
    (name, count)
}

fn set(words: &[&TokenWithSpan]) -> Option<Local> {
    let word = |index: usize| match words.get(index).map(|word| &word.token) {
        Some(Token::Word(word)) => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let mut rest = &words[1..];
    if matches!(word(1).as_str(), "TRANSACTION") {
        return Some(Local::Nothing("SET"));
    }
    if matches!(word(1).as_str(), "SESSION" | "LOCAL") {
        if matches!(word(2).as_str(), "CHARACTERISTICS" | "AUTHORIZATION") {
            return Some(Local::Nothing("SET"));
        }
        rest = &words[2..];
    }
    let (name, value) = match (word(1).as_str(), word(2).as_str()) {
        ("TIME", "ZONE") => ("timezone".to_owned(), words.get(3..)?),
        ("NAMES", _) => ("client_encoding".to_owned(), words.get(2..)?),
        _ => {
            let (name, count) = name(rest);
            // `=` or `TO`.
            (name, rest.get(count + 1..)?)
        }
    };
    let value: Vec<String> = value.iter().map(|word| plain(&word.token)).collect();
    let value = value.join(" ").replace(" , ", ", ");
    if name.is_empty() || value.is_empty() {
        return None;
    }
    let value = (!value.eq_ignore_ascii_case("DEFAULT")).then_some(value);
    Some(Local::Set(name, value))
}

/// A value without its quotes.
fn plain(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Form;

    fn kinds(text: &str) -> Vec<Kind> {
        split(text).into_iter().map(|piece| piece.kind).collect()
    }

    #[test]
    fn statements_are_told_apart() {
        let text = "SELECT 'a;ä' ; -- ; no\n  SELECT $$;$$;;\nSELECT 3";
        let pieces = split(text);
        let texts: Vec<_> = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(texts, ["SELECT 'a;ä'", "SELECT $$;$$", "SELECT 3"]);
        for piece in &pieces {
            assert!(text[piece.at.expect("a place")..].starts_with(&piece.text));
        }
        assert!(split(" ; ").is_empty());
        // Not SQL at all: whoever runs it says why.
        assert_eq!(kinds("SELECT 'open"), [Kind::Question]);
    }

    #[test]
    fn statements_of_the_session_are_known() {
        let set =
            |name: &str, value: Option<&str>| Local::Set(name.to_owned(), value.map(str::to_owned));
        for (text, want) in [
            (
                "set statement_timeout = 500",
                set("statement_timeout", Some("500")),
            ),
            (
                "SET SESSION search_path TO a, \"b\"",
                set("search_path", Some("a, b")),
            ),
            ("SET LOCAL my.own TO 'x y'", set("my.own", Some("x y"))),
            ("SET TIME ZONE 'UTC'", set("timezone", Some("UTC"))),
            ("SET NAMES utf8", set("client_encoding", Some("utf8"))),
            ("SET x TO DEFAULT", set("x", None)),
            ("RESET x", set("x", None)),
            ("RESET ALL", Local::ResetAll),
            (
                "SHOW TRANSACTION ISOLATION LEVEL",
                Local::Show("transaction_isolation".to_owned()),
            ),
            (
                "show server_version",
                Local::Show("server_version".to_owned()),
            ),
            ("SHOW ALL", Local::ShowAll),
            ("START TRANSACTION READ ONLY", Local::Begin),
            ("begin isolation level serializable", Local::Begin),
            ("END", Local::End("COMMIT")),
            ("ROLLBACK TO SAVEPOINT a", Local::Back),
            ("rollback transaction to a", Local::Back),
            ("CLOSE \"My\"", Local::Close(Some("My".to_owned()))),
            ("close all", Local::Close(None)),
            ("rollback", Local::End("ROLLBACK")),
            ("DEALLOCATE ALL", Local::Forget(None, "DEALLOCATE")),
            (
                "DEALLOCATE PREPARE a",
                Local::Forget(Some("a".to_owned()), "DEALLOCATE"),
            ),
            ("SET TRANSACTION READ ONLY", Local::Nothing("SET")),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                Local::Nothing("SET"),
            ),
        ] {
            assert_eq!(kinds(text), [Kind::Local(want)], "{text}");
        }
        for text in [
            "SET",
            "SHOW",
            "DELETE FROM x",
            "SELECT begin FROM x",
            "CREATE TABLE a (b int)",
        ] {
            assert_eq!(kinds(text), [Kind::Question], "{text}");
        }
    }

    #[test]
    fn questions_inside_statements_keep_their_place() {
        let text =
            "COPY ( SELECT a FROM b ) TO STDOUT WITH (FORMAT csv, HEADER true, DELIMITER ';')";
        let pieces = split(text);
        assert_eq!(pieces[0].text, "SELECT a FROM b");
        assert_eq!(pieces[0].at, Some(7));
        let Kind::Copy(copy) = &pieces[0].kind else {
            panic!("{:?}", pieces[0].kind);
        };
        assert_eq!(
            (copy.form, copy.header, copy.delimiter),
            (Form::Csv, true, b';')
        );
        let pieces = split("COPY stations.\"b c\" (x, \"y\") TO STDOUT CSV HEADER QUOTE AS '|'");
        assert_eq!(pieces[0].text, "SELECT x,\"y\" FROM stations.\"b c\"");
        let Kind::Copy(copy) = &pieces[0].kind else {
            panic!("{:?}", pieces[0].kind);
        };
        assert_eq!((copy.quote, copy.escape, copy.header), (b'|', b'|', true));
        let pieces = split("DECLARE C NO SCROLL CURSOR WITH HOLD FOR SELECT 1 AS for");
        assert_eq!(pieces[0].text, "SELECT 1 AS for");
        let name = "c".to_owned();
        assert_eq!(
            pieces[0].kind,
            Kind::Declare {
                name,
                is_held: true
            }
        );
    }

    #[test]
    fn rows_of_cursors_are_counted() {
        for (text, count, is_move) in [
            ("FETCH c", Some(1), false),
            ("FETCH NEXT FROM c", Some(1), false),
            ("fetch forward 20 in c", Some(20), false),
            ("FETCH FORWARD ALL FROM c", None, false),
            ("FETCH 5 c", Some(5), false),
            ("MOVE ALL IN c", None, true),
        ] {
            let name = "c".to_owned();
            let want = Fetch {
                name,
                count,
                is_move,
            };
            assert_eq!(kinds(text), [Kind::Fetch(want)], "{text}");
        }
        for text in [
            "FETCH -1 FROM c",
            "FETCH PRIOR FROM c",
            "FETCH",
            "CLOSE",
            "COPY a FROM STDIN",
            "COPY a TO '/tmp/x'",
            "COPY a TO STDOUT (FORMAT parquet)",
            "COPY a TO STDOUT (DELIMITER 'ab')",
            "DECLARE a SCROLL CURSOR FOR SELECT 1",
            "DECLARE a CURSOR",
        ] {
            assert!(matches!(&kinds(text)[..], [Kind::Wrong(_)]), "{text}");
        }
    }
}
