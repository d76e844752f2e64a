//! Parameters that are lists: `x = ANY ($1)` and `x <> ALL ($1)`, as drivers write a list of values.
//!
//! The engine has no parameter of that type. Until values are known, `$1` stands for one of them, whose type is then that of `x`;
//! when they are, the list is written out as parameters of its own.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use millstream_sql::query::Parameter;
use sqlparser::ast::{BinaryOperator, Expr, Statement, Value, VisitMut, VisitorMut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// A statement with such parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lists {
    statement: Statement,
    numbers: BTreeSet<usize>,
}

/// What is bound to a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    One(Parameter),
    /// `None` is not known, which is no list without values.
    Many(Option<Vec<Parameter>>),
}

impl Lists {
    /// Looks for them; most statements have none.
    pub(crate) fn of(sql: &str) -> Option<Self> {
        let upper = sql.to_ascii_uppercase();
        if !sql.contains('$')
            || !["ANY", "ALL", "SOME"]
                .iter()
                .any(|word| upper.contains(word))
        {
            return None;
        }
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
        let mut statement = statements.pop().filter(|_| statements.is_empty())?;
        let mut found = Found::default();
        let _all = statement.visit(&mut found);
        let numbers = found.0;
        (!numbers.is_empty()).then_some(Self { statement, numbers })
    }

    /// Whether a parameter is a list.
    pub(crate) fn has(&self, number: usize) -> bool {
        self.numbers.contains(&number)
    }

    /// The statement with a value in each list's place.
    pub(crate) fn with_values(&self) -> String {
        let mut statement = self.statement.clone();
        let _all = statement.visit(&mut One);
        statement.to_string()
    }

    /// The statement with its lists written out, and all of its parameters.
    pub(crate) fn written_out(&self, bound: Vec<Bound>) -> (String, Vec<Parameter>) {
        let mut lists = Vec::new();
        let mut parameters = Vec::new();
        for value in bound {
            match value {
                Bound::One(value) => {
                    parameters.push(value);
                    lists.push(None);
                }
                Bound::Many(values) => {
                    // Its own number is not asked for any more.
                    parameters.push(Parameter::Bool(false));
                    lists.push(Some(values));
                }
            }
        }
        let mut statement = self.statement.clone();
        let mut many = Many { lists, parameters };
        let _all = statement.visit(&mut many);
        (statement.to_string(), many.parameters)
    }
}

/// The number of a parameter, with a type or without.
fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(text) => text.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        Expr::Cast { expr, .. } | Expr::Nested(expr) => number(expr),
        _ => None,
    }
}

/// `x = ANY ($1)` or `x <> ALL ($1)`: `x`, the number, and whether it is the latter.
fn parts(expr: &Expr) -> Option<(&Expr, usize, bool)> {
    match expr {
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } => Some((left, number(right)?, false)),
        Expr::AllOp {
            left,
            compare_op: BinaryOperator::NotEq,
            right,
        } => Some((left, number(right)?, true)),
        _ => None,
    }
}

#[derive(Default)]
struct Found(BTreeSet<usize>);

impl VisitorMut for Found {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.extend(parts(expr).map(|(_, number, _)| number));
        ControlFlow::Continue(())
    }
}

fn placeholder(number: usize) -> Expr {
    Expr::Value(Value::Placeholder(format!("${number}")).into())
}

struct One;

impl VisitorMut for One {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some((left, number, is_not)) = parts(expr) {
            let op = if is_not {
                BinaryOperator::NotEq
            } else {
                BinaryOperator::Eq
            };
            let (left, right) = (Box::new(left.clone()), Box::new(placeholder(number)));
            *expr = Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }));
        }
        ControlFlow::Continue(())
    }
}

struct Many {
    lists: Vec<Option<Option<Vec<Parameter>>>>,
    parameters: Vec<Parameter>,
}

impl VisitorMut for Many {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some((left, number, negated)) = parts(expr) else {
            return ControlFlow::Continue(());
        };
        let Some(Some(values)) = number.checked_sub(1).and_then(|at| self.lists.get(at)) else {
            return ControlFlow::Continue(());
        };
        let list = match values.as_deref() {
            None => vec![Expr::Value(Value::Null.into())],
            // Nothing is equal to one of none, and everything differs from all of none.
            Some([]) => {
                *expr = Expr::Value(Value::Boolean(negated).into());
                return ControlFlow::Continue(());
            }
            Some(values) => {
                let first = self.parameters.len() + 1;
                self.parameters.extend_from_slice(values);
                (first..=self.parameters.len()).map(placeholder).collect()
            }
        };
        *expr = Expr::InList {
            expr: Box::new(left.clone()),
            list,
            negated,
        };
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_out_as_parameters_of_their_own() {
        let sql = "SELECT a FROM t WHERE a = ANY ($2::text[]) AND b > $1 AND c <> ALL($3)";
        let lists = Lists::of(sql).expect("lists");
        assert!(lists.has(2) && lists.has(3) && !lists.has(1));
        assert_eq!(
            lists.with_values(),
            "SELECT a FROM t WHERE (a = $2) AND b > $1 AND (c <> $3)"
        );
        let int = Parameter::Int;
        let bound = vec![
            Bound::One(int(1)),
            Bound::Many(Some(vec![int(2), int(3)])),
            Bound::Many(Some(Vec::new())),
        ];
        let (sql, parameters) = lists.written_out(bound);
        assert_eq!(
            sql,
            "SELECT a FROM t WHERE a IN ($4, $5) AND b > $1 AND true"
        );
        let no = Parameter::Bool(false);
        assert_eq!(parameters, [int(1), no.clone(), no, int(2), int(3)]);
        for sql in ["SELECT $1 AS ALL_OF", "SELECT a = ANY (ARRAY[$1]) FROM t"] {
            assert_eq!(Lists::of(sql), None, "{sql}");
        }
    }
}
