//! Avro: schemas are compiled to a table of types; payloads are checked by a walk over their bytes.

mod canonical;
mod compatibility;
mod compile;
mod cursor;
mod decode;
mod defaults;
mod encode;
mod reads;
mod resolve;
mod scalars;
mod shape;
mod table;
mod walk;

use std::sync::Arc;

use serde_json::Value as Json;

use self::table::{Kind, Table};
use crate::json::limits;
use crate::{Column, Incompatibility, Reference, SchemaError, Shape, Value, Violation};

/// An Avro schema. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AvroSchema {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    document: Json,
    table: Table,
}

impl AvroSchema {
    /// Compiles a text; `references` are the schemas of the names it does not describe itself.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(text: &str, references: &[Reference]) -> Result<Self, SchemaError> {
        let table = Table::compile(text, references)?;
        let document = limits::parse(text)?;
        let inner = Arc::new(Inner { document, table });
        Ok(Self { inner })
    }

    pub(crate) fn canonical(&self) -> String {
        canonical::canonical(&self.inner.document)
    }

    pub(crate) fn normalized(&self) -> String {
        canonical::normalized(&self.inner.document)
    }

    pub(crate) fn name(&self) -> Option<String> {
        let table = &self.inner.table;
        match &table.get(table.root).kind {
            Kind::Record(record) => Some(record.name.full.clone()),
            Kind::Enum(symbols) => Some(symbols.name.full.clone()),
            Kind::Fixed(fixed) => Some(fixed.name.full.clone()),
            _ => None,
        }
    }

    pub(crate) fn check(&self, payload: &[u8]) -> Result<(), Violation> {
        Ok(self.inner.table.check(payload)?)
    }

    pub(crate) fn decode(&self, payload: &[u8]) -> Result<Value, Violation> {
        Ok(self.inner.table.decode(payload)?)
    }

    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u8>, Violation> {
        Ok(self.inner.table.encode(value)?)
    }

    pub(crate) fn resolve(&self, writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        Ok(self.inner.table.resolve(&writer.inner.table, payload)?)
    }

    pub(crate) fn columns(&self) -> Result<Vec<Column>, SchemaError> {
        self.inner.table.columns()
    }

    pub(crate) fn shape(&self) -> Shape {
        self.inner.table.shape()
    }

    pub(crate) fn text_of(shape: &Shape) -> String {
        shape::text_of(shape)
    }

    pub(crate) fn cannot_read(&self, writer: &Self) -> Vec<Incompatibility> {
        self.inner.table.cannot_read(&writer.inner.table)
    }
}

#[cfg(test)]
pub(crate) mod generated;
#[cfg(test)]
mod tests;
