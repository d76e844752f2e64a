//! What a declared column holds, as it is written: `int`, `decimal(12, 2)`, `list<struct<sku: string, qty: int>>`. The names
//! that SQL has for types, in either case, mean the same.

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

/// The first word of a type is how it is shown.
const WORDS: [(ValueType, &[&str]); 7] = [
    (ValueType::Bool, &["bool", "boolean"]),
    (
        ValueType::Int,
        &[
            "int", "integer", "bigint", "int64", "long", "smallint", "tinyint", "int32", "int16",
            "int8",
        ],
    ),
    (
        ValueType::Float,
        &["float", "number", "double", "float64", "real", "float32"],
    ),
    (
        ValueType::String,
        &["string", "varchar", "text", "char", "utf8"],
    ),
    (
        ValueType::Timestamp,
        &["timestamp", "timestamptz", "timestamp_ltz", "datetime"],
    ),
    (ValueType::Date, &["date"]),
    (ValueType::Json, &["json", "jsonb"]),
];

/// Words of types that are made of others.
const OTHERS: [&str; 6] = ["decimal", "numeric", "list", "array", "map", "struct"];

fn words() -> impl Iterator<Item = (&'static str, &'static ValueType)> {
    let words = |(kind, words): &'static (ValueType, &'static [&'static str])| {
        words.iter().map(move |word| (*word, kind))
    };
    WORDS.iter().flat_map(words)
}

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
                let word = words().find(|(_, kind)| *kind == plain);
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
        match word.to_ascii_lowercase().as_str() {
            "decimal" | "numeric" => self.decimal(),
            "list" | "array" => Ok(ValueType::List(Box::new(self.of(depth)?))),
            "map" => Ok(ValueType::Map(Box::new(self.of(depth)?))),
            "struct" => self.members(depth),
            lower => {
                let known = words().find(|(known, _)| *known == lower);
                let (_, kind) = known.ok_or_else(|| unknown(&word))?;
                self.length(kind)?;
                Ok(kind.clone())
            }
        }
    }

    fn decimal(&mut self) -> Result<ValueType, String> {
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

    /// SQL's `varchar(20)`, `timestamp(3)` and `double precision` hold what they would hold without it.
    fn length(&mut self, kind: &ValueType) -> Result<(), String> {
        if *kind == ValueType::Float
            && let Some(word) = self.rest.get(.."precision".len())
            && word.eq_ignore_ascii_case("precision")
        {
            self.word();
        }
        if matches!(kind, ValueType::String | ValueType::Timestamp) && self.took('(') {
            let word = self.word();
            word.parse::<u32>()
                .map_err(|_| format!("`{word}` is no length"))?;
            self.sign(')')?;
        }
        Ok(())
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
    let known = words().map(|(word, _)| word).chain(OTHERS);
    let near = nearest(&word.to_ascii_lowercase(), known);
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
    fn the_names_of_sql_are_types_as_well() {
        for (text, shown) in [
            ("BIGINT", "int"),
            ("int64", "int"),
            ("double", "float"),
            ("DOUBLE PRECISION", "float"),
            ("Varchar(20)", "string"),
            ("text", "string"),
            ("TIMESTAMP(3)", "timestamp"),
            ("timestamptz", "timestamp"),
            ("NUMERIC(12, 2)", "decimal(12, 2)"),
            ("array<struct<a: bigint>>", "list<struct<a: int>>"),
        ] {
            let kind: ValueType = text.parse().expect(text);
            assert_eq!(kind.to_string(), shown);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let error = |text: &str| text.parse::<ValueType>().expect_err(text);
        assert_eq!(error("strng"), "`strng` is no type: did you mean `string`?");
        assert_eq!(error("BIGNT"), "`BIGNT` is no type: did you mean `bigint`?");
        assert_eq!(error("varchar(x)"), "`x` is no length");
        assert_eq!(error("int(3)"), "nothing is expected where `(3)` stands");
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
