//! Questions that tools ask PostgreSQL's catalog, in words that the engine has: functions become what they answer here, operators
//! and casts lose what only PostgreSQL knows, and what reads a table that never has rows is not planned at all.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, Query, Select, SelectItem,
    SetExpr, Statement, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::columns::{TABLES, find};
use super::names::VISIBLE;
use super::rows::type_names;
use super::{Catalog, DATABASE, INFORMATION_SCHEMA, OWNER, PG_CATALOG};
use crate::session::Session;
use crate::startup::POSTGRES_VERSION;

/// Words besides those that begin with `pg_` that only PostgreSQL answers.
const WORDS: &[&str] = &[
    "information_schema",
    "version",
    "current_database",
    "current_catalog",
    "current_schema",
    "current_schemas",
    "current_user",
    "session_user",
    "current_role",
    "current_setting",
    "set_config",
    "regclass",
    "regtype",
    "to_regclass",
    "format_type",
    "obj_description",
    "col_description",
    "has_table_privilege",
    "has_schema_privilege",
    "has_database_privilege",
];

/// A question to PostgreSQL's catalog in other words; `None` for all others.
pub(crate) fn rewritten(text: &str, catalog: &Catalog) -> Option<String> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().ok()?;
    let asks = |token: &Token| match token {
        Token::Word(word) => {
            let word = word.value.to_ascii_lowercase();
            word.starts_with("pg_") || WORDS.contains(&word.as_str())
        }
        _ => false,
    };
    if !tokens.iter().any(asks) {
        return None;
    }
    // What cannot be read is told by whoever runs it.
    let mut statements = Parser::parse_sql(&dialect, text).ok()?;
    let statement = statements.first_mut()?;
    if !matches!(statement, Statement::Query(_) | Statement::Explain { .. }) {
        return None;
    }
    let _all = statement.visit(&mut Rewrite { catalog });
    Some(statement.to_string())
}

struct Rewrite<'a> {
    catalog: &'a Catalog,
}

fn value(value: Value) -> Expr {
    Expr::Value(value.into())
}

fn text(text: &str) -> Expr {
    value(Value::SingleQuotedString(text.to_owned()))
}

fn number(number: impl ToString) -> Expr {
    value(Value::Number(number.to_string(), false))
}

fn truth(truth: bool) -> Expr {
    value(Value::Boolean(truth))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

fn unknown() -> Expr {
    cast(value(Value::Null), DataType::Varchar(None))
}

/// The last part of a name, in small letters.
fn last(name: &ObjectName) -> String {
    let ident = name.0.last().and_then(|part| part.as_ident());
    ident
        .map(|ident| ident.value.to_ascii_lowercase())
        .unwrap_or_default()
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        Expr::Cast { expr, .. } | Expr::Nested(expr) => literal(expr),
        _ => None,
    }
}

impl VisitorMut for Rewrite<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if empty_set(&mut query.body) {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_outputs(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let name = last(relation);
        match relation.0.as_slice() {
            [_] if find(PG_CATALOG, &name).is_some() => {
                *relation = ObjectName::from(vec![Ident::new(PG_CATALOG), Ident::new(name)]);
            }
            [.., group, _] => {
                let group = group
                    .as_ident()
                    .map(|group| group.value.to_ascii_lowercase());
                let group = group.unwrap_or_default();
                if group == PG_CATALOG || group == INFORMATION_SCHEMA {
                    *relation = ObjectName::from(vec![Ident::new(group), Ident::new(name)]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let other = match expr {
            Expr::Subquery(query) if is_empty(query) => Some(unknown()),
            Expr::Exists { subquery, negated } if is_empty(subquery) => Some(truth(*negated)),
            Expr::InSubquery {
                subquery, negated, ..
            } if is_empty(subquery) => Some(truth(*negated)),
            Expr::Function(function) => match &function.args {
                // `ARRAY(SELECT …)`
                FunctionArguments::Subquery(query) if is_empty(query) => Some(unknown()),
                _ => None,
            },
            Expr::AnyOp { left, right, .. } => self.any(left, right),
            _ => None,
        };
        if let Some(other) = other {
            *expr = other;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let other = match expr {
            Expr::Collate { expr, .. } => Some(std::mem::replace(&mut **expr, unknown())),
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(plain) = parts.last().and_then(|sign| operator(sign))
                {
                    *op = plain;
                }
                None
            }
            Expr::Cast {
                expr, data_type, ..
            } => self.cast(expr, data_type),
            Expr::Function(function) => self.function(function),
            _ => None,
        };
        if let Some(other) = other {
            *expr = other;
        }
        ControlFlow::Continue(())
    }
}

fn operator(sign: &str) -> Option<BinaryOperator> {
    Some(match sign {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "+" => BinaryOperator::Plus,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

impl Rewrite<'_> {
    /// `x = ANY (current_schemas(…))`, `x = ANY ('{a,b}')`
    fn any(&self, left: &Expr, right: &Expr) -> Option<Expr> {
        let list: Vec<Expr> = match right {
            Expr::Function(function) if last(&function.name) == "current_schemas" => {
                vec![text(&self.first()), text(PG_CATALOG)]
            }
            Expr::Array(array) => array.elem.clone(),
            other => {
                let words = literal(other)?
                    .trim()
                    .strip_prefix('{')?
                    .strip_suffix('}')?;
                words
                    .split(',')
                    .filter(|word| !word.is_empty())
                    .map(text)
                    .collect()
            }
        };
        if list.is_empty() {
            return Some(truth(false));
        }
        Some(Expr::InList {
            expr: Box::new(left.clone()),
            list,
            negated: false,
        })
    }

    /// The group that needs not to be named.
    fn first(&self) -> String {
        self.catalog
            .tables
            .groups()
            .into_iter()
            .next()
            .unwrap_or_default()
    }

    fn cast(&self, expr: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
        let name = match &*data_type {
            DataType::Regclass => "regclass".to_owned(),
            DataType::Custom(name, _) => last(name),
            _ => return None,
        };
        let known = |found: Option<u32>| Some(found.map_or_else(unknown, number));
        match (name.as_str(), literal(expr)) {
            ("regclass", Some(text)) if text.parse::<u32>().is_err() => {
                return known(self.catalog.table_number(text));
            }
            ("regtype", Some(text)) if text.parse::<u32>().is_err() => {
                return known(Catalog::type_number(text));
            }
            _ => {}
        }
        *data_type = match name.as_str() {
            "oid" | "int8" | "xid" | "cid" => DataType::BigInt(None),
            "int4" => DataType::Int(None),
            "int2" => DataType::SmallInt(None),
            "bool" => DataType::Boolean,
            "float8" => DataType::DoublePrecision,
            "text" | "name" | "char" | "varchar" | "bpchar" | "cstring" | "json" | "jsonb" => {
                DataType::Varchar(None)
            }
            // Numbers stay numbers.
            _ => return Some(std::mem::replace(expr, unknown())),
        };
        None
    }

    fn function(&self, function: &mut Function) -> Option<Expr> {
        let name = last(&function.name);
        let given = arguments(function);
        let first = given.first().cloned();
        let answer = match name.as_str() {
            "version" => text(&format!("PostgreSQL {POSTGRES_VERSION} (Millstream)")),
            "current_database" | "current_catalog" => text(DATABASE),
            "current_schema" => text(&self.first()),
            "current_user" | "session_user" | "current_role" | "pg_get_userbyid" => text(OWNER),
            "pg_backend_pid" | "pg_my_temp_schema" => number(0),
            "pg_encoding_to_char" => text("UTF8"),
            "pg_is_in_recovery" | "pg_is_other_temp_schema" => truth(false),
            "pg_table_is_visible" => visible(first?),
            name if name.ends_with("_is_visible")
                || name.ends_with("_privilege")
                || name == "pg_has_role" =>
            {
                truth(true)
            }
            "format_type" => type_case(first?),
            "quote_ident" | "quote_literal" => first?,
            "set_config" => given.get(1).cloned()?,
            "current_setting" => {
                let name = literal(first.as_ref()?)?;
                match name {
                    "server_version_num" => text("150000"),
                    "server_version" => text(POSTGRES_VERSION),
                    name => Session::default()
                        .get(name)
                        .map_or_else(unknown, |value| text(&value)),
                }
            }
            "to_regclass" => {
                let found = self.catalog.table_number(literal(first.as_ref()?)?);
                found.map_or_else(unknown, number)
            }
            // No list in the catalog is known.
            "array_to_string" if !matches!(first, Some(Expr::Array(_))) => unknown(),
            "pg_size_pretty" | "obj_description" | "col_description" | "shobj_description" => {
                unknown()
            }
            name if name.starts_with("pg_get_") || name == "pg_tablespace_location" => unknown(),
            name if name.starts_with("pg_") && name.ends_with("_size") => {
                cast(value(Value::Null), DataType::BigInt(None))
            }
            _ => {
                // What is left may be known to the engine by the bare name.
                if function.name.0.len() == 2
                    && function.name.0[0]
                        .to_string()
                        .eq_ignore_ascii_case(PG_CATALOG)
                {
                    function.name.0.remove(0);
                }
                return None;
            }
        };
        Some(answer)
    }
}

fn arguments(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return Vec::new();
    };
    let expr = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().filter_map(expr).collect()
}

/// Whether a table needs no group in front of its name, by its number.
fn visible(table: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(table))),
        op: BinaryOperator::GtEq,
        right: Box::new(number(VISIBLE)),
    }
}

fn type_case(number_of: Expr) -> Expr {
    let when = |(oid, name): (u32, String)| CaseWhen {
        condition: number(oid),
        result: text(&name),
    };
    Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: Some(Box::new(number_of)),
        conditions: type_names().into_iter().map(when).collect(),
        else_result: Some(Box::new(text("???"))),
    }
}

/// Whether a query has no rows, for it reads a table that never has any.
fn is_empty(query: &Query) -> bool {
    match &*query.body {
        SetExpr::Select(select) => is_empty_select(select),
        _ => false,
    }
}

fn is_empty_select(select: &Select) -> bool {
    select.from.iter().any(is_empty_from) && !select.projection.iter().any(counts)
}

/// Whether an output is there even where there are no rows.
fn counts(item: &SelectItem) -> bool {
    let (SelectItem::UnnamedExpr(Expr::Function(function))
    | SelectItem::ExprWithAlias {
        expr: Expr::Function(function),
        ..
    }) = item
    else {
        return false;
    };
    matches!(
        last(&function.name).as_str(),
        "count" | "max" | "min" | "sum" | "array_agg" | "string_agg" | "bool_or" | "bool_and"
    )
}

fn is_empty_from(from: &TableWithJoins) -> bool {
    let inner = from.joins.iter().filter(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    });
    // The left side of a full or right join is no condition.
    let open = from.joins.iter().any(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    });
    let joined = inner.map(|join| &join.relation);
    !open
        && std::iter::once(&from.relation)
            .chain(joined)
            .any(is_empty_table)
}

fn is_empty_table(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, .. } => {
            let group = match name.0.as_slice() {
                [_] => PG_CATALOG.to_owned(),
                [.., group, _] => group.to_string().to_ascii_lowercase(),
                [] => return false,
            };
            let name = last(name);
            TABLES
                .iter()
                .any(|table| table.is_empty && table.group == group && table.name == name)
        }
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => is_empty_from(table_with_joins),
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        _ => false,
    }
}

/// Leaves of selects that have no rows their names alone; answers whether there was one.
fn empty_set(set: &mut SetExpr) -> bool {
    match set {
        // `*` needs the table's columns.
        SetExpr::Select(select)
            if is_empty_select(select) && !select.projection.iter().any(is_star) =>
        {
            select.projection = std::mem::take(&mut select.projection)
                .into_iter()
                .map(named)
                .collect();
            name_outputs(&mut select.projection);
            select.from.clear();
            select.selection = Some(truth(false));
            select.distinct = None;
            select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
            select.having = None;
            true
        }
        SetExpr::SetOperation { left, right, .. } => {
            let left = empty_set(left);
            empty_set(right) || left
        }
        _ => false,
    }
}

fn is_star(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

fn named(item: SelectItem) -> SelectItem {
    let alias = match item {
        SelectItem::ExprWithAlias { alias, .. } => alias,
        SelectItem::UnnamedExpr(expr) => Ident::with_quote('"', name_of(&expr)),
        other => return other,
    };
    SelectItem::ExprWithAlias {
        expr: unknown(),
        alias,
    }
}

/// Gives outputs without a name the one that PostgreSQL gives them, each a different one, as the engine wants it.
fn name_outputs(items: &mut [SelectItem]) {
    let mut taken: Vec<String> = Vec::new();
    for item in items {
        let mut name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => continue,
            SelectItem::UnnamedExpr(expr) => name_of(expr),
            _ => continue,
        };
        let is_first = !taken.contains(&name);
        if !is_first {
            name = format!("{name}_{}", taken.len() + 1);
        }
        let alias = Ident::with_quote('"', name.clone());
        taken.push(name);
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let expr = std::mem::replace(expr, unknown());
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::ExprWithAlias { alias: own, .. } if !is_first => *own = alias,
            _ => {}
        }
    }
}

/// What PostgreSQL calls an output without a name.
fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts
            .last()
            .map(|part| part.value.clone())
            .unwrap_or_default(),
        Expr::Function(function) => last(&function.name),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => name_of(expr),
        Expr::Case { .. } => "case".to_owned(),
        _ => "?column?".to_owned(),
    }
}
