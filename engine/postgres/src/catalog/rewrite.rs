//! Questions that tools ask PostgreSQL's catalog, in words that the engine has: functions become what they answer here, operators
//! and casts lose what only PostgreSQL knows, and what reads a table that never has rows is not planned at all.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Array, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem,
    SetExpr, Statement, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::columns::find;
use super::empty::{counts, empty_set, is_empty, name_outputs};
use super::names::{VISIBLE, of_group};
use super::rows::{all, groups, type_names, type_numbers};
use super::{Catalog, DATABASE, INFORMATION_SCHEMA, OWNER, PG_CATALOG};
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
    "regproc",
    "regnamespace",
    "to_regclass",
    "to_regtype",
    "format_type",
    "obj_description",
    "col_description",
    "shobj_description",
    "has_column_privilege",
    "has_any_column_privilege",
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

pub(super) fn truth(truth: bool) -> Expr {
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

pub(super) fn unknown() -> Expr {
    cast(value(Value::Null), DataType::Varchar(None))
}

/// The last part of a name, in small letters.
pub(super) fn last(name: &ObjectName) -> String {
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

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } = factor
        {
            let function = last(name);
            if function.starts_with("pg_")
                && let Some(other) = other(&function, alias.clone())
            {
                *factor = other;
            } else if function == "generate_series" {
                *name = ObjectName::from(vec![Ident::new(function)]);
                for argument in &mut args.args {
                    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                        let _all = expr.visit(self);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(query) = expr
            && !is_empty(query)
        {
            single(query);
        }
        let other = match expr {
            // `x::regtype::oid` is the number that it was.
            Expr::Cast {
                expr, data_type, ..
            } => match &**expr {
                Expr::Cast {
                    expr: inner,
                    data_type: between,
                    ..
                } if type_word(between).starts_with("reg") && literal(inner).is_none() => {
                    match (type_word(between).as_str(), type_word(data_type).as_str()) {
                        (_, "oid" | "int8" | "int4") => Some((**inner).clone()),
                        ("regclass", "text" | "varchar") => {
                            Some(self.class_case((**inner).clone()))
                        }
                        _ => None,
                    }
                }
                _ => None,
            },
            Expr::AllOp {
                left,
                compare_op: BinaryOperator::NotEq,
                right,
            } => self.list(right).map(|list| match list.is_empty() {
                true => truth(true),
                false => Expr::InList {
                    expr: left.clone(),
                    list,
                    negated: true,
                },
            }),
            Expr::Subquery(query) if is_empty(query) => Some(unknown()),
            Expr::Exists { subquery, negated } if is_empty(subquery) => Some(truth(*negated)),
            Expr::InSubquery {
                subquery, negated, ..
            } if is_empty(subquery) => Some(truth(*negated)),
            Expr::InSubquery {
                expr,
                subquery,
                negated,
            } if asks_path(subquery) => Some(Expr::InList {
                expr: expr.clone(),
                list: vec![text(&self.catalog.first())],
                negated: *negated,
            }),
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
            Expr::Like {
                pattern,
                escape_char,
                ..
            }
            | Expr::ILike {
                pattern,
                escape_char,
                ..
            } => {
                let by = escape_char.take().and_then(|by| by.into_string());
                if let Some(by) = by.filter(|by| !by.is_empty() && by != "\\") {
                    escape(pattern, &by);
                }
                None
            }
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
        let list = match right {
            // No list in the catalog is known.
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Vec::new(),
            right => self.list(right)?,
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

    /// The values of a list that is written out.
    fn list(&self, list: &Expr) -> Option<Vec<Expr>> {
        Some(match list {
            Expr::Function(function) if last(&function.name) == "current_schemas" => {
                self.schemas(function)
            }
            Expr::Array(array) => array.elem.clone(),
            Expr::Nested(inner) => self.list(inner)?,
            Expr::Cast { expr, .. } if literal(expr).is_none() => self.list(expr)?,
            other => {
                let words = literal(other)?
                    .trim()
                    .strip_prefix('{')?
                    .strip_suffix('}')?;
                let words = words.split(',').filter(|word| !word.is_empty());
                words.map(|word| text(word.trim_matches('"'))).collect()
            }
        })
    }

    /// The groups whose tables need no group in front of their names; the catalog's own is one of them if that is wanted.
    fn schemas(&self, function: &Function) -> Vec<Expr> {
        let wants = arguments(function);
        let wants = matches!(wants.first(), Some(Expr::Value(value)) if value.value == Value::Boolean(true));
        let own = text(&self.catalog.first());
        if wants {
            vec![text(PG_CATALOG), own]
        } else {
            vec![own]
        }
    }

    /// The name of a table by its number.
    fn class_case(&self, number_of: Expr) -> Expr {
        let first = self.catalog.first();
        let named = |(group, name, oid): (String, String, u32)| {
            let shown = if group == first || group == PG_CATALOG {
                name
            } else {
                format!("{group}.{name}")
            };
            (number(oid), text(&shown))
        };
        let pairs = all(self.catalog).into_iter().map(named);
        case(number_of, pairs, Some(text("-")))
    }

    fn cast(&self, expr: &mut Expr, data_type: &mut DataType) -> Option<Expr> {
        if !matches!(data_type, DataType::Regclass | DataType::Custom(..)) {
            return None;
        }
        let name = type_word(data_type);
        let known = |found: Option<u32>| Some(found.map_or_else(unknown, number));
        match (name.as_str(), literal(expr)) {
            ("regclass", Some(text)) if text.parse::<u32>().is_err() => {
                return known(self.catalog.table_number(text));
            }
            ("regtype", Some(text)) if text.parse::<u32>().is_err() => {
                return known(Catalog::type_number(text));
            }
            ("regtype", None) => {
                let expr = std::mem::replace(expr, unknown());
                return Some(type_case(expr));
            }
            ("regproc" | "regprocedure", Some(name)) => {
                return Some(text(name.rsplit('.').next().unwrap_or(name)));
            }
            ("regnamespace", Some(name)) if name.parse::<u32>().is_err() => {
                return Some(number(of_group(name.trim_matches('"'))));
            }
            ("regnamespace", None) => {
                let expr = std::mem::replace(expr, unknown());
                let named = |group: String| (number(of_group(&group)), text(&group));
                return Some(case(expr, groups(self.catalog).map(named), None));
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
            "current_schema" => text(&self.catalog.first()),
            "current_schemas" => Expr::Array(Array {
                elem: self.schemas(function),
                named: true,
            }),
            "array_upper" | "array_length" | "cardinality" => match &first {
                Some(Expr::Array(array)) => number(array.elem.len()),
                // No list in the catalog is known.
                _ => cast(value(Value::Null), DataType::BigInt(None)),
            },
            "current_user" | "session_user" | "current_role" | "pg_get_userbyid" => text(OWNER),
            "pg_backend_pid" | "pg_my_temp_schema" => number(0),
            "pg_encoding_to_char" => text("UTF8"),
            "pg_is_in_recovery" | "pg_is_other_temp_schema" => truth(false),
            "pg_table_is_visible" => visible(first?),
            name if name.ends_with("_privilege") => truth(!given.iter().any(writes)),
            name if name.ends_with("_is_visible") || name == "pg_has_role" => truth(true),
            "to_regtype" => match literal(first.as_ref()?) {
                Some(name) => Catalog::type_number(name).map_or_else(unknown, number),
                None => {
                    let pairs = type_numbers().into_iter();
                    let pair = |(name, oid): (String, u32)| (text(&name), number(oid));
                    case(first?, pairs.map(pair), None)
                }
            },
            "format_type" => type_case(first?),
            "quote_ident" | "quote_literal" => first?,
            "set_config" => {
                let (name, value) = (literal(first.as_ref()?)?, given.get(1)?);
                if let Some(text) = literal(value) {
                    // Who reads the answer sees what it is now.
                    let _kept = self.catalog.session.set(name, Some(text));
                }
                value.clone()
            }
            "current_setting" => {
                let value =
                    literal(first.as_ref()?).and_then(|name| self.catalog.session.get(name));
                value.map_or_else(unknown, |value| text(&value))
            }
            "format" => formatted(literal(first.as_ref()?)?, given.get(1..)?)?,
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
    let pair = |(oid, name): (u32, String)| (number(oid), text(&name));
    case(
        number_of,
        type_names().into_iter().map(pair),
        Some(text("???")),
    )
}

/// `CASE … WHEN … THEN …`
fn case(of: Expr, pairs: impl Iterator<Item = (Expr, Expr)>, other: Option<Expr>) -> Expr {
    let when = |(condition, result)| CaseWhen { condition, result };
    Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: Some(Box::new(of)),
        conditions: pairs.map(when).collect(),
        else_result: other.map(Box::new),
    }
}

/// `format('%s.%I', a, b)` as a sum of texts.
fn formatted(form: &str, values: &[Expr]) -> Option<Expr> {
    let mut values = values.iter();
    let mut sum: Option<Expr> = None;
    let mut add = |part: Expr| {
        let left = sum.take();
        sum = Some(match left {
            None => part,
            Some(left) => Expr::BinaryOp {
                left: Box::new(left),
                op: BinaryOperator::StringConcat,
                right: Box::new(part),
            },
        });
    };
    let mut pieces = form.split('%');
    add(text(pieces.next()?));
    while let Some(piece) = pieces.next() {
        if piece.is_empty() {
            // `%%`
            add(text(&format!("%{}", pieces.next()?)));
            continue;
        }
        let rest = piece.strip_prefix(['s', 'I', 'L'])?;
        add(cast(values.next()?.clone(), DataType::Varchar(None)));
        add(text(rest));
    }
    sum.map(|sum| Expr::Nested(Box::new(sum)))
}

/// Whether a question is for the groups of the search path, taken apart by hand.
fn asks_path(query: &Query) -> bool {
    let text = query.to_string().to_ascii_lowercase();
    text.contains("current_setting('search_path')") && text.contains("string_to_array")
}

/// A type by one word.
fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => last(name),
        other => other.to_string().to_ascii_lowercase(),
    }
}

/// Whether a privilege is one to change something.
fn writes(argument: &Expr) -> bool {
    let word = literal(argument).map(str::to_ascii_uppercase);
    let wanted = word.as_deref().unwrap_or_default().split(',');
    let mut wanted = wanted.map(str::trim);
    wanted.any(|word| {
        matches!(
            word,
            "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE" | "REFERENCES" | "TRIGGER" | "CREATE"
        )
    })
}

/// A table in the place of a function; without rows, but for words that are PostgreSQL's own.
fn other(function: &str, alias: Option<TableAlias>) -> Option<TableFactor> {
    let sql = match function {
        "pg_get_keywords" => {
            "SELECT 'ilike' AS word, 'T' AS catcode UNION ALL SELECT 'limit', 'R' UNION ALL SELECT 'offset', 'R'"
        }
        _ => "SELECT NULL AS word WHERE false",
    };
    let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).ok()?;
    Some(TableFactor::Derived {
        lateral: false,
        subquery: parser.parse_query().ok()?,
        alias,
        sample: None,
    })
}

/// Says that a question in the place of a value has one row, which the engine wants to know: those that tools ask have.
fn single(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else {
        return;
    };
    let is_grouped = match &select.group_by {
        GroupByExpr::Expressions(by, _) => !by.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let [item] = &mut select.projection[..] else {
        return;
    };
    if is_grouped || counts(item) || select.from.is_empty() {
        return;
    }
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return;
    };
    let max = format!("max({expr})");
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&max)
        .and_then(|mut parser| parser.parse_expr());
    if let Ok(max) = parsed {
        *expr = max;
        query.order_by = None;
        query.limit_clause = None;
    }
}

/// `LIKE … ESCAPE '/'` by the backslash, which is the one that the engine knows.
fn escape(pattern: &mut Expr, by: &str) {
    match pattern {
        Expr::Value(value) => {
            if let Value::SingleQuotedString(text) = &mut value.value {
                *text = text.replace('\\', "\\\\").replace(by, "\\");
            }
        }
        Expr::BinaryOp { left, right, .. } => {
            escape(left, by);
            escape(right, by);
        }
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => escape(inner, by),
        _ => {}
    }
}
