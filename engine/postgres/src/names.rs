//! What PostgreSQL calls the outputs of a question, where the engine calls them something else or wants each name once.

use sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// The names of a question's outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Those before the first `*`, and those behind the last one; `None` is as the engine says.
    first: Vec<Option<String>>,
    last: Vec<Option<String>>,
    has_star: bool,
    /// The question with another name for each, where names come twice.
    pub(crate) distinct: Option<String>,
}

impl Names {
    /// Of a question; what is none has no names.
    pub(crate) fn of(sql: &str) -> Self {
        let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect {}, sql) else {
            return Self::default();
        };
        let [Statement::Query(query)] = &statements[..] else {
            return Self::default();
        };
        let Some(select) = select(query) else {
            return Self::default();
        };
        let is_star = |item: &SelectItem| named(item).is_none();
        let items = &select.projection;
        let count = items.iter().take_while(|item| !is_star(item)).count();
        let names = |items: &[SelectItem]| items.iter().map(told).collect();
        let behind = items.iter().rposition(is_star).map_or(count, |at| at + 1);
        let all: Vec<_> = items.iter().map(named).collect();
        let has_star = count < items.len();
        let is_twice = |name: &String| all.iter().flatten().filter(|own| *own == name).count() > 1;
        // One of those that a star stands for may have the name as well.
        let clashes = |index: usize| match (&items[index], &all[index]) {
            (
                SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
                Some(_),
            ) if has_star => index < count || index >= behind,
            (_, Some(name)) => is_twice(name),
            _ => false,
        };
        let clashing: Vec<usize> = (0..items.len()).filter(|index| clashes(*index)).collect();
        if clashing.is_empty() {
            return Self {
                first: names(&items[..count]),
                last: names(&items[behind.max(count)..]),
                has_star,
                distinct: None,
            };
        }
        Self {
            first: all[..count].to_vec(),
            last: all[behind.max(count)..].to_vec(),
            has_star,
            distinct: Some(distinct(query, &clashing)),
        }
    }

    /// Puts them in place of the engine's.
    pub(crate) fn apply<T>(&self, columns: &mut [(String, T)]) {
        let said = self.first.len() + self.last.len();
        let fits = if self.has_star {
            said <= columns.len()
        } else {
            said == columns.len()
        };
        if !fits {
            return;
        }
        let from = columns.len() - self.last.len();
        let (first, last) = columns.split_at_mut(from);
        let pairs = first.iter_mut().zip(&self.first);
        for ((name, _), own) in pairs.chain(last.iter_mut().zip(&self.last)) {
            if let Some(own) = own {
                name.clone_from(own);
            }
        }
    }
}

fn select(query: &Query) -> Option<&Select> {
    match &*query.body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => self::select(query),
        _ => None,
    }
}

fn select_mut(query: &mut Query) -> Option<&mut Select> {
    match &mut *query.body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => select_mut(query),
        _ => None,
    }
}

/// What PostgreSQL calls an output; `None` for those that are many.
fn named(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(name_of(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

/// What is told for an output whose name the engine makes up.
fn told(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(name_of(expr)),
        _ => None,
    }
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// The question with `name:1`, `name:2` and so on, which nobody writes, for some of its outputs.
fn distinct(query: &Query, clashing: &[usize]) -> String {
    let mut query = query.clone();
    if let Some(select) = select_mut(&mut query) {
        for index in clashing {
            let item = &mut select.projection[*index];
            let name = named(item).unwrap_or_default();
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                let alias = Ident::with_quote('"', format!("{name}:{}", index + 1));
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
        }
    }
    query.to_string()
}

/// What PostgreSQL calls an output without a name.
pub(crate) fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => folded(ident),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded).unwrap_or_default(),
        Expr::Function(function) => {
            let ident = function.name.0.last().and_then(|part| part.as_ident());
            ident.map(folded).unwrap_or_default()
        }
        Expr::Cast {
            expr, data_type, ..
        } => match name_of(expr) {
            name if name == "?column?" => type_name(&data_type.to_string()),
            name => name,
        },
        Expr::Nested(expr) => name_of(expr),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::TypedString(typed) => type_name(&typed.data_type.to_string()),
        _ => "?column?".to_owned(),
    }
}

/// What PostgreSQL itself calls a type.
fn type_name(written: &str) -> String {
    let bare = written.split('(').next().unwrap_or(written);
    let bare = bare.trim().to_ascii_lowercase();
    let own = match bare.as_str() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "real" => "float4",
        "double precision" | "double" => "float8",
        "decimal" => "numeric",
        "boolean" => "bool",
        "character varying" => "varchar",
        "timestamp with time zone" => "timestamptz",
        other => other,
    };
    own.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str, engine: &[&str]) -> Vec<String> {
        let mut columns: Vec<_> = engine.iter().map(|name| ((*name).to_owned(), ())).collect();
        Names::of(sql).apply(&mut columns);
        columns.into_iter().map(|(name, ())| name).collect()
    }

    #[test]
    fn outputs_are_called_as_postgresql_calls_them() {
        let sql = "SELECT a, count(*), sum(b) AS Total, 1 + 1, CAST('1' AS INT), a::text FROM t";
        assert_eq!(
            names(sql, &["a", "x", "total", "y", "z", "a"]),
            ["a", "count", "total", "?column?", "int4", "a"]
        );
        let sql = "SELECT max(a), t.*, min(a) FROM t";
        assert_eq!(
            names(sql, &["x", "a", "b", "c", "y"]),
            ["max", "a", "b", "c", "min"]
        );
        // What does not fit is left alone.
        assert_eq!(names("SELECT max(a) FROM t", &["x", "y"]), ["x", "y"]);
        assert_eq!(names("EXPLAIN SELECT 1", &["x"]), ["x"]);
    }

    #[test]
    fn names_that_come_twice_are_made_distinct() {
        let sql = "SELECT a, b AS a, max(c), max(d) FROM t";
        let found = Names::of(sql);
        assert_eq!(
            found.distinct.as_deref(),
            Some(r#"SELECT a AS "a:1", b AS "a:2", max(c) AS "max:3", max(d) AS "max:4" FROM t"#)
        );
        assert_eq!(
            names(sql, &["a:1", "a:2", "max:3", "max:4"]),
            ["a", "a", "max", "max"]
        );
        assert_eq!(Names::of("SELECT a, b FROM t").distinct, None);
        let sql = "SELECT t.a, *, max(b) FROM t";
        let found = Names::of(sql);
        let want = r#"SELECT t.a AS "a:1", *, max(b) FROM t"#;
        assert_eq!(found.distinct.as_deref(), Some(want));
        assert_eq!(names(sql, &["a:1", "a", "b", "x"]), ["a", "a", "b", "max"]);
    }
}
