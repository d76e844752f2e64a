//! Values, and what a word without quotes is.

use super::{Entry, Value};

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A whole number, units multiplied in.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// A text, quoted or not.
    Text(String),
    /// A time such as `2016-05-04T18:53:41Z`, as written.
    Time(String),
    /// `[ … ]`.
    List(Vec<Value>),
    /// `{ … }`.
    Map(Vec<Entry>),
}

impl Data {
    /// What it is, for messages.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Time(_) => "a time",
            Self::List(_) => "a list",
            Self::Map(_) => "a block",
        }
    }
}

/// What a word without quotes is; `Err` for a number that is too large.
pub(super) fn word(text: &str) -> Result<Data, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return Ok(Data::Bool(true)),
        "false" | "no" | "off" => return Ok(Data::Bool(false)),
        _ => {}
    }
    if let Some(number) = number(text) {
        return number;
    }
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((whole, fraction)) = text.strip_prefix('-').unwrap_or(text).split_once('.')
        && !whole.is_empty()
        && !fraction.is_empty()
        && digits_only(whole)
        && digits_only(fraction)
        && let Ok(value) = text.parse()
    {
        return Ok(Data::Float(value));
    }
    Ok(if is_time(text) {
        Data::Time(text.to_owned())
    } else {
        Data::Text(text.to_owned())
    })
}

/// A size such as `8MB`, `64mib`, `1024`: `k`, `m` … count in 1000s, `kb`, `ki`, `kib` … in 1024s.
#[must_use]
pub fn parse_size(text: &str) -> Option<i64> {
    number(text.trim()).and_then(|data| match data {
        Ok(Data::Int(value)) => Some(value),
        _ => None,
    })
}

/// A whole number with an optional unit; none when the text is something else.
fn number(text: &str) -> Option<Result<Data, String>> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(unsigned.len());
    let (digits, unit) = unsigned.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let factor = factor(unit)?;
    let value = digits
        .parse::<i64>()
        .ok()
        .and_then(|value| value.checked_mul(factor));
    let too_large = || format!("`{text}` is too large");
    let signed = value.map(|value| if text.starts_with('-') { -value } else { value });
    Some(signed.map(Data::Int).ok_or_else(too_large))
}

fn factor(unit: &str) -> Option<i64> {
    let unit = unit.to_ascii_lowercase();
    let Some(letter) = unit.chars().next() else {
        return Some(1);
    };
    let power = u32::try_from("kmgtpe".find(letter)?).ok()? + 1;
    match &unit[1..] {
        "" => Some(1000_i64.pow(power)),
        "b" | "i" | "ib" => Some(1024_i64.pow(power)),
        _ => None,
    }
}

/// `yyyy-mm-ddThh:mm:ssZ`.
fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == form.len()
        && text.chars().zip(form.chars()).all(|(c, like)| match like {
            'd' => c.is_ascii_digit(),
            other => c == other,
        })
}
