//! Values written into a statement: questions to PostgreSQL's catalog are put in other words with the values that they are asked
//! with, as what some functions answer depends on them.

use std::ops::ControlFlow;

use millstream_sql::query::{CellKind, Parameter};
use sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, TimezoneInfo, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// How many parameters a statement has: the greatest of their numbers.
pub(crate) fn count(sql: &str) -> usize {
    let mut most = Most(0);
    if sql.contains('$')
        && let Ok(mut statements) = Parser::parse_sql(&PostgreSqlDialect {}, sql)
    {
        let _all = statements.visit(&mut most);
    }
    most.0
}

/// The statement with values in the place of its parameters; `None` where it is none.
pub(crate) fn written(sql: &str, values: &[Parameter]) -> Option<String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    let statement = statements.first_mut()?;
    let _all = statement.visit(&mut Write(values));
    Some(statement.to_string())
}

fn number(value: &Value) -> Option<usize> {
    match value {
        Value::Placeholder(text) => text.strip_prefix('$')?.parse().ok(),
        _ => None,
    }
}

struct Most(usize);

impl VisitorMut for Most {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr {
            self.0 = self.0.max(number(&value.value).unwrap_or(0));
        }
        ControlFlow::Continue(())
    }
}

struct Write<'a>(&'a [Parameter]);

impl VisitorMut for Write<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Some(at) = number(&value.value).and_then(|number| number.checked_sub(1))
            && let Some(given) = self.0.get(at)
        {
            *expr = literal(given);
        }
        ControlFlow::Continue(())
    }
}

fn literal(given: &Parameter) -> Expr {
    let value = |value: Value| Expr::Value(value.into());
    match given {
        Parameter::Null(kind) => match type_of(kind) {
            Some(data_type) => Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(value(Value::Null)),
                data_type,
                array: false,
                format: None,
            },
            None => value(Value::Null),
        },
        Parameter::Bool(truth) => value(Value::Boolean(*truth)),
        Parameter::Int(number) => value(Value::Number(number.to_string(), false)),
        Parameter::Float(number) => value(Value::Number(number.to_string(), false)),
        Parameter::Text(text, _) => value(Value::SingleQuotedString(text.clone())),
    }
}

/// Types that a value that is not known may have.
fn type_of(kind: &CellKind) -> Option<DataType> {
    Some(match kind {
        CellKind::Bool => DataType::Boolean,
        CellKind::Int16 | CellKind::Int32 | CellKind::Int64 => DataType::BigInt(None),
        CellKind::Float32 | CellKind::Float64 => DataType::DoublePrecision,
        CellKind::Decimal { .. } => DataType::Decimal(ExactNumberInfo::None),
        CellKind::Timestamp => DataType::Timestamp(None, TimezoneInfo::None),
        // Texts are compared with anything.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_place_of_parameters() {
        let sql = "SELECT $2::VARCHAR FROM pg_class WHERE oid = $1 AND relname = $2 OR $3";
        assert_eq!(count(sql), 3);
        let values = [
            Parameter::Int(-7),
            Parameter::Text("it's".to_owned(), CellKind::Text),
            Parameter::Null(CellKind::Bool),
        ];
        assert_eq!(
            written(sql, &values).as_deref(),
            Some(
                "SELECT 'it''s'::VARCHAR FROM pg_class WHERE oid = -7 AND relname = 'it''s' OR CAST(NULL AS BOOLEAN)"
            )
        );
        assert_eq!(count("SELECT '$1'"), 0);
        assert_eq!(written("no SQL", &values), None);
    }
}
