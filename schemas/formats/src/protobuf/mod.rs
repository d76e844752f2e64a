//! Protobuf: schemas are compiled in process; payloads are checked by a walk over their bytes.

mod compatibility;
mod compile;
mod decode;
mod encode;
mod message_index;
mod print;
mod shape;
mod table;
mod walk;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, FileDescriptor, MessageDescriptor};

use self::table::{Id, Table};
use crate::{Column, Incompatibility, Reference, SchemaError, Shape, Value, Violation};

pub use message_index::{read_message_index, write_message_index};

/// A Protobuf schema, with the message of it that payloads are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProtobufSchema {
    inner: Arc<Inner>,
    message: MessageDescriptor,
    root: Id,
}

#[derive(Debug)]
struct Inner {
    file: FileDescriptor,
    table: Table,
    /// The messages of the file, outer ones before inner ones, with their places in the table.
    messages: Vec<(MessageDescriptor, Id)>,
}

impl ProtobufSchema {
    /// Compiles a file; `references` are the files it imports, by their import paths. Google's well-known types are there.
    /// Payloads are the first message of the file; [`ProtobufSchema::select`] chooses another.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(text: &str, references: &[Reference]) -> Result<Self, SchemaError> {
        let file = compile::compile(text, references)?;
        let mut table = Table::default();
        let mut messages = Vec::new();
        for message in file.messages() {
            collect(&message, &mut table, &mut messages);
        }
        let (message, root) = messages.first().cloned().ok_or(SchemaError::NotAnObject)?;
        let inner = Arc::new(Inner {
            file,
            table,
            messages,
        });
        Ok(Self {
            inner,
            message,
            root,
        })
    }

    /// Full names of the file's messages, outer ones before inner ones.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let each = self.inner.messages.iter();
        each.map(|(message, _)| message.full_name().to_owned())
            .collect()
    }

    /// The same schema with another message as what payloads are.
    #[must_use]
    pub fn select(&self, full_name: &str) -> Option<Self> {
        let mut each = self.inner.messages.iter();
        let (message, root) = each.find(|(message, _)| message.full_name() == full_name)?;
        Some(self.rooted(message, *root))
    }

    /// The same by the path from the file to the message; see [`read_message_index`].
    #[must_use]
    pub fn at_index(&self, path: &[i32]) -> Option<Self> {
        let (first, inner) = path.split_first()?;
        let place = |step: &i32| usize::try_from(*step).ok();
        let mut message = self.inner.file.messages().nth(place(first)?)?;
        for step in inner {
            let mut children = message
                .child_messages()
                .filter(|child| !child.is_map_entry());
            let next = children.nth(place(step)?)?;
            drop(children);
            message = next;
        }
        self.select(message.full_name())
    }

    /// The path from the file to the message.
    #[must_use]
    pub fn index_of(&self) -> Vec<i32> {
        let mut path = Vec::new();
        let mut message = self.message.clone();
        loop {
            let parent = message.parent_message();
            let siblings: Vec<MessageDescriptor> = match &parent {
                Some(parent) => parent
                    .child_messages()
                    .filter(|child| !child.is_map_entry())
                    .collect(),
                None => self.inner.file.messages().collect(),
            };
            let place = siblings.iter().position(|sibling| *sibling == message);
            path.push(i32::try_from(place.unwrap_or(0)).unwrap_or(i32::MAX));
            match parent {
                Some(parent) => message = parent,
                None => break,
            }
        }
        path.reverse();
        path
    }

    /// The message that payloads are.
    #[must_use]
    pub fn descriptor(&self) -> MessageDescriptor {
        self.message.clone()
    }

    /// The compiled file, serialized and in base64.
    #[must_use]
    pub fn descriptor_base64(&self) -> String {
        STANDARD.encode(self.inner.file.encode_to_vec())
    }

    /// Whether a text is a compiled file in base64, as [`ProtobufSchema::descriptor_base64`] writes it.
    #[must_use]
    pub fn is_serialized(text: &str) -> bool {
        compile::serialized(text).is_some()
    }

    /// Full name of the message that payloads are.
    #[must_use]
    pub fn name(&self) -> String {
        self.message.full_name().to_owned()
    }

    fn rooted(&self, message: &MessageDescriptor, root: Id) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            message: message.clone(),
            root,
        }
    }

    pub(crate) fn canonical(&self) -> String {
        print::canonical(&self.inner.file)
    }

    pub(crate) fn normalized(&self) -> String {
        print::normalized(&self.inner.file)
    }

    pub(crate) fn check(&self, payload: &[u8]) -> Result<(), Violation> {
        Ok(self.inner.table.check(self.root, payload)?)
    }

    pub(crate) fn decode(&self, payload: &[u8]) -> Result<Value, Violation> {
        self.check(payload)?;
        let message = DynamicMessage::decode(self.message.clone(), payload)
            .map_err(|error| Violation::of("", "wire", "a message", error.to_string()))?;
        Ok(decode::message(&message))
    }

    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u8>, Violation> {
        Ok(encode::encode(&self.message, value)?)
    }

    /// By field numbers, as Protobuf resolves: what this version does not know is left out.
    pub(crate) fn resolve(&self, writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        writer.check(payload)?;
        let same = self.select(&writer.name());
        let reader = same.as_ref().unwrap_or(self);
        reader.encode(&reader.decode(payload)?)
    }

    pub(crate) fn columns(&self) -> Result<Vec<Column>, SchemaError> {
        Ok(shape::columns(&self.message))
    }

    pub(crate) fn shape(&self) -> Shape {
        shape::shape(&self.message)
    }

    pub(crate) fn text_of(shape: &Shape) -> String {
        shape::text_of(shape)
    }

    pub(crate) fn cannot_read(&self, writer: &Self) -> Vec<Incompatibility> {
        compatibility::cannot_read(&self.inner.file, &writer.inner.file)
    }
}

fn collect(
    message: &MessageDescriptor,
    table: &mut Table,
    messages: &mut Vec<(MessageDescriptor, Id)>,
) {
    if message.is_map_entry() {
        return;
    }
    let id = table.add(message);
    messages.push((message.clone(), id));
    for child in message.child_messages() {
        collect(&child, table, messages);
    }
}

/// What a field's member is called: its name, or the `json_name` that somebody gave it. No two fields of a message are called
/// the same: where another one was given this one's name, this one is called as protoc would in JSON.
fn label(field: &FieldDescriptor) -> String {
    let (name, given) = (field.name(), field.json_name());
    let own = given.is_empty() || given == camel(name);
    let taken = || {
        let other = field.parent_message().get_field_by_json_name(name);
        other.is_some_and(|other| other != *field)
    };
    if own && (given.is_empty() || !taken()) {
        name.to_owned()
    } else {
        given.to_owned()
    }
}

/// The JSON name that protoc gives a field: lower camel case.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.push(c.to_ascii_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod generated;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
