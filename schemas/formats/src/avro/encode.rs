//! From a [`Value`] to the binary encoding.

use serde_json::Value as Json;

use super::cursor::{self, Fault, fault, put_long, put_sized};
use super::decode::per_second;
use super::defaults::put_default;
use super::table::{Id, Kind, Logical, Record, Table, Type};
use super::walk::is_uuid;
use crate::{Instant, Unit, Value, text};

/// Values looked at for one payload: trying the branches of unions within unions multiplies.
const MAX_STEPS: usize = 16_000_000;
/// Deepest nesting of defaults and values, with what stands innermost.
const MAX_DEPTH: usize = cursor::MAX_DEPTH + 1;

pub(super) struct Encoder<'a> {
    pub(super) table: &'a Table,
    steps: usize,
    pub(super) depth: usize,
}

impl Table {
    pub(super) fn encode(&self, value: &Value) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        Encoder::new(self, MAX_STEPS).put(self.root, value, &mut out)?;
        Ok(out)
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn new(table: &'a Table, steps: usize) -> Self {
        Self {
            table,
            steps,
            depth: 0,
        }
    }

    fn count(&mut self) -> Result<(), Fault> {
        match self.steps.checked_sub(1) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => fault(
                "union",
                "a value whose branches are told apart",
                "too many that may fit",
            ),
        }
    }

    /// Goes one level down.
    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.count()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(
                "depth",
                format!("at most {MAX_DEPTH} levels"),
                "deeper nesting",
            );
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn put(&mut self, id: Id, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        // A union is no level of its own: its branch is.
        if let Kind::Union(branches) = &self.table.get(id).kind {
            self.count()?;
            return self.union(branches, value, out);
        }
        self.enter()?;
        self.put_kind(id, value, out)?;
        self.leave();
        Ok(())
    }

    fn put_kind(&mut self, id: Id, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let table = self.table;
        let Type { kind, logical } = table.get(id);
        match (kind, value) {
            (Kind::Null, Value::Null) => {}
            (Kind::Boolean, Value::Bool(yes)) => out.push(u8::from(*yes)),
            (Kind::Int, _) => {
                let long = to_long(value, *logical, "int")?;
                let Ok(int) = i32::try_from(long) else {
                    return fault("range", "an int of 32 bits", long.to_string());
                };
                put_long(out, int.into());
            }
            (Kind::Long, _) => put_long(out, to_long(value, *logical, "long")?),
            (Kind::Float, _) => out.extend_from_slice(&to_float(value)?.to_le_bytes()),
            (Kind::Double, _) => out.extend_from_slice(&to_double(value, "double")?.to_le_bytes()),
            (Kind::Bytes, _) => put_sized(out, &to_bytes(value, *logical, None)?),
            (Kind::Fixed(fixed), _) => {
                let bytes = to_bytes(value, *logical, Some(fixed.size))?;
                if bytes.len() != fixed.size {
                    return fault(
                        "length",
                        format!("{} bytes", fixed.size),
                        format!("{} bytes", bytes.len()),
                    );
                }
                out.extend_from_slice(&bytes);
            }
            (Kind::String, _) => put_sized(out, to_text(value, *logical)?.as_bytes()),
            (Kind::Enum(symbols), Value::String(word)) => {
                let found = symbols.symbols.iter().position(|symbol| symbol == word);
                let Some(number) = found else {
                    let known = symbols.symbols.join("`, `");
                    return fault("symbol", format!("one of `{known}`"), format!("`{word}`"));
                };
                put_long(out, number.try_into().unwrap_or(i64::MAX));
            }
            (Kind::Array(items), Value::List(list)) => {
                if !list.is_empty() {
                    put_long(out, list.len().try_into().unwrap_or(i64::MAX));
                    for (index, item) in list.iter().enumerate() {
                        let put = self.put(*items, item, out);
                        put.map_err(|fault| fault.within(index.to_string()))?;
                    }
                }
                out.push(0);
            }
            (Kind::Map(values), Value::Object(members)) => {
                if !members.is_empty() {
                    put_long(out, members.len().try_into().unwrap_or(i64::MAX));
                    for (key, value) in members {
                        put_sized(out, key.as_bytes());
                        let put = self.put(*values, value, out);
                        put.map_err(|fault| fault.within(key))?;
                    }
                }
                out.push(0);
            }
            (Kind::Record(record), Value::Object(members)) => self.record(record, members, out)?,
            (_, value) => return fault("type", table.word(id), shown(value)),
        }
        Ok(())
    }

    fn record(
        &mut self,
        record: &'a Record,
        members: &[(String, Value)],
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut used = 0;
        for (place, field) in record.fields.iter().enumerate() {
            // Mostly the members come in the fields' order.
            let member = members
                .get(place)
                .filter(|(name, _)| *name == field.label)
                .or_else(|| members.iter().find(|(name, _)| *name == field.label));
            let put = match (member, &field.bytes) {
                (Some((_, value)), _) => {
                    used += 1;
                    match self.json_branch(field.id) {
                        Some((number, id)) if field.optional && *value == Value::Null => {
                            put_long(out, number);
                            self.put(id, value, out)
                        }
                        _ => self.put(field.id, value, out),
                    }
                }
                (None, Some(default)) => put_default(default, out),
                (None, None) if self.nullable(field.id) => self.put(field.id, &Value::Null, out),
                (None, None) => fault("required", "a value", "nothing"),
            };
            put.map_err(|fault| fault.within(&field.label))?;
        }
        if used < members.len() {
            let unknown = members
                .iter()
                .find(|(name, _)| record.fields.iter().all(|field| field.label != *name));
            if let Some((name, _)) = unknown {
                let known = format!("a field of `{}`", record.name.full);
                return fault("unknown", known, format!("`{name}`"));
            }
        }
        Ok(())
    }

    /// The branch of a union that is any JSON: in a member that may be absent, null is JSON's.
    fn json_branch(&self, id: Id) -> Option<(i64, Id)> {
        let Kind::Union(branches) = &self.table.get(id).kind else {
            return None;
        };
        let json = |id: &Id| self.table.get(*id).logical == Some(Logical::Json);
        let number = branches.iter().position(json)?;
        Some((number.try_into().ok()?, branches[number]))
    }

    fn nullable(&self, id: Id) -> bool {
        match &self.table.get(id).kind {
            Kind::Null => true,
            Kind::Union(branches) => branches
                .iter()
                .any(|id| matches!(self.table.get(*id).kind, Kind::Null)),
            _ => false,
        }
    }

    fn union(&mut self, branches: &[Id], value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let table = self.table;
        let branch_of = |number: usize, out: &mut Vec<u8>| {
            put_long(out, number.try_into().unwrap_or(i64::MAX));
        };
        if *value == Value::Null
            && let Some(number) = branches
                .iter()
                .position(|id| matches!(table.get(*id).kind, Kind::Null))
        {
            branch_of(number, out);
            return Ok(());
        }
        if table.plain(branches) {
            let only = branches
                .iter()
                .position(|id| !matches!(table.get(*id).kind, Kind::Null));
            let Some(number) = only else {
                return fault("type", "null", shown(value));
            };
            branch_of(number, out);
            return self.put(branches[number], value, out);
        }
        if let Value::Object(members) = value
            && let [(word, inner)] = members.as_slice()
            && let Some(number) = branches.iter().position(|id| table.word(*id) == *word)
        {
            branch_of(number, out);
            let put = self.put(branches[number], inner, out);
            return put.map_err(|fault| fault.within(word));
        }
        self.guess(branches, value, out)
    }

    /// A value without its branch's name: the only branch that takes it.
    fn guess(&mut self, branches: &[Id], value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut found: Option<(usize, Vec<u8>)> = None;
        let depth = self.depth;
        for (number, id) in branches.iter().enumerate() {
            let mut tried = Vec::new();
            let taken = self.put(*id, value, &mut tried).is_ok();
            self.depth = depth;
            if taken {
                if found.is_some() {
                    let words: Vec<String> =
                        branches.iter().map(|id| self.table.word(*id)).collect();
                    let expected = format!("an object that names one of `{}`", words.join("`, `"));
                    return fault(
                        "union",
                        expected,
                        format!("{}, which fits several", shown(value)),
                    );
                }
                found = Some((number, tried));
            }
        }
        self.count()?;
        let Some((number, bytes)) = found else {
            let words: Vec<String> = branches.iter().map(|id| self.table.word(*id)).collect();
            return fault(
                "union",
                format!("one of `{}`", words.join("`, `")),
                shown(value),
            );
        };
        put_long(out, number.try_into().unwrap_or(i64::MAX));
        out.extend_from_slice(&bytes);
        Ok(())
    }
}

/// A value in a few words.
fn shown(value: &Value) -> String {
    let text = value.to_json().to_string();
    let short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short + "…"
    } else {
        short
    }
}

fn to_long(value: &Value, logical: Option<Logical>, what: &str) -> Result<i64, Fault> {
    let by_text = |text: &str| match logical {
        Some(Logical::Date) => text::parse_date(text).map(i64::from),
        Some(Logical::Time(unit)) => text::parse_time(text).and_then(|nanos| whole(nanos, unit)),
        Some(Logical::Timestamp(unit)) => {
            text::parse_timestamp(text).and_then(|at| from_instant(at, unit))
        }
        Some(Logical::LocalTimestamp(unit)) => {
            text::parse_local_timestamp(text).and_then(|at| from_instant(at, unit))
        }
        _ => text.parse().ok(),
    };
    let found = match (value, logical) {
        (Value::Int(number), _) => Some(*number),
        (Value::Float(number), _) => exact(f64::from(*number)),
        (Value::Double(number), _) => exact(*number),
        (Value::String(text), _) => by_text(text),
        (Value::Date(days), Some(Logical::Date) | None) => Some(i64::from(*days)),
        (Value::Time(nanos), Some(Logical::Time(unit))) => whole(*nanos, unit),
        (Value::Timestamp(at), Some(Logical::Timestamp(unit)))
        | (Value::LocalTimestamp(at), Some(Logical::LocalTimestamp(unit))) => {
            from_instant(*at, unit)
        }
        _ => None,
    };
    let expected = match logical {
        Some(Logical::Date) => "a date such as `2026-11-23`",
        Some(Logical::Time(_)) => {
            "a time such as `13:05:09.25`, in the schema's unit without a rest"
        }
        Some(Logical::Timestamp(_)) => {
            "a time such as `2026-11-23T13:05:09Z`, in the schema's unit without a rest"
        }
        Some(Logical::LocalTimestamp(_)) => {
            "a time such as `2026-11-23T13:05:09`, in the schema's unit without a rest"
        }
        _ => what,
    };
    found.map_or_else(|| fault("type", expected, shown(value)), Ok)
}

/// A whole number of an integer's range.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and in range"
)]
fn exact(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number)).then_some(number as i64)
}

fn whole(nanos: i64, unit: Unit) -> Option<i64> {
    let step = 1_000_000_000 / per_second(unit);
    (nanos % step == 0).then_some(nanos / step)
}

fn from_instant(at: Instant, unit: Unit) -> Option<i64> {
    let rest = whole(at.nanos.into(), unit)?;
    at.seconds.checked_mul(per_second(unit))?.checked_add(rest)
}

#[expect(clippy::cast_possible_truncation, reason = "compared afterwards")]
fn to_float(value: &Value) -> Result<f32, Fault> {
    if let Value::Float(number) = value {
        return Ok(*number);
    }
    let double = to_double(value, "float")?;
    let float = double as f32;
    // JSON has no single precision: its text is read as the nearest, but what is too large would become infinite.
    if float.is_infinite() && double.is_finite() {
        return fault("range", "a float of 32 bits", shown(value));
    }
    Ok(float)
}

#[expect(clippy::cast_precision_loss, reason = "compared afterwards")]
fn to_double(value: &Value, what: &str) -> Result<f64, Fault> {
    let found = match value {
        Value::Double(number) => Some(*number),
        Value::Float(number) => Some(f64::from(*number)),
        Value::Int(number) => Some(*number as f64).filter(|double| exact(*double) == Some(*number)),
        Value::UInt(number) => Some(*number as f64).filter(|double| *double as u64 == *number),
        Value::String(text) => text::parse_double(text),
        _ => None,
    };
    found.map_or_else(|| fault("type", what, shown(value)), Ok)
}

fn to_bytes(
    value: &Value,
    logical: Option<Logical>,
    size: Option<usize>,
) -> Result<Vec<u8>, Fault> {
    match logical {
        Some(Logical::Decimal { precision, scale }) => to_decimal(value, precision, scale, size),
        Some(Logical::Uuid) => match value {
            Value::String(text) if is_uuid(text) => {
                let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
                let pairs = digits
                    .chunks(2)
                    .filter_map(|pair| std::str::from_utf8(pair).ok());
                Ok(pairs
                    .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
                    .collect())
            }
            Value::Bytes(bytes) => Ok(bytes.clone()),
            other => fault("format", "a UUID", shown(other)),
        },
        Some(Logical::Duration) => {
            let parts = match value {
                Value::Period {
                    months,
                    days,
                    millis,
                } => Some((*months, *days, *millis)),
                Value::String(text) => text::parse_period(text),
                _ => None,
            };
            let Some((months, days, millis)) = parts else {
                return fault("format", "a duration such as `P1M2DT3.5S`", shown(value));
            };
            Ok([months, days, millis]
                .iter()
                .flat_map(|part| part.to_le_bytes())
                .collect())
        }
        _ => match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            Value::String(text) => match text::parse_base64(text) {
                Some(bytes) => Ok(bytes),
                None => fault("format", "bytes as base64 text", shown(value)),
            },
            other => fault("type", "bytes", shown(other)),
        },
    }
}

fn to_decimal(
    value: &Value,
    precision: u32,
    scale: u32,
    size: Option<usize>,
) -> Result<Vec<u8>, Fault> {
    use num_bigint::BigInt;
    let wrong = || {
        let expected =
            format!("a decimal of at most {precision} digits, {scale} of them behind the point");
        fault("format", expected, shown(value))
    };
    let parts = match value {
        Value::Decimal { unscaled, scale } => Some((unscaled.clone(), *scale)),
        Value::String(text) => text::parse_decimal(text),
        Value::Int(number) => text::parse_decimal(&number.to_string()),
        Value::UInt(number) => text::parse_decimal(&number.to_string()),
        Value::Double(number) => text::parse_decimal(&text::double(*number)),
        _ => None,
    };
    let Some((unscaled, has)) = parts else {
        return wrong();
    };
    let same = matches!(value, Value::Decimal { .. }) && has == scale;
    if same && size.is_none_or(|size| size == unscaled.len()) {
        return Ok(unscaled);
    }
    let mut number = BigInt::from_signed_bytes_be(&unscaled);
    let ten = BigInt::from(10);
    if has > precision.saturating_add(scale).saturating_add(10_000) {
        return wrong();
    }
    for _ in has..scale {
        number *= &ten;
    }
    for _ in scale..has {
        if &number % &ten != BigInt::ZERO {
            return wrong();
        }
        number /= &ten;
    }
    let digits = number.to_string();
    if digits.trim_start_matches('-').len() > precision as usize {
        return wrong();
    }
    let bytes = number.to_signed_bytes_be();
    match size {
        None => Ok(bytes),
        Some(size) if bytes.len() <= size => {
            let sign = if digits.starts_with('-') { 0xff } else { 0 };
            let mut wide = vec![sign; size - bytes.len()];
            wide.extend_from_slice(&bytes);
            Ok(wide)
        }
        Some(_) => wrong(),
    }
}

fn to_text(value: &Value, logical: Option<Logical>) -> Result<String, Fault> {
    match (logical, value) {
        (Some(Logical::Json), value) => Ok(value.to_json().to_string()),
        (Some(Logical::Uuid), Value::String(text)) if is_uuid(text) => Ok(text.clone()),
        (Some(Logical::Uuid), value) => fault("format", "a UUID", shown(value)),
        (Some(Logical::UInt64), value) => {
            let number = match value {
                Value::Int(number) => u64::try_from(*number).ok(),
                Value::UInt(number) => Some(*number),
                Value::String(text) => text.parse().ok(),
                _ => None,
            };
            number.map_or_else(
                || fault("range", "a whole number without a sign", shown(value)),
                |number| Ok(number.to_string()),
            )
        }
        (_, Value::String(text)) => Ok(text.clone()),
        // Times and decimals have a text of their own; a number or a list does not become text by itself.
        (
            _,
            Value::Decimal { .. }
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::LocalTimestamp(_)
            | Value::Period { .. }
            | Value::Bytes(_),
        ) => match value.to_json() {
            Json::String(text) => Ok(text),
            other => fault("type", "string", other.to_string()),
        },
        (_, other) => fault("type", "string", shown(other)),
    }
}
