//! Where in the text a planning error stands, and what to do about it.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, Spanned, Visit, Visitor, visit_expressions,
};

use crate::catalog::{Catalog, Origin};
use crate::compile::{build, root_text};
use crate::error::{Place, SqlError};
use crate::parse::lower_first;
use crate::shape::{Shaped, unnest_of_object};
use millstream_types::nearest;

/// Expressions that are tried alone before the search for the guilty one ends.
const MAX_TRIED: usize = 400;

/// Turns the planner's error for `shaped`, which was read from `text`, into one with a place and a hint.
pub(crate) fn explain(
    text: &str,
    catalog: &Catalog,
    shaped: &Shaped,
    error: &DataFusionError,
) -> SqlError {
    if let DataFusionError::SchemaError(schema, _) = error.find_root()
        && let SchemaError::FieldNotFound { field, .. } = schema.as_ref()
    {
        return unknown_column(text, catalog, shaped, field);
    }
    let message = root_text(error);
    let at = guilty(catalog, shaped, &message)
        .or_else(|| {
            error
                .diagnostic()
                .and_then(|known| known.span)
                .map(|span| Place {
                    line: u32::try_from(span.start.line).unwrap_or(1),
                    column: u32::try_from(span.start.column).unwrap_or(1),
                })
        })
        .unwrap_or_else(|| fallback(catalog, shaped));
    let error = worded(at, &message);
    match message
        .split_once("Field ")
        .and_then(|(_, rest)| rest.split_once(" not found in struct"))
    {
        Some((name, _)) if error.hint.is_none() => {
            let mut members = Vec::new();
            for source in catalog.named() {
                members_of(&source.data_type(), &mut members);
            }
            match nearest(name, members.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        }
        _ => error,
    }
}

/// The names of all members of a nested type.
fn members_of(data_type: &DataType, into: &mut Vec<String>) {
    match data_type {
        DataType::Struct(fields) => {
            for field in fields {
                into.push(field.name().clone());
                members_of(field.data_type(), into);
            }
        }
        DataType::List(of) => members_of(of.data_type(), into),
        DataType::Map(entries, _) => {
            if let DataType::Struct(pair) = entries.data_type() {
                pair.iter()
                    .for_each(|part| members_of(part.data_type(), into));
            }
        }
        _ => {}
    }
}

/// The planner's words: the first sentence is the message, and what it adds is the hint.
pub(crate) fn worded(at: Place, message: &str) -> SqlError {
    if message.starts_with("Cannot access field") {
        return SqlError::new(at, "value has no members to name")
            .hint("write a[1] for an element of a list, a->'b' for a member of JSON text");
    }
    if let Some((_, regex)) = message.split_once("regex parse error:") {
        let mut lines = regex.lines().map(str::trim);
        let why = lines.find_map(|line| line.strip_prefix("error: "));
        let why = why.unwrap_or("it cannot be read");
        return SqlError::new(at, format!("regular expression is wrong: {why}"));
    }
    let text = in_plain_words(message);
    let mut lines = text.lines().map(str::trim).filter(|line| {
        !line.is_empty()
            && !line.starts_with("This issue was likely caused")
            && !line.starts_with("Please help us")
    });
    let first = lines.next().unwrap_or("statement cannot be planned");
    // A question or a remedy behind the first sentence is the hint.
    let (first, rest) = first.split_once(". ").unwrap_or((first, ""));
    let rest: Vec<_> = std::iter::once(rest)
        .chain(lines.take(6))
        .filter(|line| !line.is_empty())
        .collect();
    let error = SqlError::new(at, lower_first(first.trim_end_matches('.')));
    if !rest.is_empty() {
        return error.hint(lower_first(rest.join(" ").trim_end_matches('.')));
    }
    let about_types = ["coerce", "common", "CAST", "type", "non-boolean"]
        .iter()
        .any(|word| first.contains(word));
    if about_types {
        error.hint("`CAST(x AS type)` converts")
    } else {
        error
    }
}

/// Without the planner's prefixes, its syntax trees and its own names of types.
fn in_plain_words(message: &str) -> String {
    // What a function says of its arguments is all there is to say.
    let own = message.split_once("user-defined coercion failed with: ");
    let message = own.map_or(message, |(_, own)| own);
    let message = match own {
        Some(_) => message
            .split(" No function matches")
            .next()
            .unwrap_or(message),
        None => message,
    };
    let mut text = message.to_owned();
    for (theirs, ours) in [
        ("Internal error: ", ""),
        ("Execution error: ", ""),
        ("Error during planning: ", ""),
        ("Arrow error: ", ""),
        ("Overflow happened on: ", ""),
        ("Utf8View", "String"),
        ("LargeUtf8", "String"),
        ("Utf8", "String"),
        ("Timestamp(ns, \"UTC\")", "Timestamp"),
        ("Timestamp(ns)", "Timestamp"),
    ] {
        text = text.replace(theirs, ours);
    }
    if let Some((before, _)) = text.split_once(" { ") {
        // The word before the brace is the name of a tree's node.
        text = before
            .rsplit_once(' ')
            .map_or(before, |(before, _)| before)
            .to_owned();
    }
    text
}

fn unknown_column(text: &str, catalog: &Catalog, shaped: &Shaped, field: &Column) -> SqlError {
    let at = name_place(&shaped.select, field).unwrap_or(Place::START);
    if unnest_of_object(&field.name) {
        return SqlError::new(at, "`unnest` takes a list, and this is an object")
            .hint("name its members: a.b");
    }
    let names = || {
        let sources = catalog.named().map(|source| source.name.as_str());
        sources.chain(shaped.elements.iter().map(String::as_str))
    };
    if let Some(table) = &field.relation
        && table.table() != shaped.table
    {
        let error = SqlError::new(at, format!("no table or alias `{table}`"));
        if names().any(|name| name == table.table()) {
            return error.hint(format!(
                "`{table}` is JSON text: write {table}->'{0}', or {table}->>'{0}' for text",
                field.name
            ));
        }
        return error.hint(match nearest(table.table(), names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the table is called `{}` here", shaped.table),
        });
    }
    let error = SqlError::new(at, format!("no column `{}`", field.name));
    let name = field.name.as_str();
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if catalog
            .named()
            .any(|source| source.origin == Origin::Payload) =>
        {
            format!(
                "nothing is known of the payload: write payload->>'{name}', or declare the station's `columns:`"
            )
        }
        None if quoted(text, at) => format!("text stands in single quotes: '{name}'"),
        None => "not in the schema; if a function adds it, declare it under the function's `adds:`"
            .to_owned(),
    };
    error.hint(hint)
}

fn quoted(text: &str, at: Place) -> bool {
    let line = text.lines().nth(at.line as usize - 1).unwrap_or_default();
    line.chars().nth(at.column as usize - 1) == Some('"')
}

/// Where the statement names this column.
fn name_place(select: &Select, field: &Column) -> Option<Place> {
    if let Some(span) = field.spans.first() {
        let number = |of: u64| u32::try_from(of).unwrap_or(1);
        return Some(Place {
            line: number(span.start.line),
            column: number(span.start.column),
        });
    }
    let found = visit_expressions(select, |expr: &Expr| {
        let last = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(idents) => idents.last(),
            _ => None,
        };
        match last {
            Some(ident) if ident.value == field.name => ControlFlow::Break(Place::of(expr.span())),
            _ => ControlFlow::Continue(()),
        }
    });
    match found {
        ControlFlow::Break(at) => at,
        ControlFlow::Continue(()) => None,
    }
}

/// The innermost expression that fails alone in the same way as the whole statement.
fn guilty(catalog: &Catalog, shaped: &Shaped, message: &str) -> Option<Place> {
    let mut parts = Parts(Vec::new());
    let _ = shaped.select.visit(&mut parts);
    parts.0.into_iter().take(MAX_TRIED).find_map(|expr| {
        let at = Place::of(expr.span())?;
        let error = build(catalog, &alone(shaped, expr)).err()?;
        (root_text(&error) == message).then_some(at)
    })
}

fn alone(shaped: &Shaped, expr: Expr) -> Shaped {
    let mut alone = shaped.clone();
    alone.select.selection = None;
    alone.select.projection = vec![SelectItem::ExprWithAlias {
        expr,
        alias: Ident::new("x"),
    }];
    alone
}

/// The filter when the statement can be planned without it, else the first output that cannot be planned.
fn fallback(catalog: &Catalog, shaped: &Shaped) -> Place {
    let mut unfiltered = shaped.clone();
    if let Some(filter) = unfiltered.select.selection.take()
        && build(catalog, &unfiltered).is_ok()
    {
        return Place::of(filter.span()).unwrap_or(Place::START);
    }
    let guilty = shaped.select.projection.iter().find(|item| {
        let mut alone = unfiltered.clone();
        alone.select.projection = vec![(*item).clone()];
        build(catalog, &alone).is_err()
    });
    guilty
        .and_then(|item| Place::of(item.span()))
        .unwrap_or(Place::START)
}

/// All expressions, inner ones first.
struct Parts(Vec<Expr>);

impl Visitor for Parts {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0.push(expr.clone());
        ControlFlow::Continue(())
    }
}
