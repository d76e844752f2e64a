//! A file's text in one spelling: no comments, types by their full names, options as they are set.

use std::fmt::Write as _;

use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    Syntax, Value,
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
        for message in file.messages() {
            self.message(&message);
        }
        for symbols in file.enums() {
            self.symbols(&symbols);
        }
        for extension in &proto.extension {
            let extendee = extension.extendee();
            self.line(&format!("extend {extendee} {{"));
            self.depth += 1;
            let label = self.label(extension);
            self.line(&format!(
                "{label}{} {} = {};",
                type_of(extension),
                extension.name(),
                extension.number()
            ));
            self.depth -= 1;
            self.line("}");
        }
        for service in &proto.service {
            self.line(&format!("service {} {{", service.name()));
            self.depth += 1;
            for method in &service.method {
                let stream = |yes: bool| if yes { "stream " } else { "" };
                self.line(&format!(
                    "rpc {} ({}{}) returns ({}{});",
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                ));
            }
            self.depth -= 1;
            self.line("}");
        }
        self.out
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
        let mut fields: Vec<FieldDescriptor> = message.fields().collect();
        if self.sorted {
            fields.sort_by_key(FieldDescriptor::number);
        } else {
            let place = |field: &FieldDescriptor| {
                proto
                    .field
                    .iter()
                    .position(|own| own.name() == field.name())
            };
            fields.sort_by_key(place);
        }
        let mut told: Vec<String> = Vec::new();
        for field in &fields {
            match field
                .containing_oneof()
                .filter(|oneof| !oneof.is_synthetic())
            {
                None => self.field(field, true),
                Some(oneof) if told.iter().any(|name| name == oneof.name()) => {}
                Some(oneof) => {
                    told.push(oneof.name().to_owned());
                    self.line(&format!("oneof {} {{", oneof.name()));
                    self.depth += 1;
                    let own = fields
                        .iter()
                        .filter(|field| field.containing_oneof().as_ref() == Some(&oneof));
                    own.for_each(|field| self.field(field, false));
                    self.depth -= 1;
                    self.line("}");
                }
            }
        }
        for child in message
            .child_messages()
            .filter(|child| !child.is_map_entry())
        {
            // A group is described where it is used.
            let group = fields.iter().any(|field| {
                field.is_group() && matches!(field.kind(), Kind::Message(own) if own == child)
            });
            if !group {
                self.message(&child);
            }
        }
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
        let mut settings = settings(&field.options());
        if let Some(default) = &proto.default_value {
            let text = match proto.r#type() {
                Type::String => format!("{default:?}"),
                // The descriptor has them escaped already.
                Type::Bytes => format!("\"{default}\""),
                _ => default.clone(),
            };
            settings.insert(0, format!("default = {text}"));
        }
        if !field.json_name().is_empty() && field.json_name() != camel(field.name()) {
            settings.push(format!("json_name = {:?}", field.json_name()));
        }
        if self.sorted {
            settings.sort();
        }
        let settings = if settings.is_empty() {
            String::new()
        } else {
            format!(" [{}]", settings.join(", "))
        };
        let number = field.number();
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                let (key, value) = (key.field_descriptor_proto(), value.field_descriptor_proto());
                self.line(&format!(
                    "map<{}, {}> {} = {number}{settings};",
                    type_of(key),
                    type_of(value),
                    field.name()
                ));
            }
            Kind::Message(group) if field.is_group() => {
                self.line(&format!(
                    "{label}group {} = {number}{settings} {{",
                    group.name()
                ));
                self.body(&group);
                self.line("}");
            }
            _ => self.line(&format!(
                "{label}{} {} = {number}{settings};",
                type_of(proto),
                field.name()
            )),
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
