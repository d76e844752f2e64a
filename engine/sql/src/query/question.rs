//! What is asked: a text, the values of its parameters, and the form that the answer's rows take.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, Statement, TimezoneInfo, Value, VisitMut, VisitorMut,
};

use super::CellKind;
use crate::error::{Place, SqlError};

/// A question: one statement, `$1` and so on standing for its parameters.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// One `SELECT`, or `EXPLAIN` of one.
    pub text: String,
    /// The values of `$1`, `$2`, …
    pub parameters: Vec<Parameter>,
    /// What rows are told as.
    pub form: Form,
}

impl From<String> for Question {
    fn from(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }
}

/// What rows are told as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// [`super::Event::Columns`], then [`super::Event::Rows`]: JSON objects.
    #[default]
    Json,
    /// [`super::Event::Kinds`], then [`super::Event::Cells`]: values with their types.
    Cells,
    /// [`super::Event::Columns`], then [`super::Event::File`]: a Parquet file in pieces.
    Parquet,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// Not known, of a type.
    Null(CellKind),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number, `NaN` and infinities included.
    Float(f64),
    /// Anything else as text, which is read as the type says.
    Text(String, CellKind),
}

impl Parameter {
    /// As an expression, so that the planner sees what it would see had it been written there.
    fn expression(&self) -> Expr {
        let text = |text: &str| value(Value::SingleQuotedString(text.to_owned()));
        match self {
            Self::Null(kind) => typed(value(Value::Null), kind),
            Self::Bool(truth) => value(Value::Boolean(*truth)),
            Self::Int(number) => typed(text(&number.to_string()), &CellKind::Int64),
            Self::Float(number) => typed(text(&number.to_string()), &CellKind::Float64),
            Self::Text(given, CellKind::Text) => text(given),
            Self::Text(given, kind) => typed(text(given), kind),
        }
    }
}

fn value(value: Value) -> Expr {
    Expr::Value(value.into())
}

/// The value cast to a type, where casting says anything.
fn typed(value: Expr, kind: &CellKind) -> Expr {
    let data_type = match kind {
        CellKind::Bool => DataType::Boolean,
        CellKind::Int16 => DataType::SmallInt(None),
        CellKind::Int32 => DataType::Int(None),
        CellKind::Int64 => DataType::BigInt(None),
        CellKind::Float32 => DataType::Real,
        CellKind::Float64 => DataType::DoublePrecision,
        CellKind::Decimal { .. } => match &value {
            Expr::Value(number) => DataType::Decimal(digits(&number.value)),
            _ => DataType::Decimal(ExactNumberInfo::PrecisionAndScale(38, 10)),
        },
        CellKind::Date => DataType::Date,
        CellKind::Time => DataType::Time(None, TimezoneInfo::None),
        CellKind::Timestamp => DataType::Timestamp(None, TimezoneInfo::None),
        CellKind::TimestampUtc => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        CellKind::Text | CellKind::Bytes | CellKind::Json | CellKind::List(_) => {
            DataType::Varchar(None)
        }
    };
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value),
        data_type,
        array: false,
        format: None,
    }
}

/// As many digits behind the point as are written.
fn digits(number: &Value) -> ExactNumberInfo {
    const MOST: u64 = 38;
    let behind = match number {
        Value::SingleQuotedString(text) => {
            text.split_once('.').map_or(0, |(_, behind)| behind.len())
        }
        _ => 10,
    };
    let scale = i64::try_from(behind).unwrap_or(0).min(30);
    ExactNumberInfo::PrecisionAndScale(MOST, scale)
}

/// Puts values in the place of `$1`, `$2`, …; with `None` a parameter stays.
pub(super) fn fill(
    statement: &mut Statement,
    values: &[Option<Parameter>],
) -> Result<(), SqlError> {
    match statement.visit(&mut Fill(values)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Fill<'a>(&'a [Option<Parameter>]);

impl VisitorMut for Fill<'_> {
    type Break = Box<SqlError>;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Value(found) = expr else {
            return ControlFlow::Continue(());
        };
        let Value::Placeholder(name) = &found.value else {
            return ControlFlow::Continue(());
        };
        let at = Place::of(found.span).unwrap_or(Place::START);
        let number = name
            .strip_prefix('$')
            .and_then(|number| number.parse::<usize>().ok());
        let Some(index) = number.and_then(|number| number.checked_sub(1)) else {
            let error = SqlError::new(at, format!("`{name}` is no parameter"));
            return ControlFlow::Break(Box::new(error.hint("parameters are `$1`, `$2`, …")));
        };
        match self.0.get(index) {
            None => {
                let error = SqlError::new(at, format!("`{name}` is a parameter without a value"));
                ControlFlow::Break(Box::new(error.hint("write the value itself")))
            }
            Some(None) => ControlFlow::Continue(()),
            Some(Some(parameter)) => {
                *expr = Expr::Nested(Box::new(parameter.expression()));
                ControlFlow::Continue(())
            }
        }
    }
}

/// How many parameters a statement has: the highest number there is.
pub(super) fn count(statement: &mut Statement) -> usize {
    struct Count(usize);
    impl VisitorMut for Count {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Value(found) = expr
                && let Value::Placeholder(name) = &found.value
            {
                let number = name
                    .strip_prefix('$')
                    .and_then(|number| number.parse().ok());
                self.0 = self.0.max(number.unwrap_or(0));
            }
            ControlFlow::Continue(())
        }
    }
    let mut count = Count(0);
    let _all = statement.visit(&mut count);
    count.0
}
