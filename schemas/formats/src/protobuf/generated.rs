//! Protobuf files made from a list of choices, and values for any message.
//!
//! A list of choices shrinks well: shorter and smaller ones make smaller files, and where it ends everything is the simplest.

use std::fmt::Write as _;

use crate::Reference;
use proptest::prelude::*;

pub(crate) use values::{Range, value_of};

mod values;

/// Numbers that were drawn, to be chosen by; zeros behind the last.
#[derive(Clone)]
pub(crate) struct Choices {
    drawn: Vec<u64>,
    at: usize,
}

impl std::fmt::Debug for Choices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.drawn)
    }
}

/// Lists of choices, at most `most` of them.
pub(crate) fn choices(most: usize) -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u64>(), 0..most).prop_map(|drawn| Choices { drawn, at: 0 })
}

impl Choices {
    pub(crate) fn next(&mut self) -> u64 {
        self.at += 1;
        self.drawn.get(self.at - 1).copied().unwrap_or(0)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    pub(super) fn rarely(&mut self, one_in: usize) -> bool {
        self.below(one_in) == one_in - 1
    }

    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// A file with what it imports.
#[derive(Clone)]
pub(crate) struct Generated {
    pub(crate) text: String,
    pub(crate) references: Vec<Reference>,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

const BASE: &str = "syntax = \"proto2\"; package other; message Base { required int32 id = 1; optional group Part = 2 { repeated string words = 1; } }";
const KINDS: &str = "syntax = \"proto3\"; package other; import public \"other/base.proto\";
message Shared { string name = 1; Shared next = 2; map<string, Shared> by_name = 3; Kind kind = 4; repeated sint32 deltas = 5; }
enum Kind { KIND_NONE = 0; KIND_FULL = 1; KIND_LATE = -1; }";

const SCALARS: [&str; 15] = [
    "int32", "string", "double", "float", "int64", "uint32", "uint64", "sint32", "sint64",
    "fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "bytes",
];
const KEYS: [&str; 12] = [
    "string", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
    "sfixed32", "sfixed64", "bool",
];
const KNOWN: [&str; 18] = [
    "Timestamp",
    "Duration",
    "Struct",
    "Value",
    "ListValue",
    "DoubleValue",
    "FloatValue",
    "Int64Value",
    "UInt64Value",
    "Int32Value",
    "UInt32Value",
    "BoolValue",
    "StringValue",
    "BytesValue",
    "FieldMask",
    "Any",
    "Empty",
    "NullValue",
];
const IMPORTS: [&str; 7] = [
    "timestamp",
    "duration",
    "struct",
    "wrappers",
    "field_mask",
    "any",
    "empty",
];

/// Writes one file.
struct Writer<'a> {
    choices: &'a mut Choices,
    proto3: bool,
    out: String,
    /// Full names of the file's messages that others may hold.
    messages: Vec<String>,
    /// Full names of its enumerations, each with a symbol of it.
    enums: Vec<(String, String)>,
    /// Messages that take extensions.
    extensible: Vec<String>,
    names: usize,
}

/// A message before its fields: its full name, its own name and what lies in it.
struct Plan {
    full: String,
    short: String,
    inner: Vec<Plan>,
    enums: Vec<Symbols>,
    extensible: bool,
}

struct Symbols {
    short: String,
    alias: bool,
    values: Vec<(String, i32)>,
}

/// A file with messages of every kind, the first of which payloads are.
pub(crate) fn file(choices: &mut Choices) -> Generated {
    let proto3 = choices.below(2) == 0;
    let package = choices.one(&["", "g", "g.air_1"]);
    let mut writer = Writer {
        choices,
        proto3,
        out: String::new(),
        messages: Vec::new(),
        enums: Vec::new(),
        extensible: Vec::new(),
        names: 0,
    };
    writer.line(&format!(
        "syntax = \"proto{}\";",
        if proto3 { 3 } else { 2 }
    ));
    if !package.is_empty() {
        writer.line(&format!("package {package};"));
    }
    writer.line("import \"other/kinds.proto\";");
    for name in IMPORTS {
        writer.line(&format!("import \"google/protobuf/{name}.proto\";"));
    }
    if writer.choices.rarely(3) {
        writer.line(
            "option java_package = \"com.example.\\\"air\\\"\"; option optimize_for = SPEED;",
        );
    }
    let scope = if package.is_empty() {
        String::new()
    } else {
        format!(".{package}")
    };
    let count = 1 + writer.choices.below(3);
    let plans: Vec<Plan> = (0..count).map(|_| writer.plan(&scope, 2)).collect();
    let symbols: Vec<Symbols> = (0..writer.choices.below(2))
        .map(|_| writer.symbols(&scope))
        .collect();
    plans.iter().for_each(|plan| writer.message(plan));
    symbols.iter().for_each(|own| writer.enumeration(own));
    if let Some(extended) = writer.extensible.first().cloned() {
        writer.extend(&extended, 1000);
    }
    if writer.choices.rarely(4) {
        let name = writer.messages[0].clone();
        writer.line(&format!("service S {{ rpc Call ({name}) returns (stream {name}); rpc Send (stream {name}) returns ({name}) {{ option deprecated = true; }} }}"));
    }
    let reference = |name: &str, text: &str| Reference {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    Generated {
        text: writer.out,
        references: vec![
            reference("other/base.proto", BASE),
            reference("other/kinds.proto", KINDS),
        ],
    }
}

impl Writer<'_> {
    fn line(&mut self, text: &str) {
        // Writing to a string does not fail.
        let _written = writeln!(self.out, "{text}");
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn plan(&mut self, scope: &str, depth: usize) -> Plan {
        let short = self.name("M");
        let full = format!("{scope}.{short}");
        self.messages.push(full.clone());
        let inner = if depth == 0 { 0 } else { self.choices.below(3) };
        let inner = (0..inner).map(|_| self.plan(&full, depth - 1)).collect();
        let enums = (0..self.choices.below(2))
            .map(|_| self.symbols(&full))
            .collect();
        let extensible = !self.proto3 && self.choices.rarely(3);
        if extensible {
            self.extensible.push(full.clone());
        }
        Plan {
            full,
            short,
            inner,
            enums,
            extensible,
        }
    }

    fn symbols(&mut self, scope: &str) -> Symbols {
        let short = self.name("E");
        let first = if self.proto3 {
            0
        } else {
            [0, 1, -7][self.choices.below(3)]
        };
        let mut values = vec![(format!("{short}_A"), first)];
        for (place, number) in [i32::MAX, -1, 5, i32::MIN, 128].into_iter().enumerate() {
            if self.choices.below(2) == 1 {
                values.push((format!("{short}_V{place}"), number));
            }
        }
        let alias = self.choices.rarely(3);
        if alias {
            let number = values[self.choices.below(values.len())].1;
            values.push((format!("{short}_again"), number));
        }
        let full = format!("{scope}.{short}");
        self.enums.push((full, values[values.len() - 1].0.clone()));
        Symbols {
            short,
            alias,
            values,
        }
    }

    fn enumeration(&mut self, own: &Symbols) {
        self.line(&format!("enum {} {{", own.short));
        if own.alias {
            self.line("option allow_alias = true;");
        }
        for (name, number) in &own.values {
            let settings = if self.choices.rarely(6) {
                " [deprecated = true]"
            } else {
                ""
            };
            self.line(&format!("{name} = {number}{settings};"));
        }
        if self.choices.rarely(4) {
            self.line("reserved 300, 400 to 410, -30 to -20; reserved \"GONE\";");
        }
        self.line("}");
    }

    fn message(&mut self, plan: &Plan) {
        self.line(&format!("message {} {{", plan.short));
        if self.choices.rarely(5) {
            self.line("option deprecated = true;");
        }
        // Inner ones may stand anywhere.
        let before = self.choices.below(2) == 0;
        if before {
            plan.inner.iter().for_each(|inner| self.message(inner));
        }
        let mut fields = Fields::default();
        for _ in 0..self.choices.below(7) {
            self.member(&mut fields);
        }
        if !before {
            plan.inner.iter().for_each(|inner| self.message(inner));
        }
        plan.enums.iter().for_each(|own| self.enumeration(own));
        if plan.extensible {
            self.line("extensions 1000 to 1100; extensions 5000 to 6000;");
            if self.choices.below(2) == 1 {
                self.extend(&plan.full, 1050);
            }
        } else if self.choices.rarely(4) {
            self.line("reserved 900, 910 to 920; reserved \"gone\", \"left\";");
        }
        self.line("}");
    }

    /// Extensions of a message, numbered from `number` on.
    fn extend(&mut self, full: &str, number: usize) {
        self.line(&format!("extend {full} {{"));
        for number in number..number + 1 + self.choices.below(3) {
            let name = self.name("ext_");
            let label = self.choices.one(&["optional ", "repeated "]);
            if self.choices.rarely(5) {
                let name = self.name("Group");
                self.line(&format!(
                    "{label}group {name} = {number} {{ optional int32 x = 1; }}"
                ));
                continue;
            }
            let kind = self.single();
            let default = self.default(&kind).filter(|_| label == "optional ");
            let settings = default.map_or_else(String::new, |default| format!(" [{default}]"));
            self.line(&format!("{label}{kind} {name} = {number}{settings};"));
        }
        self.line("}");
    }

    /// A field, or several in a oneof.
    fn member(&mut self, fields: &mut Fields) {
        match self.choices.below(if self.proto3 { 7 } else { 8 }) {
            0 => {
                let kind = self.choices.one(&SCALARS).to_owned();
                let label = self.label();
                self.field(fields, label, &kind);
            }
            1 => {
                let kind = self.choices.one(&SCALARS).to_owned();
                self.field(fields, "repeated ", &kind);
            }
            2 => {
                let key = self.choices.one(&KEYS);
                let value = self.single();
                self.field(fields, "", &format!("map<{key}, {value}>"));
            }
            3 | 4 => {
                let kind = self.single();
                let label = if self.proto3 {
                    self.choices.one(&["", "optional ", "repeated "])
                } else {
                    self.choices.one(&["optional ", "repeated "])
                };
                self.field(fields, label, &kind);
            }
            5 => self.oneof(fields),
            6 => {
                let kind = format!(".google.protobuf.{}", self.choices.one(&KNOWN));
                let label = if self.proto3 { "" } else { "optional " };
                self.field(fields, label, &kind);
            }
            _ => {
                let label = self.choices.one(&["optional ", "repeated ", "required "]);
                self.group(fields, label);
            }
        }
    }

    fn label(&mut self) -> &'static str {
        if self.proto3 {
            self.choices.one(&["", "optional "])
        } else {
            self.choices.one(&["optional ", "required "])
        }
    }

    fn oneof(&mut self, fields: &mut Fields) {
        let name = self.name("choice_");
        self.line(&format!("oneof {name} {{"));
        for _ in 0..1 + self.choices.below(3) {
            if !self.proto3 && self.choices.rarely(6) {
                self.group(fields, "");
            } else {
                let kind = self.single();
                self.field(fields, "", &kind);
            }
        }
        self.line("}");
    }

    fn group(&mut self, fields: &mut Fields, label: &str) {
        let name = self.name("Group");
        let number = fields.number(self.choices);
        self.line(&format!("{label}group {name} = {number} {{"));
        let mut inner = Fields::default();
        for _ in 0..self.choices.below(3) {
            self.member(&mut inner);
        }
        self.line("}");
    }

    /// A type of one value: of this file, of another, or Google's.
    fn single(&mut self) -> String {
        match self.choices.below(7) {
            0 | 1 => self.choices.one(&SCALARS).to_owned(),
            2 | 3 => self.messages[self.choices.below(self.messages.len())].clone(),
            4 if !self.enums.is_empty() => {
                self.enums[self.choices.below(self.enums.len())].0.clone()
            }
            4 | 5 => self
                .choices
                .one(&[".other.Shared", ".other.Kind", ".other.Base"])
                .to_owned(),
            _ => format!(".google.protobuf.{}", self.choices.one(&KNOWN)),
        }
    }

    fn field(&mut self, fields: &mut Fields, label: &str, kind: &str) {
        let number = fields.number(self.choices);
        let (name, given) = fields.name(self.choices);
        let mut settings = Vec::new();
        let packable = SCALARS.contains(&kind) && !["string", "bytes"].contains(&kind);
        if label == "repeated " && packable && self.choices.below(2) == 1 {
            settings.push(format!("packed = {}", self.choices.one(&["true", "false"])));
        }
        if label == "optional " && !self.proto3 && self.choices.below(2) == 1 {
            settings.extend(self.default(kind));
        }
        if let Some(given) = given {
            settings.push(format!("json_name = {given:?}"));
        }
        if self.choices.rarely(6) {
            settings.push("deprecated = true".to_owned());
        }
        let settings = if settings.is_empty() {
            String::new()
        } else {
            format!(" [{}]", settings.join(", "))
        };
        self.line(&format!("{label}{kind} {name} = {number}{settings};"));
    }

    fn default(&mut self, kind: &str) -> Option<String> {
        let word = match kind {
            "int32" | "sint32" | "sfixed32" => self.choices.one(&["-2147483648", "7", "0x10"]),
            "int64" | "sint64" | "sfixed64" => self.choices.one(&["-9223372036854775808", "017"]),
            "uint32" | "fixed32" => "4294967295",
            "uint64" | "fixed64" => "18446744073709551615",
            "double" | "float" => self
                .choices
                .one(&["0.1", "-inf", "nan", "1e30", "-0.0", "3"]),
            "bool" => self.choices.one(&["true", "false"]),
            "string" => self.choices.one(&[
                r#""""#,
                r#""a\"b\\c\n\t'd'""#,
                r#""d\303\251part \u00e9""#,
                r#""\001\x7f?""#,
            ]),
            "bytes" => self
                .choices
                .one(&[r#""""#, r#""\000\377\"\\x'\n""#, r#""plain""#]),
            other => {
                return self
                    .enums
                    .iter()
                    .find(|(name, _)| name == other)
                    .map(|(_, symbol)| format!("default = {symbol}"));
            }
        };
        Some(format!("default = {word}"))
    }
}

/// What a message's fields have taken.
#[derive(Default)]
struct Fields {
    last: u32,
    far: u32,
    count: usize,
}

impl Fields {
    fn number(&mut self, choices: &mut Choices) -> u32 {
        if choices.rarely(8) {
            self.far += 1;
            return 536_870_912 - self.far;
        }
        let next = self.last + 1 + [0, 0, 3, 12, 90][choices.below(5)];
        // What extensions and reserved ranges of the file begin with.
        self.last = next.min(880);
        if next > 880 {
            self.far += 1;
            return 536_870_912 - self.far;
        }
        next
    }

    /// Its name, and the name that it is given for JSON.
    fn name(&mut self, choices: &mut Choices) -> (String, Option<String>) {
        self.count += 1;
        let count = self.count;
        let name = match choices.below(8) {
            0 | 1 => format!("f_{count}"),
            2 => format!("camelCase{count}"),
            3 => format!("UPPER_{count}_x"),
            4 => format!("_a__{count}_"),
            5 => format!("message{count}"),
            6 => [
                "message", "optional", "to", "max", "syntax", "package", "string", "group",
            ]
            .get(count)
            .map_or(format!("w{count}"), |word| (*word).to_owned()),
            _ => format!("x{count}y_2"),
        };
        let given = match choices.below(9) {
            6 => Some(format!("given-{count}")),
            7 => Some(format!("q\"uote \\ \u{e9} {count}")),
            // What another field may be called.
            8 if count > 1 => Some(format!("f_{}", count - 1)),
            _ => None,
        };
        (name, given)
    }
}
