//! Which messages a filter leaves to be read. Every part that is understood narrows them; the rest changes nothing, because
//! each row is held against the whole filter again.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use millstream_types::Timestamp;

use super::Bounds;
use crate::catalog::{SEQUENCE, SUBJECT, TIME};

/// The messages that pass all of these can only be among those.
pub(super) fn bounds(filters: &[Expr]) -> Bounds {
    let mut bounds = Bounds::default();
    for filter in filters {
        narrow(filter, &mut bounds);
    }
    bounds
}

/// Whether it says something about where messages stand.
pub(super) fn narrows(filter: &Expr) -> bool {
    bounds(std::slice::from_ref(filter)) != Bounds::default()
}

fn narrow(filter: &Expr, bounds: &mut Bounds) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => {
                narrow(left, bounds);
                narrow(right, bounds);
            }
            _ => match (&**left, &**right) {
                (Expr::Column(column), Expr::Literal(value, _)) => {
                    compare(&column.name, *op, value, bounds);
                }
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    if let Some(op) = op.swap() {
                        compare(&column.name, op, value, bounds);
                    }
                }
                _ => {}
            },
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => {
            if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                (&**expr, &**low, &**high)
            {
                compare(&column.name, Operator::GtEq, low, bounds);
                compare(&column.name, Operator::LtEq, high, bounds);
            }
        }
        Expr::Like(Like {
            negated: false,
            expr,
            pattern,
            escape_char: None,
            case_insensitive: false,
        }) => {
            if let (Expr::Column(column), Expr::Literal(pattern, _)) = (&**expr, &**pattern)
                && column.name == SUBJECT
                && let Some(pattern) = text(pattern).and_then(below)
            {
                bounds.subject = Some(pattern);
            }
        }
        _ => {}
    }
}

/// `column op value`.
fn compare(column: &str, op: Operator, value: &ScalarValue, bounds: &mut Bounds) {
    match column {
        SEQUENCE => {
            let Ok(ScalarValue::Int64(Some(number))) = value.cast_to(&DataType::Int64) else {
                return;
            };
            let at = |number: i64| u64::try_from(number).unwrap_or(0);
            if matches!(op, Operator::Eq | Operator::GtEq) {
                bounds.first = bounds.first.max(at(number));
            }
            if matches!(op, Operator::Eq | Operator::LtEq) {
                bounds.last = bounds.last.min(at(number));
            }
            if op == Operator::Gt {
                bounds.first = bounds.first.max(at(number.saturating_add(1)));
            }
            if op == Operator::Lt {
                bounds.last = bounds.last.min(at(number.saturating_sub(1)));
            }
        }
        TIME => {
            let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, None);
            let Ok(ScalarValue::TimestampNanosecond(Some(time), _)) = value.cast_to(&nanoseconds)
            else {
                return;
            };
            // A nanosecond too many costs nothing.
            let time = Timestamp(time);
            if matches!(op, Operator::Eq | Operator::GtEq | Operator::Gt) {
                bounds.from = Some(bounds.from.map_or(time, |known| known.max(time)));
            }
            if matches!(op, Operator::Eq | Operator::LtEq | Operator::Lt) {
                bounds.until = Some(bounds.until.map_or(time, |known| known.min(time)));
            }
        }
        SUBJECT if op == Operator::Eq => {
            // As a pattern, `*` and `>` would mean others.
            let literal = text(value).filter(|text| !text.is_empty() && !text.contains(['*', '>']));
            bounds.subject = literal.map(str::to_owned).or(bounds.subject.take());
        }
        _ => {}
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// `flights.UA.%` as `flights.UA.>`; `flights.U%` as `flights.>`.
fn below(pattern: &str) -> Option<String> {
    let sure = pattern.split(['%', '_']).next().unwrap_or_default();
    let tokens = sure.rsplit_once('.')?.0;
    let literal = tokens.split('.').all(|token| !token.is_empty());
    let more = pattern.len() > sure.len() && literal && !tokens.contains(['*', '>', '\\']);
    more.then(|| format!("{tokens}.>"))
}
