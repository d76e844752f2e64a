//! Windows that are grouped by, as in Arroyo: `GROUP BY tumble(interval '10 seconds')`, `hop(slide, size)`, `session(gap)`.
//!
//! They are over the event time of what the `SELECT` reads, and become the window table function around it, grouped by
//! `window_start` and `window_end`. Among the results such a window is a struct with the members `start` and `end`; a query
//! around it that groups or joins by the struct does so by its members, whose end is known.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArguments, GroupByExpr, Ident, Query, Select,
    SelectItem, SetExpr, Spanned as _, TableAlias, TableFactor, TableWithJoins, Value,
    VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::text::{KEYS, WINDOWS, arguments};
use super::windows::{END, START};
use crate::error::{Place, SqlError};

/// What a window is called that has no other name.
const WINDOW: &str = "window";
/// The members of a window among the results.
pub(super) const MEMBERS: [&str; 2] = ["start", "end"];

/// Rewrites windows that are grouped by. `times` knows the event time of a table that the query does not make itself.
///
/// # Errors
/// Where a window stands that cannot be one.
pub(super) fn rewrite(
    query: &mut Query,
    times: &dyn Fn(&str) -> Option<String>,
) -> Result<(), SqlError> {
    let mut sugar = Sugar {
        times,
        tables: HashMap::new(),
        waiting: Vec::new(),
    };
    match query.visit(&mut sugar) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Sugar<'a> {
    times: &'a dyn Fn(&str) -> Option<String>,
    /// What `WITH` makes, by name.
    tables: HashMap<String, Columns>,
    /// The queries around the one that is visited, each with the names of its `WITH` whose queries are still to come.
    waiting: Vec<VecDeque<TableAlias>>,
}

/// What is known of the columns of a table.
#[derive(Clone, Debug, Default)]
struct Columns {
    /// That of the event time.
    time: Option<String>,
    /// Those that are windows.
    windows: Vec<String>,
}

impl VisitorMut for Sugar<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = tables.map(|table| table.alias.clone()).collect();
        self.waiting.push(names);
        ControlFlow::Continue(())
    }

    /// The queries of a `WITH` come first within theirs, each before those that read it.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.waiting.pop();
        if let Some(alias) = self.waiting.last_mut().and_then(VecDeque::pop_front) {
            let columns = match alias.columns.is_empty() {
                true => self.of_query(query),
                false => Columns::default(),
            };
            self.tables.insert(alias.name.value, columns);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let done = self.own(select);
        match done.and_then(|()| leftover(select)) {
            Ok(()) => {
                self.inner(select);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Sugar<'_> {
    /// Puts the window table function around what a `SELECT` reads.
    fn own(&self, select: &mut Select) -> Result<(), SqlError> {
        let Some(call) = call(select)? else {
            return Ok(());
        };
        let at = Place::of(call.name.span()).unwrap_or(Place::START);
        let [TableWithJoins { relation, joins }] = select.from.as_slice() else {
            return Err(joined(at));
        };
        if !joins.is_empty() {
            return Err(joined(at));
        }
        let around = self.around(select, relation, &call, at)?;
        select.from[0].relation = around;
        let ends = [START, END].map(|name| Expr::Identifier(Ident::new(name)));
        grouped(select, &is_window, &ends);
        Ok(())
    }

    /// The window table function around a table.
    fn around(
        &self,
        select: &Select,
        relation: &TableFactor,
        call: &Function,
        at: Place,
    ) -> Result<TableFactor, SqlError> {
        let name = call.name.to_string().to_uppercase();
        let wrong = || {
            SqlError::new(at, format!("`{name}` has other arguments here"))
                .hint("write `tumble(size)`, `hop(slide, size)`, `cumulate(step, size)` or `session(gap)`, such as `tumble(INTERVAL '10 seconds')`")
        };
        let lengths = match &call.args {
            FunctionArguments::List(list) => arguments(list.args.clone(), at)?,
            _ => return Err(wrong()),
        };
        let one = matches!(name.as_str(), "TUMBLE" | "SESSION");
        if lengths.len() != if one { 1 } else { 2 } {
            return Err(wrong());
        }
        let Some(time) = self.of_factor(relation).time else {
            return Err(SqlError::new(at, format!("`{name}` is over the event time of `{relation}`, and it has none"))
                .hint("declare its `event_time` (`_time` is when a message was stored), or name the column: `FROM TUMBLE(t, ts, INTERVAL '10 seconds')`"));
        };
        let (table, named) = match relation {
            TableFactor::Table { name, alias, .. } => (name.to_string(), alias),
            TableFactor::Derived {
                subquery, alias, ..
            } => (format!("({subquery})"), alias),
            _ => return Err(joined(at)),
        };
        let keys = match name.as_str() {
            "SESSION" => keys(select, alias(relation)),
            _ => Vec::new(),
        };
        let keys = match keys.is_empty() {
            true => String::new(),
            false => format!("{KEYS}({}), ", keys.join(", ")),
        };
        let time = Ident::with_quote('"', time);
        let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
        let text = format!("f({table}, {keys}{time}, {})", lengths.join(", "));
        let made = match expression(&text) {
            Some(Expr::Function(made)) => made.args,
            _ => return Err(wrong()),
        };
        let FunctionArguments::List(list) = made else {
            return Err(wrong());
        };
        Ok(TableFactor::Function {
            lateral: false,
            name: call.name.clone(),
            args: list.args,
            with_ordinality: false,
            alias: named.clone(),
        })
    }

    /// Names the members of windows that the tables of a `SELECT` have, where it groups or joins by them.
    fn inner(&self, select: &mut Select) {
        let mut windows = Vec::new();
        for factor in factors(select) {
            let own = alias(factor).map(|name| name.value.clone());
            let columns = self.of_factor(factor).windows;
            windows.extend(columns.into_iter().map(|column| (own.clone(), column)));
        }
        if windows.is_empty() {
            return;
        }
        let is = |expr: &Expr| match expr {
            Expr::Identifier(name) => windows.iter().any(|(_, column)| *column == name.value),
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [table, name] => windows.contains(&(Some(table.value.clone()), name.value.clone())),
                _ => false,
            },
            _ => false,
        };
        if let GroupByExpr::Expressions(groups, _) = &select.group_by {
            let items: Vec<(&Expr, Option<&Ident>)> =
                select.projection.iter().filter_map(shown).collect();
            let window = groups
                .iter()
                .map(|group| meant(group, &items))
                .find(|expr| is(expr));
            if let Some(window) = window.cloned() {
                grouped(select, &|expr| *expr == window, &members(&window));
            }
        }
        let mut by = Members { is: &is };
        let _ = select.selection.visit(&mut by);
        for table in &mut select.from {
            for join in &mut table.joins {
                let _ = join.join_operator.visit(&mut by);
            }
        }
    }

    fn of_query(&self, query: &Query) -> Columns {
        self.of_body(&query.body)
    }

    fn of_body(&self, body: &SetExpr) -> Columns {
        match body {
            SetExpr::Select(select) => self.of_select(select),
            SetExpr::Query(query) => self.of_query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let (mut left, right) = (self.of_body(left), self.of_body(right));
                left.time = left.time.filter(|time| right.time.as_ref() == Some(time));
                left.windows.retain(|window| right.windows.contains(window));
                left
            }
            _ => Columns::default(),
        }
    }

    fn of_select(&self, select: &Select) -> Columns {
        let inputs = factors(select).map(|factor| (alias(factor), self.of_factor(factor)));
        let inputs: Vec<(Option<&Ident>, Columns)> = inputs.collect();
        let wild = select.projection.iter().any(|item| shown(item).is_none());
        let mut columns = Columns::default();
        for (own, input) in &inputs {
            let is = |expr: &Expr, column: &String| match expr {
                Expr::Identifier(name) => name.value == *column,
                Expr::CompoundIdentifier(names) => match names.as_slice() {
                    [table, name] => {
                        Some(&table.value) == own.map(|own| &own.value) && name.value == *column
                    }
                    _ => false,
                },
                _ => false,
            };
            let named = |column: &String| {
                let mut items = select.projection.iter().filter_map(shown);
                let item = items.find(|(expr, _)| is(expr, column));
                let renamed = item.map(|(_, alias)| {
                    alias.map_or_else(|| column.clone(), |alias| alias.value.clone())
                });
                renamed.or_else(|| wild.then(|| column.clone()))
            };
            // The rows of groups happened at several times.
            if select.group_by == GroupByExpr::Expressions(Vec::new(), Vec::new()) {
                columns.time = columns.time.or_else(|| input.time.as_ref().and_then(named));
            }
            columns
                .windows
                .extend(input.windows.iter().filter_map(named));
        }
        let made = select.projection.iter().filter_map(shown);
        let made = made.filter(|(expr, _)| is_struct(expr));
        let made = made.filter_map(|(_, alias)| Some(alias?.value.clone()));
        columns.windows.extend(made);
        columns
    }

    fn of_factor(&self, factor: &TableFactor) -> Columns {
        match factor {
            TableFactor::Table {
                name, args: None, ..
            } => {
                let name = name.to_string();
                let own = || Columns {
                    time: (self.times)(&name),
                    windows: Vec::new(),
                };
                self.tables.get(&name).cloned().unwrap_or_else(own)
            }
            TableFactor::Derived { subquery, .. } => self.of_query(subquery),
            _ => Columns::default(),
        }
    }
}

/// Names the members of windows where rows are joined by them.
struct Members<'a> {
    is: &'a dyn Fn(&Expr) -> bool,
}

impl VisitorMut for Members<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } = expr
            && (self.is)(left)
            && (self.is)(right)
        {
            let equal = members(left).into_iter().zip(members(right));
            let equal = equal.map(|(left, right)| binary(left, BinaryOperator::Eq, right));
            let both = equal.reduce(|start, end| binary(start, BinaryOperator::And, end));
            if let Some(both) = both {
                *expr = Expr::Nested(Box::new(both));
            }
        }
        ControlFlow::Continue(())
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// Groups by the members of a window in its place, and makes it of them again among the results.
fn grouped(select: &mut Select, is: &dyn Fn(&Expr) -> bool, members: &[Expr; 2]) {
    let projection = select.projection.clone();
    let items: Vec<(&Expr, Option<&Ident>)> = projection.iter().filter_map(shown).collect();
    if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
        let mut made: Vec<Expr> = Vec::new();
        for group in groups.iter() {
            match is(meant(group, &items)) {
                true => made.extend(
                    members
                        .iter()
                        .filter(|member| !made.contains(member))
                        .cloned()
                        .collect::<Vec<_>>(),
                ),
                false => made.push(group.clone()),
            }
        }
        *groups = made;
    }
    let own: Vec<Ident> = items
        .iter()
        .filter(|(expr, _)| is(expr))
        .filter_map(|(_, alias)| alias.cloned())
        .collect();
    let mut refer = Refer { own, members };
    let _ = select.projection.visit(&mut refer);
    let _ = select.having.visit(&mut refer);
    let [start, end] = members;
    let Some(made) = expression(&format!(
        "named_struct('{}', {start}, '{}', {end})",
        MEMBERS[0], MEMBERS[1]
    )) else {
        return;
    };
    for item in &mut select.projection {
        match item {
            SelectItem::ExprWithAlias { expr, .. } if is(expr) => *expr = made.clone(),
            SelectItem::UnnamedExpr(expr) if is(expr) => {
                let alias = match expr {
                    Expr::Identifier(name) => name.clone(),
                    Expr::CompoundIdentifier(names) if !names.is_empty() => {
                        names[names.len() - 1].clone()
                    }
                    _ => Ident::new(WINDOW),
                };
                *item = SelectItem::ExprWithAlias {
                    expr: made.clone(),
                    alias,
                };
            }
            _ => {}
        }
    }
}

/// Puts members where those of a window are named within its own `SELECT`.
struct Refer<'a> {
    own: Vec<Ident>,
    members: &'a [Expr; 2],
}

impl VisitorMut for Refer<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expr
            && let [window, member] = names.as_slice()
            && self.own.iter().any(|own| own.value == window.value)
            && let Some(at) = MEMBERS
                .iter()
                .position(|name| member.value.eq_ignore_ascii_case(name))
        {
            *expr = self.members[at].clone();
        }
        ControlFlow::Continue(())
    }
}

/// Windows that stand elsewhere.
fn leftover(select: &mut Select) -> Result<(), SqlError> {
    /// How many tables are around what is visited: there, windows are table functions.
    struct Left(usize);
    impl VisitorMut for Left {
        type Break = SqlError;

        fn pre_visit_table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<SqlError> {
            self.0 += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<SqlError> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
            if self.0 > 0 || !is_window(expr) {
                return ControlFlow::Continue(());
            }
            let at = Place::of(expr.span()).unwrap_or(Place::START);
            ControlFlow::Break(
                SqlError::new(at, format!("`{expr}` is a window, and it stands neither in `GROUP BY` nor alone in `SELECT`"))
                    .hint("group by it, and name its `window.start` and `window.end` where they are needed"),
            )
        }
    }
    let mut left = Left(0);
    let flow = select.projection.visit(&mut left);
    let flow = flow.map_continue(|()| select.selection.visit(&mut left));
    let error = match flow {
        ControlFlow::Break(error) => Some(error),
        ControlFlow::Continue(flow) => flow.break_value(),
    };
    let error = error.or_else(|| select.group_by.visit(&mut left).break_value());
    error
        .or_else(|| select.having.visit(&mut left).break_value())
        .map_or(Ok(()), Err)
}

/// The expression and alias of what is selected, but for wildcards.
fn shown(item: &SelectItem) -> Option<(&Expr, Option<&Ident>)> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some((expr, None)),
        SelectItem::ExprWithAlias { expr, alias } => Some((expr, Some(alias))),
        _ => None,
    }
}

/// What is grouped by: an expression, or what is selected by its number or alias.
fn meant<'a>(group: &'a Expr, items: &[(&'a Expr, Option<&'a Ident>)]) -> &'a Expr {
    let found = match group {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number
                .parse::<usize>()
                .ok()
                .and_then(|number| items.get(number.checked_sub(1)?)),
            _ => None,
        },
        Expr::Identifier(name) => items
            .iter()
            .find(|(_, alias)| alias.is_some_and(|alias| alias.value == name.value)),
        _ => None,
    };
    found.map_or(group, |(expr, _)| expr)
}

/// The window that a `SELECT` groups by or tells.
fn call(select: &Select) -> Result<Option<Function>, SqlError> {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else {
        return Ok(None);
    };
    let told = select.projection.iter().filter_map(shown);
    let all = told.map(|(expr, _)| expr).chain(groups);
    let mut calls = all.filter(|expr| is_window(expr));
    let Some(Expr::Function(call)) = calls.next() else {
        return Ok(None);
    };
    let same = |other: &Expr| other.to_string().eq_ignore_ascii_case(&call.to_string());
    if calls.all(same) {
        return Ok(Some(call.clone()));
    }
    let at = Place::of(call.name.span()).unwrap_or(Place::START);
    Err(SqlError::new(at, "two kinds of windows in one `SELECT`")
        .hint("put one of them into a subquery"))
}

/// What a session is grouped by besides itself, as it is called within the table that has this name.
fn keys(select: &Select, table: Option<&Ident>) -> Vec<String> {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else {
        return Vec::new();
    };
    let items: Vec<(&Expr, Option<&Ident>)> = select.projection.iter().filter_map(shown).collect();
    let keys = groups.iter().map(|group| meant(group, &items));
    let keys = keys.filter(|key| !is_window(key)).map(|key| {
        let mut key = key.clone();
        if let Some(table) = table {
            let _ = key.visit(&mut Unqualified(&table.value));
        }
        key.to_string()
    });
    keys.collect()
}

/// Leaves the name of a table away.
struct Unqualified<'a>(&'a str);

impl VisitorMut for Unqualified<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expr
            && let [table, name] = names.as_slice()
            && table.value == self.0
        {
            *expr = Expr::Identifier(name.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Whether an expression is a call of a window that names no table.
fn is_window(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(call) if WINDOWS.contains(&call.name.to_string().to_uppercase().as_str()))
}

/// Whether an expression is a window that was made of its members.
fn is_struct(expr: &Expr) -> bool {
    let text = expr.to_string();
    text.starts_with(&format!("named_struct('{}', ", MEMBERS[0]))
        && text.contains(&format!(", '{}', ", MEMBERS[1]))
}

fn members(window: &Expr) -> [Expr; 2] {
    let names = match window {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(names) => names.clone(),
        _ => Vec::new(),
    };
    MEMBERS.map(|member| {
        let member = Ident::with_quote('"', member);
        Expr::CompoundIdentifier(names.iter().cloned().chain([member]).collect())
    })
}

fn factors(select: &Select) -> impl Iterator<Item = &TableFactor> {
    select.from.iter().flat_map(|table| {
        let joined = table.joins.iter().map(|join| &join.relation);
        std::iter::once(&table.relation).chain(joined)
    })
}

/// What the columns of a table are named by.
fn alias(factor: &TableFactor) -> Option<&Ident> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(&alias.name),
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()),
        _ => None,
    }
}

fn expression(text: &str) -> Option<Expr> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    parser.and_then(|mut parser| parser.parse_expr()).ok()
}

fn joined(at: Place) -> SqlError {
    SqlError::new(at, "a window that is grouped by is over one table")
        .hint("join in a subquery, which gives the event time on, or name it: `FROM TUMBLE((SELECT …), ts, INTERVAL '10 seconds')`")
}
