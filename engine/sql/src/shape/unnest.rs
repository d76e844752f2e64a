//! `UNNEST`: one message to many. Both its forms become tables within the table `message`: its columns, and the elements.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinOperator, Query, Select, SelectItem, SetExpr, Spanned, Statement, TableAlias, TableFactor,
    Value, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::SqlError;
use crate::error::Place;
use crate::functions::POSITIONS;

/// The column that a position has when it has no name of its own.
const ORDINALITY: &str = "ordinality";
/// What stands before the number of a list that is taken apart in the `SELECT` list.
pub(super) const HIDDEN: &str = "_unnest:";

/// Lists that are taken apart side by side.
#[derive(Debug)]
pub(super) struct Lateral {
    /// The table's name, where it is another than its column's.
    table: Option<Ident>,
    pub(super) lists: Vec<(Expr, Ident)>,
}

impl Lateral {
    /// The names that `*` stands for.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let names = self.lists.iter().map(|(_, name)| name.value.as_str());
        names.filter(|name| !name.starts_with(HIDDEN))
    }
}

/// What stands behind the table in `FROM`, taken out of it.
pub(super) fn behind_table(
    select: &mut Select,
    start: Place,
    refuse: impl Fn(Place, &str) -> SqlError,
) -> Result<Vec<Lateral>, SqlError> {
    let mut laterals: Vec<Lateral> = Vec::new();
    let others = select.from.split_off(select.from.len().min(1));
    let Some(first) = select.from.first_mut() else {
        return Ok(laterals);
    };
    let mut factors: Vec<(Place, Option<JoinOperator>, TableFactor)> = Vec::new();
    let mut joins = std::mem::take(&mut first.joins);
    for other in others {
        let at = Place::of(other.span()).unwrap_or(start);
        factors.push((at, None, other.relation));
        joins.extend(other.joins);
    }
    for Join {
        relation,
        join_operator,
        ..
    } in joins
    {
        let at = Place::of(relation.span()).unwrap_or(start);
        factors.push((at, Some(join_operator), relation));
    }
    for (at, join, factor) in factors {
        let crossed = matches!(join, None | Some(JoinOperator::CrossJoin(_)));
        match factor {
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_ordinality,
                ..
            } if crossed => {
                let at = array_exprs
                    .first()
                    .and_then(|list| Place::of(list.span()))
                    .unwrap_or(at);
                if with_offset {
                    return Err(SqlError::new(at, "`WITH OFFSET` is not known here")
                        .hint("`WITH ORDINALITY AS t (item, n)` counts from 1"));
                }
                laterals.push(lateral(at, array_exprs, alias, with_ordinality)?);
            }
            TableFactor::UNNEST { .. } => {
                return Err(SqlError::new(at, "`UNNEST` is joined on a condition")
                    .hint("write `FROM message, UNNEST(…) AS item WHERE …`"));
            }
            _ if join.is_some() => return Err(refuse(at, "`JOIN`")),
            _ => return Err(refuse(at, "a second table")),
        }
    }
    without_tables(select, &mut laterals);
    Ok(laterals)
}

fn lateral(
    place: Place,
    lists: Vec<Expr>,
    alias: Option<TableAlias>,
    ordinality: bool,
) -> Result<Lateral, SqlError> {
    let Some(alias) = alias else {
        return Err(SqlError::new(place, "`UNNEST` has no name")
            .hint("write `UNNEST(…) AS item`: it is the column's name"));
    };
    let named: Vec<Ident> = alias
        .columns
        .into_iter()
        .map(|column| column.name)
        .collect();
    let wanted = lists.len() + usize::from(ordinality && !named.is_empty());
    let (table, mut names) = match named.len() {
        0 => (None, vec![alias.name]),
        _ => (Some(alias.name), named),
    };
    if names.len() != wanted {
        let message = format!("`UNNEST` has {} names for {wanted} columns", names.len());
        return Err(
            SqlError::new(place, message).hint("write `UNNEST(a, b) AS t (a_item, b_item)`")
        );
    }
    if names.len() == lists.len() && ordinality {
        names.push(Ident::new(ORDINALITY));
    }
    let position = lists
        .first()
        .filter(|_| ordinality)
        .map(|list| call(POSITIONS, list.clone()));
    let position = position.transpose()?;
    let lists = lists.into_iter().chain(position).zip(names).collect();
    Ok(Lateral { table, lists })
}

/// `t.item` becomes `item`: there is one table in the end.
fn without_tables(select: &mut Select, laterals: &mut [Lateral]) {
    let known: Vec<(String, Vec<String>)> = laterals
        .iter()
        .filter_map(|lateral| {
            let table = lateral.table.as_ref()?.value.clone();
            Some((table, lateral.columns().map(str::to_owned).collect()))
        })
        .collect();
    let ours = |table: &Ident, column: &Ident| {
        let mut known = known.iter();
        known.any(|(name, columns)| *name == table.value && columns.contains(&column.value))
    };
    let mut rename = |expr: &mut Expr| {
        if let Expr::CompoundFieldAccess { root, access_chain } = expr
            && let Expr::Identifier(table) = &**root
            && let Some(AccessExpr::Dot(Expr::Value(value))) = access_chain.first()
            && let Value::SingleQuotedString(column) = &value.value
        {
            let mut column = Ident::new(column);
            column.span = value.span;
            if ours(table, &column) {
                **root = Expr::Identifier(column);
                access_chain.remove(0);
            }
        }
        if let Expr::CompoundIdentifier(parts) = expr
            && let [table, column, ..] = parts.as_slice()
            && ours(table, column)
        {
            parts.remove(0);
            if let [only] = parts.as_slice() {
                *expr = Expr::Identifier(only.clone());
            }
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_expressions_mut(&mut select.projection, &mut rename);
    let _ = visit_expressions_mut(&mut select.selection, &mut rename);
    for lateral in laterals {
        for (list, _) in &mut lateral.lists {
            let _ = visit_expressions_mut(list, &mut rename);
        }
    }
}

/// The lists that are taken apart in the `SELECT` list, taken out of it.
pub(super) fn in_list(select: &mut Select) -> Result<Option<Lateral>, SqlError> {
    let mut nested = None;
    let mut found: Vec<(Expr, Ident)> = Vec::new();
    let _ = visit_expressions_mut(&mut select.projection, |expr| {
        let at = Place::of(expr.span());
        if let Expr::Function(function) = expr
            && let Some(list) = unnested(function)
        {
            let within = |part: &Expr| match part {
                Expr::Identifier(name) if name.value.starts_with(HIDDEN) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            if visit_expressions(&list, within).is_break() {
                nested = nested.or(at.or(Some(Place::START)));
            }
            let mut name = Ident::new(format!("{HIDDEN}{}", found.len() + 1));
            name.span = function.name.span();
            found.push((list, name.clone()));
            *expr = Expr::Identifier(name);
        }
        ControlFlow::<()>::Continue(())
    });
    if let Some(at) = nested {
        return Err(
            SqlError::new(at, "`unnest` within `unnest` makes no messages")
                .hint("write `FROM message, UNNEST(a) AS b, UNNEST(b) AS c`"),
        );
    }
    Ok((!found.is_empty()).then_some(Lateral {
        table: None,
        lists: found,
    }))
}

/// The list of `unnest(list)`.
fn unnested(function: &Function) -> Option<Expr> {
    let named = function.name.to_string().eq_ignore_ascii_case("unnest");
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] if named => Some(expr.clone()),
        _ => None,
    }
}

/// Puts tables with the elements around the table of `select`, which is called `table`.
pub(super) fn wrap(
    select: &mut Select,
    table: &str,
    laterals: Vec<Lateral>,
) -> Result<(), SqlError> {
    for lateral in laterals {
        let mut inner = template()?;
        inner.from = std::mem::take(&mut select.from);
        for (list, alias) in lateral.lists {
            let expr = call("unnest", list)?;
            inner
                .projection
                .push(SelectItem::ExprWithAlias { expr, alias });
        }
        let mut outer = template()?.from;
        if let Some(from) = outer.first_mut() {
            from.relation = TableFactor::Derived {
                lateral: false,
                subquery: Box::new(query(inner)?),
                alias: Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', table),
                    columns: Vec::new(),
                    at: None,
                }),
                sample: None,
            };
        }
        select.from = outer;
    }
    Ok(())
}

fn call(name: &str, argument: Expr) -> Result<Expr, SqlError> {
    let mut expr = Parser::new(&GenericDialect {})
        .try_with_sql(&format!("{name}(x)"))
        .and_then(|mut parser| parser.parse_expr())
        .map_err(broken)?;
    if let Expr::Function(function) = &mut expr
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))];
    }
    Ok(expr)
}

fn template() -> Result<Select, SqlError> {
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, "SELECT * FROM message").map_err(broken)?;
    match statements.pop() {
        Some(Statement::Query(query)) => match *query.body {
            SetExpr::Select(select) => Ok(*select),
            _ => Err(broken("no SELECT")),
        },
        _ => Err(broken("no query")),
    }
}

fn query(select: Select) -> Result<Query, SqlError> {
    let mut statements = Parser::parse_sql(&GenericDialect {}, "SELECT 1").map_err(broken)?;
    match statements.pop() {
        Some(Statement::Query(query)) => Ok(Query {
            body: Box::new(SetExpr::Select(Box::new(select))),
            ..*query
        }),
        _ => Err(broken("no query")),
    }
}

fn broken(why: impl std::fmt::Display) -> SqlError {
    SqlError::new(Place::START, format!("`unnest` cannot be planned: {why}"))
        .hint("this is an error of the planner: write it in another way and report it")
}
