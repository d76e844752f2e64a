//! A file's text in one spelling: no comments, types by their full names, options as they are set.

use std::fmt::Write as _;

use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, OneofDescriptor, ServiceDescriptor, Syntax, Value,
};

use super::camel;

/// The text by which two schemas are known to be the same: everything in the order it was written.
pub(super) fn canonical(file: &FileDescriptor) -> String {
    Printer::new(file, false).file(file)
}

/// The same with imports, fields and symbols in an order of their own. Messages stay: their order numbers them.
pub(super) fn normalized(file: &FileDescriptor) -> String {
    Printer::new(file, true).file(file)
}

struct Printer {
    sorted: bool,
    proto3: bool,
    out: String,
    depth: usize,
}

impl Printer {
    fn new(file: &FileDescriptor, sorted: bool) -> Self {
        Self {
            sorted,
            proto3: file.syntax() == Syntax::Proto3,
            out: String::new(),
            depth: 0,
        }
    }

    fn line(&mut self, text: &str) {
        // Writing to a string does not fail.
        let _written = writeln!(self.out, "{:width$}{text}", "", width = 2 * self.depth);
    }

    fn file(mut self, file: &FileDescriptor) -> String {
        let proto = file.file_descriptor_proto();
        self.line(if self.proto3 {
            "syntax = \"proto3\";"
        } else {
            "syntax = \"proto2\";"
        });
        if !file.package_name().is_empty() {
            self.line(&format!("package {};", file.package_name()));
        }
        let public = |index: usize| {
            i32::try_from(index).is_ok_and(|index| proto.public_dependency.contains(&index))
        };
        let imports = proto.dependency.iter().enumerate();
        let mut imports: Vec<String> = imports
            .map(|(index, name)| {
                format!(
                    "import {}\"{name}\";",
                    if public(index) { "public " } else { "" }
                )
            })
            .collect();
        if self.sorted {
            imports.sort();
        }
        imports.iter().for_each(|import| self.line(import));
        self.options(&file.options());
        let extensions: Vec<_> = file.extensions().collect();
        for message in file.messages() {
            match extensions
                .iter()
                .find(|own| is_group(&own.kind(), own.is_group(), &message))
            {
                // Where it is described, because messages are numbered by their order.
                Some(own) => self.extension(own),
                None => self.message(&message),
            }
        }
        for symbols in file.enums() {
            self.symbols(&symbols);
        }
        let others = extensions.iter().filter(|own| !own.is_group());
        others.for_each(|own| self.extension(own));
        for service in file.services() {
            self.service(&service);
        }
        self.out
    }

    fn service(&mut self, service: &ServiceDescriptor) {
        self.line(&format!("service {} {{", service.name()));
        self.depth += 1;
        self.options(&service.options());
        for method in service.methods() {
            let stream = |yes: bool| if yes { "stream " } else { "" };
            let head = format!(
                "rpc {} ({}.{}) returns ({}.{})",
                method.name(),
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name()
            );
            let options = method.options();
            if settings(&options).is_empty() {
                self.line(&format!("{head};"));
                continue;
            }
            self.line(&format!("{head} {{"));
            self.depth += 1;
            self.options(&options);
            self.depth -= 1;
            self.line("}");
        }
        self.depth -= 1;
        self.line("}");
    }

    fn extension(&mut self, own: &ExtensionDescriptor) {
        let proto = own.field_descriptor_proto();
        self.line(&format!("extend {} {{", proto.extendee()));
        self.depth += 1;
        let label = self.label(proto);
        let settings = self.settings(proto, &own.options(), None);
        self.typed(label, proto, &own.kind(), &settings);
        self.depth -= 1;
        self.line("}");
    }

    fn options(&mut self, options: &DynamicMessage) {
        for option in settings(options) {
            self.line(&format!("option {option};"));
        }
    }

    fn message(&mut self, message: &MessageDescriptor) {
        self.line(&format!("message {} {{", message.name()));
        self.body(message);
        self.line("}");
    }

    fn body(&mut self, message: &MessageDescriptor) {
        self.depth += 1;
        let proto: &DescriptorProto = message.descriptor_proto();
        self.options(&message.options());
        let place = |field: &FieldDescriptor| {
            let mut own = proto.field.iter();
            own.position(|own| own.name() == field.name())
        };
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        fields.sort_by_key(place);
        if self.sorted {
            // Those that hold a group stay in their order behind the others: it numbers the messages.
            fields.sort_by_key(|field| {
                let number = if holds_group(field) {
                    0
                } else {
                    field.number()
                };
                (holds_group(field), number)
            });
        }
        let extensions: Vec<_> = message.child_extensions().collect();
        let children = message
            .child_messages()
            .filter(|child| !child.is_map_entry());
        let mut children: Vec<MessageDescriptor> = children.collect();
        let mut told: Vec<String> = Vec::new();
        for field in &fields {
            let groups: Vec<_> = siblings(field).iter().filter_map(group_of).collect();
            // What stands before a group stays there.
            if let Some(place) = children.iter().position(|child| groups.contains(child)) {
                children
                    .drain(..place)
                    .for_each(|child| self.child(&child, &extensions));
            }
            match real_oneof(field) {
                None => self.field(field, true),
                Some(oneof) if told.iter().any(|name| name == oneof.name()) => {}
                Some(oneof) => {
                    told.push(oneof.name().to_owned());
                    self.line(&format!("oneof {} {{", oneof.name()));
                    self.depth += 1;
                    self.options(&oneof.options());
                    let own = fields
                        .iter()
                        .filter(|field| field.containing_oneof().as_ref() == Some(&oneof));
                    own.for_each(|field| self.field(field, false));
                    self.depth -= 1;
                    self.line("}");
                }
            }
            children.retain(|child| !groups.contains(child));
        }
        for child in children {
            self.child(&child, &extensions);
        }
        let others = extensions.iter().filter(|own| !own.is_group());
        others.for_each(|own| self.extension(own));
        message
            .child_enums()
            .for_each(|symbols| self.symbols(&symbols));
        self.ranges(proto);
        self.depth -= 1;
    }

    fn ranges(&mut self, proto: &DescriptorProto) {
        let range = |start: i32, end: i32| match end - 1 {
            last if last == start => start.to_string(),
            536_870_911 => format!("{start} to max"),
            last => format!("{start} to {last}"),
        };
        for own in &proto.extension_range {
            self.line(&format!("extensions {};", range(own.start(), own.end())));
        }
        for own in &proto.reserved_range {
            self.line(&format!("reserved {};", range(own.start(), own.end())));
        }
        for name in &proto.reserved_name {
            self.line(&format!("reserved \"{name}\";"));
        }
    }

    fn label(&self, proto: &FieldDescriptorProto) -> &'static str {
        match proto.label() {
            Label::Repeated => "repeated ",
            Label::Required => "required ",
            Label::Optional if proto.proto3_optional() || !self.proto3 => "optional ",
            Label::Optional => "",
        }
    }

    fn field(&mut self, field: &FieldDescriptor, labelled: bool) {
        let proto = field.field_descriptor_proto();
        let label = if labelled { self.label(proto) } else { "" };
        let settings = self.settings(proto, &field.options(), Some(field));
        let Kind::Message(entry) = field.kind() else {
            return self.typed(label, proto, &field.kind(), &settings);
        };
        if !field.is_map() {
            return self.typed(label, proto, &field.kind(), &settings);
        }
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let (key, value) = (key.field_descriptor_proto(), value.field_descriptor_proto());
        self.line(&format!(
            "map<{}, {}> {} = {}{settings};",
            type_of(key),
            type_of(value),
            field.name(),
            field.number()
        ));
    }

    /// What stands in brackets behind a field or, where `field` is none, an extension.
    fn settings(
        &self,
        proto: &FieldDescriptorProto,
        options: &DynamicMessage,
        field: Option<&FieldDescriptor>,
    ) -> String {
        let mut settings = settings(options);
        if let Some(default) = &proto.default_value {
            let text = match proto.r#type() {
                Type::String => quoted(default),
                // The descriptor has them escaped already.
                Type::Bytes => format!("\"{default}\""),
                // Whole numbers beyond 64 bits are read as such with a point alone.
                Type::Float | Type::Double
                    if !default.contains(['.', 'e', 'n'])
                        && default.trim_start_matches('-').parse::<u64>().is_err() =>
                {
                    format!("{default}.0")
                }
                _ => default.clone(),
            };
            settings.insert(0, format!("default = {text}"));
        }
        if let Some(field) = field
            && !field.json_name().is_empty()
            && field.json_name() != camel(field.name())
        {
            settings.push(format!("json_name = {}", quoted(field.json_name())));
        }
        if self.sorted {
            settings.sort();
        }
        if settings.is_empty() {
            String::new()
        } else {
            format!(" [{}]", settings.join(", "))
        }
    }

    /// The line of a field or extension that is no map, or the lines of a group.
    fn typed(&mut self, label: &str, proto: &FieldDescriptorProto, kind: &Kind, settings: &str) {
        let number = proto.number();
        match kind {
            Kind::Message(group) if proto.r#type() == Type::Group => {
                self.line(&format!(
                    "{label}group {} = {number}{settings} {{",
                    group.name()
                ));
                self.body(group);
                self.line("}");
            }
            _ => self.line(&format!(
                "{label}{} {} = {number}{settings};",
                type_of(proto),
                proto.name()
            )),
        }
    }

    /// A message within another, or the extension that is a group and describes it.
    fn child(&mut self, child: &MessageDescriptor, extensions: &[ExtensionDescriptor]) {
        match extensions
            .iter()
            .find(|own| is_group(&own.kind(), own.is_group(), child))
        {
            Some(own) => self.extension(own),
            None => self.message(child),
        }
    }

    fn symbols(&mut self, symbols: &EnumDescriptor) {
        self.line(&format!("enum {} {{", symbols.name()));
        self.depth += 1;
        self.options(&symbols.options());
        let proto: &EnumDescriptorProto = symbols.enum_descriptor_proto();
        let mut values: Vec<_> = symbols.values().collect();
        let place = |name: &str| proto.value.iter().position(|own| own.name() == name);
        values.sort_by_key(|value| place(value.name()));
        if self.sorted && !self.proto3 {
            values.sort_by_key(|value| value.number());
        } else if self.sorted && values.len() > 1 {
            // In proto3 the first one is zero.
            values[1..].sort_by_key(|value| value.number());
        }
        for value in values {
            let settings = settings(&value.options());
            let settings = if settings.is_empty() {
                String::new()
            } else {
                format!(" [{}]", settings.join(", "))
            };
            self.line(&format!("{} = {}{settings};", value.name(), value.number()));
        }
        for own in &proto.reserved_range {
            let range = match (own.start(), own.end()) {
                (start, end) if start == end => start.to_string(),
                (start, i32::MAX) => format!("{start} to max"),
                (start, end) => format!("{start} to {end}"),
            };
            self.line(&format!("reserved {range};"));
        }
        for name in &proto.reserved_name {
            self.line(&format!("reserved \"{name}\";"));
        }
        self.depth -= 1;
        self.line("}");
    }
}

/// A text as the language writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string does not fail.
            '\0'..=' ' | '\x7f' if c != ' ' => drop(write!(out, "\\{:03o}", u32::from(c))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn is_group(kind: &Kind, group: bool, message: &MessageDescriptor) -> bool {
    group && matches!(kind, Kind::Message(own) if own == message)
}

/// The message of a field that is a group.
fn group_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(group) if field.is_group() => Some(group),
        _ => None,
    }
}

fn real_oneof(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field
        .containing_oneof()
        .filter(|oneof| !oneof.is_synthetic())
}

/// The fields that are written in one block with it.
fn siblings(field: &FieldDescriptor) -> Vec<FieldDescriptor> {
    match real_oneof(field) {
        Some(oneof) => oneof.fields().collect(),
        None => vec![field.clone()],
    }
}

fn holds_group(field: &FieldDescriptor) -> bool {
    siblings(field).iter().any(FieldDescriptor::is_group)
}

fn type_of(proto: &FieldDescriptorProto) -> String {
    match proto.r#type() {
        Type::Message | Type::Enum | Type::Group => proto.type_name().to_owned(),
        other => format!("{other:?}").to_ascii_lowercase(),
    }
}

/// Options as `name = value`, those of our own making included.
fn settings(options: &DynamicMessage) -> Vec<String> {
    let own = options
        .fields()
        .filter(|(field, _)| field.name() != "uninterpreted_option");
    let own = own.map(|(field, value)| (field.name().to_owned(), value, field.kind()));
    let added = options.extensions();
    let added =
        added.map(|(field, value)| (format!("(.{})", field.full_name()), value, field.kind()));
    let each = own.chain(added).flat_map(|(name, value, kind)| {
        let values = match value {
            Value::List(items) => items.iter().map(|item| shown(item, &kind)).collect(),
            other => vec![shown(other, &kind)],
        };
        values
            .into_iter()
            .map(move |value| format!("{name} = {value}"))
    });
    each.collect()
}

fn shown(value: &Value, kind: &Kind) -> String {
    match (value, kind) {
        (Value::Message(message), _) => format!("{{ {} }}", message.to_text_format()),
        (Value::EnumNumber(number), Kind::Enum(symbols)) => symbols
            .get_value(*number)
            .map_or_else(|| number.to_string(), |symbol| symbol.name().to_owned()),
        (other, _) => other.to_string(),
    }
}
