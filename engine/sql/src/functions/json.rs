//! JSON in texts and JSON columns: `->`, `->>` and the functions `json_…`, by the names of the crate
//! `datafusion-functions-json`.
//!
//! A member that is not there, and a value of another type than asked for, is NULL. Text that is no JSON is the row's error;
//! `json_valid` tells it before.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder,
    StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DFSchema, Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::texts;
use crate::catalog::json;
use crate::scan::one_line;

/// What is asked of the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ask {
    Json,
    Text,
    Str,
    Int,
    Float,
    Bool,
    Array,
    Contains,
    Length,
    Keys,
    Valid,
}

const ALL: [(Ask, &str, &[&str]); 11] = [
    (Ask::Json, "json_get", &["json_get_json"]),
    (Ask::Text, "json_as_text", &[]),
    (Ask::Str, "json_get_str", &[]),
    (Ask::Int, "json_get_int", &[]),
    (Ask::Float, "json_get_float", &[]),
    (Ask::Bool, "json_get_bool", &[]),
    (Ask::Array, "json_get_array", &[]),
    (Ask::Contains, "json_contains", &[]),
    (Ask::Length, "json_length", &["json_len"]),
    (Ask::Keys, "json_object_keys", &["json_keys"]),
    (Ask::Valid, "json_valid", &[]),
];

/// All of them.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    ALL.into_iter()
        .map(|(ask, name, aliases)| function(ask, name, aliases))
}

fn function(ask: Ask, name: &'static str, aliases: &[&str]) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(JsonFunction {
        ask,
        name,
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

/// Whether it takes JSON as its first argument.
pub(crate) fn is_json_function(function: &ScalarUDF) -> bool {
    ALL.iter().any(|(_, name, _)| *name == function.name())
}

/// `->` and `->>`.
#[derive(Debug)]
pub(crate) struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Arrow => function(Ask::Json, "json_get", &[]),
            BinaryOperator::LongArrow => function(Ask::Text, "json_as_text", &[]),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let args = vec![expr.left, expr.right];
        let call = ScalarFunction::new_udf(function, args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    ask: Ask,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let Some((first, path)) = types.split_first() else {
            return plan_err!(
                "`{}` takes JSON and a path. Write {0}(json, 'member', 0)",
                self.name
            );
        };
        // What is nested is replaced by its JSON later, or refused.
        let first = match first {
            nested if nested.is_nested() => nested.clone(),
            text if text.is_string() || text.is_null() => DataType::Utf8,
            other => return plan_err!("`{}` reads JSON text, not {other}", self.name),
        };
        let path = path.iter().map(|step| match step {
            step if step.is_integer() => Ok(DataType::Int64),
            step if step.is_string() || step.is_null() => Ok(DataType::Utf8),
            other => {
                plan_err!("a step into JSON is a member's name or an element's number, not {other}")
            }
        });
        std::iter::once(Ok(first)).chain(path).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let list = |field: Field| DataType::List(Arc::new(field));
        Ok(match self.ask {
            Ask::Json | Ask::Text | Ask::Str => DataType::Utf8,
            Ask::Int | Ask::Length => DataType::Int64,
            Ask::Float => DataType::Float64,
            Ask::Bool | Ask::Contains | Ask::Valid => DataType::Boolean,
            Ask::Array => list(json(Field::new_list_field(DataType::Utf8, true))),
            Ask::Keys => list(Field::new_list_field(DataType::Utf8, true)),
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = Field::new(self.name, self.return_type(&[])?, true);
        Ok(Arc::new(match self.ask {
            Ask::Json => json(field),
            _ => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let Some((first, path)) = args.args.split_first() else {
            return plan_err!("`{}` takes JSON and a path", self.name);
        };
        let texts = texts(first, rows)?;
        let path = path.iter().map(|step| step.to_array(rows));
        let path = path.collect::<Result<Vec<_>>>()?;
        let mut answers = Answers::new(self.ask);
        for row in 0..rows {
            if texts.is_null(row) {
                answers.push(None)?;
                continue;
            }
            answers.push(self.find(&texts, &path, row)?)?;
        }
        let array = answers.finish();
        // One value for all rows is asked for once.
        Ok(ColumnarValue::Array(array))
    }
}

/// What was found for a row.
enum Found<'a> {
    Value(&'a str),
    Missing,
    Invalid,
}

impl JsonFunction {
    fn find<'a>(
        &self,
        texts: &'a StringArray,
        path: &[ArrayRef],
        row: usize,
    ) -> Result<Option<Found<'a>>> {
        let text = texts.value(row);
        if self.ask == Ask::Valid {
            let valid = serde_json::from_str::<IgnoredAny>(text).is_ok();
            return Ok(Some(if valid {
                Found::Value(text)
            } else {
                Found::Invalid
            }));
        }
        let wrong = |error: serde_json::Error| exec_datafusion_err!("text is not JSON: {error}");
        let mut value = match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => raw.get(),
            Err(error) => return Err(wrong(error)),
        };
        for step in path {
            if step.is_null(row) {
                return Ok(Some(Found::Missing));
            }
            let below = match step.as_string_opt::<i32>() {
                Some(names) => below(value, &Step::Member(names.value(row))),
                None => {
                    let number = step.as_primitive::<Int64Type>().value(row);
                    match usize::try_from(number) {
                        Ok(index) => below(value, &Step::Element(index)),
                        Err(_) => Ok(None),
                    }
                }
            };
            match below.map_err(wrong)? {
                Some(below) => value = below.get(),
                None => return Ok(Some(Found::Missing)),
            }
        }
        Ok(Some(Found::Value(value)))
    }
}

enum Step<'s> {
    Member(&'s str),
    Element(usize),
}

/// One step into a value; of members with the same name the last one counts.
fn below<'a>(value: &'a str, step: &Step<'_>) -> serde_json::Result<Option<&'a RawValue>> {
    let kind = value.as_bytes().first();
    match (step, kind) {
        (Step::Member(_), Some(b'{')) | (Step::Element(_), Some(b'[')) => {
            let mut json = serde_json::Deserializer::from_str(value);
            Below(step).deserialize(&mut json)
        }
        _ => Ok(None),
    }
}

struct Below<'s>(&'s Step<'s>);

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(own) = map.next_key_seed(Named(self.0))? {
            if own {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut at = 0;
        let mut found = None;
        while let Some(value) = seq.next_element::<&RawValue>()? {
            if matches!(self.0, Step::Element(index) if *index == at) {
                found = Some(value);
            }
            at += 1;
        }
        Ok(found)
    }
}

/// Whether a member is the one.
struct Named<'s>(&'s Step<'s>);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Named<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(matches!(self.0, Step::Member(own) if *own == name))
    }
}

/// The answers of a batch.
enum Answers {
    Text(Ask, StringBuilder),
    Int(Ask, Int64Builder),
    Float(Float64Builder),
    Bool(Ask, BooleanBuilder),
    List(Ask, ListBuilder<StringBuilder>),
}

impl Answers {
    fn new(ask: Ask) -> Self {
        match ask {
            Ask::Json | Ask::Text | Ask::Str => Self::Text(ask, StringBuilder::new()),
            Ask::Int | Ask::Length => Self::Int(ask, Int64Builder::new()),
            Ask::Float => Self::Float(Float64Builder::new()),
            Ask::Bool | Ask::Contains | Ask::Valid => Self::Bool(ask, BooleanBuilder::new()),
            Ask::Keys => Self::List(ask, ListBuilder::new(StringBuilder::new())),
            Ask::Array => {
                let field = json(Field::new_list_field(DataType::Utf8, true));
                Self::List(
                    ask,
                    ListBuilder::new(StringBuilder::new()).with_field(field),
                )
            }
        }
    }

    fn push(&mut self, found: Option<Found<'_>>) -> Result<()> {
        let raw = match &found {
            Some(Found::Value(raw)) => Some(*raw),
            _ => None,
        };
        let there = raw.filter(|raw| *raw != "null");
        match self {
            Self::Text(ask, answers) => match there {
                None => answers.append_null(),
                Some(raw) if *ask == Ask::Json => answers.append_value(one_line(raw.into())),
                Some(raw) if raw.starts_with('"') => answers.append_value(read::<String>(raw)?),
                Some(raw) => answers.append_option((*ask == Ask::Text).then_some(raw)),
            },
            Self::Int(Ask::Length, answers) => answers.append_option(there.and_then(length)),
            Self::Int(_, answers) => answers.append_option(there.and_then(|raw| raw.parse().ok())),
            Self::Float(answers) => {
                let number = there.filter(|raw| !raw.starts_with(['"', '{', '[', 't', 'f']));
                answers.append_option(number.map(read::<f64>).transpose()?);
            }
            Self::Bool(Ask::Contains, answers) => {
                answers.append_option(found.is_some().then_some(raw.is_some()));
            }
            Self::Bool(Ask::Valid, answers) => {
                answers.append_option(found.is_some().then_some(raw.is_some()));
            }
            Self::Bool(_, answers) => answers.append_option(there.and_then(|raw| raw.parse().ok())),
            Self::List(Ask::Array, answers) => {
                let elements = there.filter(|raw| raw.starts_with('['));
                for element in elements
                    .map(read::<Vec<&RawValue>>)
                    .transpose()?
                    .iter()
                    .flatten()
                {
                    let value = Some(element.get()).filter(|raw| *raw != "null");
                    answers
                        .values()
                        .append_option(value.map(|raw| one_line(raw.into())));
                }
                answers.append(elements.is_some());
            }
            Self::List(_, answers) => {
                let object = there.filter(|raw| raw.starts_with('{'));
                for key in object
                    .map(read::<Keys>)
                    .transpose()?
                    .iter()
                    .flat_map(|keys| &keys.0)
                {
                    answers.values().append_value(key);
                }
                answers.append(object.is_some());
            }
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(_, mut answers) => Arc::new(answers.finish()),
            Self::Int(_, mut answers) => Arc::new(answers.finish()),
            Self::Float(mut answers) => Arc::new(answers.finish()),
            Self::Bool(_, mut answers) => Arc::new(answers.finish()),
            Self::List(_, mut answers) => Arc::new(answers.finish()),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a str) -> Result<T> {
    serde_json::from_str(raw).map_err(|error| exec_datafusion_err!("text is not JSON: {error}"))
}

fn length(raw: &str) -> Option<i64> {
    let count = match raw.as_bytes().first()? {
        b'[' => serde_json::from_str::<Vec<IgnoredAny>>(raw).ok()?.len(),
        b'{' => serde_json::from_str::<Keys>(raw).ok()?.0.len(),
        _ => return None,
    };
    i64::try_from(count).ok()
}

/// The names of an object's members, in order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let (mut keys, mut seen) = (Vec::new(), HashSet::new());
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.insert(key.clone()) {
                        keys.push(key);
                    }
                }
                Ok(Keys(keys))
            }
        }
        from.deserialize_map(All)
    }
}
