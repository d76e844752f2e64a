//! Tables for people: columns as wide as their widest cell, two blanks between them.

use serde_json::{Map, Value};

/// Most columns of a table made from objects: more do not fit on a line.
const MAX_COLUMNS: usize = 9;

/// A table under construction; its first row is the header.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        let header = header
            .into_iter()
            .map(|name| name.replace('_', " ").to_uppercase())
            .collect();
        Self { rows: vec![header] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn draw(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(padded.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// A table of objects: `name` first, then the fields that fit into a cell, in the order they come.
pub(crate) fn of_objects(items: &[Value]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for object in items.iter().filter_map(Value::as_object) {
        for (name, value) in object {
            if cell(value).is_some() && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names.sort_by_key(|name| *name != "name");
    names.truncate(MAX_COLUMNS);
    let mut table = Table::new(names.iter().copied());
    for item in items {
        table.row(
            names
                .iter()
                .map(|name| item.get(name).and_then(cell).unwrap_or_default())
                .collect(),
        );
    }
    table.draw()
}

/// A value that fits into a cell; lists of single values are joined.
pub(crate) fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => Some(one_line(text)),
        Value::Array(items) => {
            let cells: Option<Vec<String>> = items
                .iter()
                .map(|item| cell(item).filter(|_| !item.is_array()))
                .collect();
            cells.map(|cells| cells.join(", "))
        }
        Value::Object(_) => None,
    }
}

/// A field as a cell.
pub(crate) fn field(object: &Map<String, Value>, name: &str) -> String {
    object.get(name).and_then(cell).unwrap_or_default()
}

/// Control characters would break the table, or steer the terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}
