//! From text to entries, in one pass.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scalar::word;
use super::{At, Data, Entry, ParseError, Surroundings, Value};

/// Deepest nesting of blocks and lists.
const MAX_DEPTH: usize = 64;
/// Longest chain of includes; a longer one is a circle.
const MAX_INCLUDES: usize = 16;
/// Longest chain of environment variables that refer to each other.
const MAX_VARIABLES: usize = 16;
/// Most values in all files together: variables and includes can repeat, but not explode.
const MAX_VALUES: usize = 200_000;

pub(super) fn parse(
    text: &str,
    file: &Path,
    surroundings: &dyn Surroundings,
) -> Result<Vec<Entry>, ParseError> {
    let mut shared = Shared {
        surroundings,
        scopes: vec![Vec::new()],
        values: 0,
    };
    Parser::new(text, file, &mut shared, 0, 0).document()?;
    Ok(shared.scopes.pop().unwrap_or_default())
}

/// What the parsers of a file, its includes and its variables have in common.
struct Shared<'s> {
    surroundings: &'s dyn Surroundings,
    /// The blocks being read, outermost first: where `$KEY` looks.
    scopes: Vec<Vec<Entry>>,
    values: usize,
}

struct Parser<'t, 's, 'p> {
    text: &'t str,
    /// Byte offset of the next character.
    next: usize,
    line: u32,
    column: u32,
    name: Arc<str>,
    file: PathBuf,
    shared: &'p mut Shared<'s>,
    includes: usize,
    variables: usize,
    depth: usize,
}

impl<'t, 's, 'p> Parser<'t, 's, 'p> {
    fn new(
        text: &'t str,
        file: &Path,
        shared: &'p mut Shared<'s>,
        includes: usize,
        variables: usize,
    ) -> Self {
        Self {
            text: text.strip_prefix('\u{feff}').unwrap_or(text),
            next: 0,
            line: 1,
            column: 1,
            name: file.to_string_lossy().into(),
            file: file.to_owned(),
            shared,
            includes,
            variables,
            depth: 0,
        }
    }

    /// A whole file: entries, or one block around everything.
    fn document(&mut self) -> Result<(), ParseError> {
        self.skip_space()?;
        if self.peek() != Some('{') {
            return self.entries(None);
        }
        self.bump();
        self.entries(Some('}'))?;
        self.skip_space()?;
        match self.peek() {
            None => Ok(()),
            Some(c) => Err(self.error(format!("`{c}` after the end of the block around the file"))),
        }
    }

    /// Entries into the innermost scope, up to `end` or the end of the text.
    fn entries(&mut self, end: Option<char>) -> Result<(), ParseError> {
        loop {
            self.skip_space()?;
            match self.peek() {
                None if end.is_none() => return Ok(()),
                None => return Err(self.error("the text ends inside a block; a `}` is missing")),
                Some(c) if Some(c) == end => {
                    self.bump();
                    return Ok(());
                }
                Some(',' | ';') => self.bump(),
                Some(_) => self.entry(end)?,
            }
        }
    }

    fn entry(&mut self, end: Option<char>) -> Result<(), ParseError> {
        let at = self.at();
        let quoted = matches!(self.peek(), Some('"' | '\''));
        let key = self.key()?;
        if key == "include" && !quoted && !matches!(self.peek_past_blanks(), Some(':' | '=' | '{'))
        {
            self.include()?;
        } else {
            self.after_key(&key)?;
            let value = self.value()?;
            let entry = Entry {
                key,
                at,
                value,
                is_variable: false,
            };
            self.scope().push(entry);
        }
        self.skip_blanks();
        match self.peek() {
            None | Some('\n' | '\r' | ',' | ';' | '#') => Ok(()),
            Some(c) if Some(c) == end => Ok(()),
            Some('/') if self.rest().starts_with("//") => Ok(()),
            Some(c) => Err(self.error(format!(
                "`{c}` after a value; a line end, `,` or `;` is missing"
            ))),
        }
    }

    fn key(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(c @ ('{' | '}' | '[' | ']' | '(' | ')' | ':' | '=')) => {
                Err(self.error(format!("`{c}` where a key should stand")))
            }
            _ => Ok(self.take_while(|c| {
                !c.is_whitespace() && !matches!(c, ':' | '=' | '{' | ',' | ';' | '}')
            })),
        }
    }

    /// The separator: `:`, `=`, or nothing. A value may start in the next line only when it is a
    /// block or a list, so that a forgotten value does not swallow the next key.
    fn after_key(&mut self, key: &str) -> Result<(), ParseError> {
        self.skip_blanks();
        if matches!(self.peek(), Some(':' | '=')) {
            self.bump();
            self.skip_blanks();
        }
        let here = self.at();
        self.skip_space()?;
        let next_line = self.line != here.line;
        match self.peek() {
            Some('{' | '[') => Ok(()),
            Some(c) if !next_line && !matches!(c, ',' | ';' | '}') => Ok(()),
            _ => Err(ParseError {
                at: here,
                message: format!("`{key}` has no value"),
            }),
        }
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        let at = self.at();
        self.shared.values += 1;
        if self.shared.values > MAX_VALUES {
            return Err(self.error(format!("more than {MAX_VALUES} values")));
        }
        let data = match self.peek() {
            Some('{') => self.block()?,
            Some('[') => self.list()?,
            Some('(') => self.block_text()?,
            Some(quote @ ('"' | '\'')) => Data::Text(self.quoted(quote)?),
            Some('$') if !self.rest().starts_with("$2a$") => return self.variable(at),
            _ => self.bare(&at)?,
        };
        Ok(Value { at, data })
    }

    fn block(&mut self) -> Result<Data, ParseError> {
        self.enter()?;
        self.shared.scopes.push(Vec::new());
        let result = self.entries(Some('}'));
        let entries = self.shared.scopes.pop().unwrap_or_default();
        self.depth -= 1;
        result.map(|()| Data::Map(entries))
    }

    fn list(&mut self) -> Result<Data, ParseError> {
        self.enter()?;
        let mut items = Vec::new();
        loop {
            self.skip_space()?;
            match self.peek() {
                None => return Err(self.error("the text ends inside a list; a `]` is missing")),
                Some(']') => break self.bump(),
                Some(',' | ';') => self.bump(),
                Some(_) => items.push(self.value()?),
            }
        }
        self.depth -= 1;
        Ok(Data::List(items))
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.bump();
        Ok(())
    }

    /// `( … )`: everything up to a line that holds only `)`.
    fn block_text(&mut self) -> Result<Data, ParseError> {
        let start = self.at();
        self.bump();
        let mut text = String::new();
        loop {
            let line = self.take_while(|c| c != '\n');
            if line.trim() == ")" {
                return Ok(Data::Text(text));
            }
            if self.peek().is_none() {
                let message = "this text is not ended by a line that holds only `)`".to_owned();
                return Err(ParseError { at: start, message });
            }
            text.push_str(&line);
            text.push('\n');
            self.bump();
        }
    }

    /// In double quotes `\n \t \r \" \\ \xHH` are escapes; in single quotes nothing is.
    fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let start = self.at();
        self.bump();
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(ParseError {
                    at: start,
                    message: format!("the text is not ended by {quote}"),
                });
            };
            if c == '\\' && quote == '"' {
                bytes.push(self.escape()?);
                continue;
            }
            self.bump();
            if c == quote {
                break;
            }
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let not_text = |_| ParseError {
            at: start,
            message: "the escapes give no valid UTF-8".to_owned(),
        };
        String::from_utf8(bytes).map_err(not_text)
    }

    fn escape(&mut self) -> Result<u8, ParseError> {
        let at = self.at();
        self.bump();
        let Some(c) = self.peek() else {
            return Err(ParseError {
                at,
                message: "the text ends inside an escape".to_owned(),
            });
        };
        self.bump();
        match c {
            'n' => Ok(b'\n'),
            't' => Ok(b'\t'),
            'r' => Ok(b'\r'),
            '"' => Ok(b'"'),
            '\\' => Ok(b'\\'),
            'x' => {
                let digits: String = self.rest().chars().take(2).collect();
                let value = u8::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 2);
                let message = format!("`\\x{digits}` is not `\\x` and two hexadecimal digits");
                let value = value.ok_or(ParseError { at, message })?;
                self.bump();
                self.bump();
                Ok(value)
            }
            other => {
                let message = format!("`\\{other}` is no escape; write `\\\\` for a backslash");
                Err(ParseError { at, message })
            }
        }
    }

    fn bare(&mut self, at: &At) -> Result<Data, ParseError> {
        let text = self.take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ';' | ']' | '}'));
        if let Some(c) = self.peek().filter(|_| text.is_empty()) {
            return Err(self.error(format!("`{c}` where a value should stand")));
        }
        word(&text).map_err(|message| ParseError {
            at: at.clone(),
            message,
        })
    }

    /// `$NAME`: the nearest key of that name written before, else the environment, whose text is
    /// read like a value in the file.
    fn variable(&mut self, at: At) -> Result<Value, ParseError> {
        self.bump();
        let name = self.take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ';' | ']' | '}'));
        for scope in self.shared.scopes.iter_mut().rev() {
            if let Some(entry) = scope.iter_mut().rev().find(|entry| entry.key == name) {
                entry.is_variable = true;
                let data = entry.value.data.clone();
                self.shared.values += size(&data);
                return Ok(Value { at, data });
            }
        }
        let Some(text) = self.shared.surroundings.variable(&name) else {
            let message =
                format!("`${name}` is neither a key written above nor set in the environment");
            return Err(ParseError { at, message });
        };
        if self.variables >= MAX_VARIABLES {
            return Err(ParseError {
                at,
                message: format!("`${name}` refers to itself"),
            });
        }
        let place = PathBuf::from(format!("environment variable {name}"));
        let mut inner = Parser::new(
            &text,
            &place,
            self.shared,
            self.includes,
            self.variables + 1,
        );
        inner.skip_blanks();
        let value = match inner.peek() {
            None => Data::Text(String::new()),
            Some(_) => inner.value()?.data,
        };
        inner.skip_space()?;
        // A text with blanks, such as a sentence, is that text.
        let data = if inner.peek().is_none() {
            value
        } else {
            Data::Text(text)
        };
        Ok(Value { at, data })
    }

    fn include(&mut self) -> Result<(), ParseError> {
        self.skip_blanks();
        let at = self.at();
        let name = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            _ => self.take_while(|c| !c.is_whitespace() && !matches!(c, ',' | ';' | '}')),
        };
        let path = self.file.parent().unwrap_or(Path::new("")).join(&name);
        if name.is_empty() {
            return Err(ParseError {
                at,
                message: "`include` names no file".to_owned(),
            });
        }
        if self.includes >= MAX_INCLUDES {
            return Err(ParseError {
                at,
                message: format!("`{name}` includes itself"),
            });
        }
        let text = self
            .shared
            .surroundings
            .read(&path)
            .map_err(|error| ParseError {
                at,
                message: format!("cannot include `{}`: {error}", path.display()),
            })?;
        let mut inner = Parser::new(&text, &path, self.shared, self.includes + 1, self.variables);
        inner.depth = self.depth;
        inner.document()
    }

    fn scope(&mut self) -> &mut Vec<Entry> {
        if self.shared.scopes.is_empty() {
            self.shared.scopes.push(Vec::new());
        }
        self.shared
            .scopes
            .last_mut()
            .expect("invariant: there is always a scope")
    }

    fn rest(&self) -> &'t str {
        &self.text[self.next..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_past_blanks(&self) -> Option<char> {
        self.rest().chars().find(|c| !matches!(c, ' ' | '\t'))
    }

    fn bump(&mut self) {
        let Some(c) = self.peek() else { return };
        self.next += c.len_utf8();
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let start = self.next;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        self.text[start..self.next].to_owned()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.bump();
        }
    }

    /// Blanks, line ends and comments.
    fn skip_space(&mut self) -> Result<(), ParseError> {
        while let Some(c) = self.peek() {
            if c == '#' || self.rest().starts_with("//") {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.bump();
                }
            } else if c == '\0' {
                return Err(self.error("a zero byte; is this a text file?"));
            } else if c.is_whitespace() {
                self.bump();
            } else {
                break;
            }
        }
        Ok(())
    }

    fn at(&self) -> At {
        At {
            file: self.name.clone(),
            line: self.line,
            column: self.column,
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            at: self.at(),
            message: message.into(),
        }
    }
}

fn size(data: &Data) -> usize {
    match data {
        Data::List(items) => items.iter().map(|item| 1 + size(&item.data)).sum(),
        Data::Map(entries) => entries
            .iter()
            .map(|entry| 1 + size(&entry.value.data))
            .sum(),
        _ => 0,
    }
}
