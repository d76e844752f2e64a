//! What a declared column holds, as it is written: `int`, `decimal(12, 2)`, `list<struct<sku: string, qty: int>>`.

use std::fmt;
use std::str::FromStr;

use millstream_types::nearest;
use serde::{Deserialize, Serialize};

use super::AddedColumn;

/// Levels of types within types.
const MAX_DEPTH: usize = 16;
/// Most digits of a decimal.
const MAX_DIGITS: u8 = 38;

/// What a column holds. Serialised as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ValueType {
    /// `true` or `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, floating point.
    Float,
    /// Text.
    String,
    /// An RFC 3339 time.
    Timestamp,
    /// A day, `2026-11-23`.
    Date,
    /// An exact number: most digits, and how many of them stand behind the point.
    Decimal(u8, u8),
    /// Values of one type.
    List(Box<Self>),
    /// Named values of one type.
    Map(Box<Self>),
    /// Named values of their own types.
    Struct(Vec<AddedColumn>),
    /// Any JSON value.
    Json,
}

const WORDS: [(&str, ValueType); 10] = [
    ("bool", ValueType::Bool),
    ("int", ValueType::Int),
    ("float", ValueType::Float),
    ("string", ValueType::String),
    ("timestamp", ValueType::Timestamp),
    ("date", ValueType::Date),
    ("json", ValueType::Json),
    ("boolean", ValueType::Bool),
    ("integer", ValueType::Int),
    ("number", ValueType::Float),
];

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(precision, scale) => write!(f, "decimal({precision}, {scale})"),
            Self::List(of) => write!(f, "list<{of}>"),
            Self::Map(of) => write!(f, "map<{of}>"),
            Self::Struct(members) => {
                f.write_str("struct<")?;
                for (index, member) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", member.name, member.kind)?;
                }
                f.write_str(">")
            }
            plain => {
                let mut words = WORDS.iter();
                let word = words.find(|(_, kind)| kind == plain);
                f.write_str(word.map_or("json", |(word, _)| word))
            }
        }
    }
}

impl From<ValueType> for String {
    fn from(kind: ValueType) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for ValueType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for ValueType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.trim() };
        let kind = reader.kind(MAX_DEPTH)?;
        match reader.rest.is_empty() {
            true => Ok(kind),
            false => Err(format!(
                "nothing is expected where `{}` stands",
                reader.rest
            )),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn kind(&mut self, depth: usize) -> Result<ValueType, String> {
        if depth == 0 {
            return Err(format!(
                "types are nested more than {MAX_DEPTH} levels deep"
            ));
        }
        let word = self.word();
        match word.as_str() {
            "decimal" => {
                self.sign('(')?;
                let precision = self.number()?;
                let scale = match self.took(',') {
                    true => self.number()?,
                    false => 0,
                };
                self.sign(')')?;
                match (1..=MAX_DIGITS).contains(&precision) && scale <= precision {
                    true => Ok(ValueType::Decimal(precision, scale)),
                    false => Err(format!(
                        "`decimal({precision}, {scale})`: write from 1 to {MAX_DIGITS} digits, and no more of them behind the point"
                    )),
                }
            }
            "list" => Ok(ValueType::List(Box::new(self.of(depth)?))),
            "map" => Ok(ValueType::Map(Box::new(self.of(depth)?))),
            "struct" => self.members(depth),
            word => {
                let known = WORDS.iter().find(|(known, _)| *known == word);
                known
                    .map(|(_, kind)| kind.clone())
                    .ok_or_else(|| unknown(word))
            }
        }
    }

    fn of(&mut self, depth: usize) -> Result<ValueType, String> {
        self.sign('<')?;
        let kind = self.kind(depth - 1)?;
        self.sign('>')?;
        Ok(kind)
    }

    fn members(&mut self, depth: usize) -> Result<ValueType, String> {
        self.sign('<')?;
        let mut members: Vec<AddedColumn> = Vec::new();
        loop {
            let name = self.word();
            if name.is_empty() {
                return Err(
                    "a member of a struct has no name: write `struct<name: type>`".to_owned(),
                );
            }
            if members.iter().any(|member| member.name == name) {
                return Err(format!("two members of a struct are called `{name}`"));
            }
            self.sign(':')?;
            let kind = self.kind(depth - 1)?;
            members.push(AddedColumn { name, kind });
            if !self.took(',') {
                break;
            }
        }
        self.sign('>')?;
        Ok(ValueType::Struct(members))
    }

    /// Letters, digits and `_`, and blanks before.
    fn word(&mut self) -> String {
        let rest = self.rest.trim_start();
        let own = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let end = rest.find(|c| !own(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest.trim_start();
        word.to_owned()
    }

    fn number(&mut self) -> Result<u8, String> {
        let word = self.word();
        word.parse()
            .map_err(|_| format!("`{word}` is no number of digits"))
    }

    fn took(&mut self, sign: char) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        match self.took(sign) {
            true => Ok(()),
            false if self.rest.is_empty() => Err(format!("`{sign}` is expected at the end")),
            false => Err(format!("`{sign}` is expected before `{}`", self.rest)),
        }
    }
}

fn unknown(word: &str) -> String {
    let words = WORDS.iter().map(|(word, _)| *word);
    let others = ["decimal", "list", "map", "struct"];
    let near = nearest(word, words.chain(others));
    match near {
        Some(near) => format!("`{word}` is no type: did you mean `{near}`?"),
        None => format!(
            "`{word}` is no type: one of bool, int, float, string, timestamp, date, json, decimal(12, 2), list<…>, map<…>, struct<name: …>"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::ValueType;

    #[test]
    fn what_is_read_is_shown_the_same() {
        for text in [
            "bool",
            "decimal(12, 2)",
            "list<string>",
            "map<list<int>>",
            "struct<sku: string, parts: list<struct<a: date, b: decimal(3, 0)>>>",
        ] {
            let kind: ValueType = text.parse().expect(text);
            assert_eq!(kind.to_string(), text);
        }
        let kind: ValueType = " struct< a:integer,b : number > ".parse().expect("blanks");
        assert_eq!(kind.to_string(), "struct<a: int, b: float>");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let error = |text: &str| text.parse::<ValueType>().expect_err(text);
        assert_eq!(error("strng"), "`strng` is no type: did you mean `string`?");
        assert_eq!(error("list<int"), "`>` is expected at the end");
        assert_eq!(error("list(int)"), "`<` is expected before `(int)`");
        assert_eq!(
            error("int, float"),
            "nothing is expected where `, float` stands"
        );
        assert_eq!(
            error("struct<a: int, a: int>"),
            "two members of a struct are called `a`"
        );
        assert!(error("decimal(40, 2)").contains("from 1 to 38"));
        assert!(error(&"list<".repeat(20)).contains("16 levels"));
    }
}
