//! Which schemas can read what others wrote: the rules of the Confluent registry (design/schemas.md, 3.6), with its words.
//!
//! Compatible: messages, enumerations, symbols, fields and oneofs that are added, names that change, symbols that are renumbered
//! or removed, fields that are removed (but for required ones and those of a oneof), text and bytes that become repeated or are
//! no longer, a field that leaves a oneof or goes into a new one alone. The rest is not.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use crate::Incompatibility;

pub(super) fn cannot_read(
    reader: &FileDescriptor,
    writer: &FileDescriptor,
) -> Vec<Incompatibility> {
    let mut found = Vec::new();
    if reader.package_name() != writer.package_name() {
        let message = format!(
            "the package was `{}` and is `{}`",
            writer.package_name(),
            reader.package_name()
        );
        note(
            &mut found,
            "PACKAGE_CHANGED",
            reader.package_name(),
            message,
        );
        return found;
    }
    messages(
        &mut found,
        &by_name(reader.messages()),
        &by_name(writer.messages()),
    );
    found
}

fn note(found: &mut Vec<Incompatibility>, kind: &str, path: &str, message: String) {
    found.push(Incompatibility {
        kind: kind.to_owned(),
        path: path.to_owned(),
        message,
    });
}

type Messages = BTreeMap<String, MessageDescriptor>;

fn by_name(messages: impl Iterator<Item = MessageDescriptor>) -> Messages {
    let own = messages.filter(|message| !message.is_map_entry());
    own.map(|message| (message.name().to_owned(), message))
        .collect()
}

fn messages(found: &mut Vec<Incompatibility>, new: &Messages, old: &Messages) {
    for (name, old) in old {
        match new.get(name) {
            Some(new) => compare(found, new, old),
            None => {
                let message = format!("message `{}` was removed", old.full_name());
                note(found, "MESSAGE_REMOVED", old.full_name(), message);
            }
        }
    }
}

fn compare(found: &mut Vec<Incompatibility>, new: &MessageDescriptor, old: &MessageDescriptor) {
    for field in old.fields() {
        let path = format!("{}.{}", old.full_name(), field.number());
        match new.get_field(field.number()) {
            Some(now) => fields(found, &path, &now, &field),
            None => removed(found, &path, &field),
        }
    }
    for field in new.fields().filter(FieldDescriptor::is_required) {
        if old.get_field(field.number()).is_none() {
            let path = format!("{}.{}", new.full_name(), field.number());
            let message = format!("required field `{}` was added", field.name());
            note(found, "REQUIRED_FIELD_ADDED", &path, message);
        }
    }
    oneofs(found, new, old);
    messages(
        found,
        &by_name(new.child_messages()),
        &by_name(old.child_messages()),
    );
}

fn removed(found: &mut Vec<Incompatibility>, path: &str, field: &FieldDescriptor) {
    let (kind, what) = if field.is_required() {
        ("REQUIRED_FIELD_REMOVED", "required field")
    } else if real_oneof(field).is_some() {
        ("ONEOF_FIELD_REMOVED", "oneof field")
    } else {
        return;
    };
    note(
        found,
        kind,
        path,
        format!("{what} `{}` was removed", field.name()),
    );
}

fn real_oneof(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic())
}

fn fields(
    found: &mut Vec<Incompatibility>,
    path: &str,
    new: &FieldDescriptor,
    old: &FieldDescriptor,
) {
    let (new_kind, old_kind) = (new.kind(), old.kind());
    let mut changed = |kind: &str| {
        let message = format!(
            "field `{}` was `{}` and is `{}`",
            new.name(),
            type_of(old),
            type_of(new)
        );
        note(found, kind, path, message);
    };
    if new.is_map() != old.is_map() {
        return changed("FIELD_KIND_CHANGED");
    }
    if let (true, Kind::Message(new_entry), Kind::Message(old_entry)) =
        (new.is_map(), &new_kind, &old_kind)
    {
        for (now, before) in [
            (
                new_entry.map_entry_key_field(),
                old_entry.map_entry_key_field(),
            ),
            (
                new_entry.map_entry_value_field(),
                old_entry.map_entry_value_field(),
            ),
        ] {
            fields(found, path, &now, &before);
        }
        return;
    }
    match (&new_kind, &old_kind) {
        (Kind::Message(new_type), Kind::Message(old_type)) => {
            if new_type.full_name() != old_type.full_name() {
                changed("FIELD_NAMED_TYPE_CHANGED");
            }
            return;
        }
        (Kind::Enum(new_type), Kind::Enum(old_type))
            if new_type.full_name() != old_type.full_name() =>
        {
            changed("FIELD_NAMED_TYPE_CHANGED");
        }
        (Kind::Message(_), _) | (_, Kind::Message(_)) => return changed("FIELD_KIND_CHANGED"),
        _ if group(&new_kind) != group(&old_kind) => {
            let named = matches!(new_kind, Kind::Enum(_)) || matches!(old_kind, Kind::Enum(_));
            changed(if named {
                "FIELD_KIND_CHANGED"
            } else {
                "FIELD_SCALAR_KIND_CHANGED"
            });
        }
        _ => {}
    }
    let text = |kind: &Kind| matches!(kind, Kind::String | Kind::Bytes);
    if new.is_list() != old.is_list() && !(text(&new_kind) && text(&old_kind)) {
        changed("FIELD_NUMERIC_LABEL_CHANGED");
    }
}

/// Kinds that read each other's bytes.
fn group(kind: &Kind) -> u8 {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => 0,
        Kind::Sint32 | Kind::Sint64 => 1,
        Kind::String | Kind::Bytes => 2,
        Kind::Fixed32 | Kind::Sfixed32 => 3,
        Kind::Fixed64 | Kind::Sfixed64 => 4,
        Kind::Float => 5,
        Kind::Double => 6,
        Kind::Message(_) => 7,
    }
}

/// As it is written in a schema.
fn type_of(field: &FieldDescriptor) -> String {
    let name = match field.kind() {
        Kind::Message(message) if field.is_map() => {
            let value = message.map_entry_value_field();
            return format!(
                "map<{:?}, {}>",
                message.map_entry_key_field().kind(),
                type_of(&value)
            );
        }
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(symbols) => symbols.full_name().to_owned(),
        other => format!("{other:?}").to_ascii_lowercase(),
    };
    if field.is_list() {
        format!("repeated {name}")
    } else {
        name
    }
}

fn oneofs(found: &mut Vec<Incompatibility>, new: &MessageDescriptor, old: &MessageDescriptor) {
    for oneof in new.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let known = old
            .oneofs()
            .any(|before| before.name() == oneof.name() && !before.is_synthetic());
        // Fields that were there and in no oneof.
        let moved: Vec<FieldDescriptor> = oneof
            .fields()
            .filter(|field| {
                let before = old.get_field(field.number());
                before.is_some_and(|before| real_oneof(&before).is_none())
            })
            .collect();
        let names: Vec<&str> = moved.iter().map(FieldDescriptor::name).collect();
        let path = oneof.full_name();
        let fields = names.join("`, `");
        if known && !moved.is_empty() {
            let message = format!(
                "field `{fields}` was moved into the oneof `{}`, which was there",
                oneof.name()
            );
            note(found, "FIELD_MOVED_TO_EXISTING_ONEOF", path, message);
        } else if moved.len() > 1 {
            let message = format!(
                "fields `{fields}` were moved into the oneof `{}`",
                oneof.name()
            );
            note(found, "MULTIPLE_FIELDS_MOVED_TO_ONEOF", path, message);
        }
    }
}
