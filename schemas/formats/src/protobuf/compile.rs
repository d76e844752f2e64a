//! From the text of a `.proto` file, and those it imports, to descriptors.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DescriptorPool, FileDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use crate::json::limits::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};
use crate::{Reference, SchemaError};

/// What the file itself is called among its imports.
const OWN: &str = "schema.proto";

/// Files that Confluent's serializers take for known and do not register, by their import path. What they describe is public:
/// field and extension numbers are those of its clients.
const KNOWN: [(&str, &str); 2] = [
    (
        "confluent/meta.proto",
        "syntax = \"proto3\"; package confluent; import \"google/protobuf/descriptor.proto\";
        message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
        extend google.protobuf.FileOptions { Meta file_meta = 1088; }
        extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
        extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
        extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
        extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }",
    ),
    (
        "confluent/type/decimal.proto",
        "syntax = \"proto3\"; package confluent.type;
        message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
];

/// Files by their import path; nothing is read from anywhere else.
struct Given(HashMap<String, File>);

impl FileResolver for Given {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let found = self.0.get(name);
        let copy = found
            .map(|file| File::from_file_descriptor_proto(file.file_descriptor_proto().clone()));
        if let Some(copy) = copy {
            return Ok(copy);
        }
        match KNOWN.iter().find(|(known, _)| *known == name) {
            Some((_, source)) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

pub(super) fn compile(text: &str, references: &[Reference]) -> Result<FileDescriptor, SchemaError> {
    let mut files = HashMap::new();
    for reference in references {
        files.insert(
            reference.name.clone(),
            parse(&reference.name, &reference.text)?,
        );
    }
    // An import of that name is somebody else's file.
    let own = if files.contains_key(OWN) {
        "millstream.schema.proto"
    } else {
        OWN
    };
    files.insert(own.to_owned(), parse(own, text)?);
    let mut resolver = ChainFileResolver::new();
    resolver.add(Given(files));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(own).map_err(|error| refusal(&error))?;
    let pool: DescriptorPool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(own);
    let file = file.ok_or_else(|| invalid("the file is not among what was compiled"))?;
    if file.messages().len() == 0 {
        return Err(invalid("the file has no message; describe one"));
    }
    let size: usize = pool
        .all_messages()
        .map(|message| 1 + message.fields().len())
        .sum();
    let size = size
        + pool
            .all_enums()
            .map(|own| own.values().len())
            .sum::<usize>();
    if size > MAX_SCHEMA_NODES {
        return Err(SchemaError::TooMany {
            limit: MAX_SCHEMA_NODES,
        });
    }
    Ok(file)
}

fn parse(name: &str, text: &str) -> Result<File, SchemaError> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(SchemaError::TooLarge {
            size: text.len(),
            limit: MAX_SCHEMA_BYTES,
        });
    }
    // Serializers may register the compiled file instead of its text.
    if let Some(bytes) = serialized(text) {
        let mut file = File::decode_file_descriptor_proto(bytes.as_slice())
            .map_err(|error| invalid(error.to_string()))?
            .file_descriptor_proto()
            .clone();
        file.name = Some(name.to_owned());
        return Ok(File::from_file_descriptor_proto(file));
    }
    nesting(text)?;
    File::from_source(name, text).map_err(|error| refusal(&error))
}

/// The bytes of a compiled file in base64.
pub(super) fn serialized(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text.trim()).ok();
    bytes.filter(|bytes| !bytes.is_empty())
}

/// The parser descends with the text.
fn nesting(text: &str) -> Result<(), SchemaError> {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'<' | b'(' => depth += 1,
            b'}' | b']' | b'>' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_SCHEMA_DEPTH {
            return Err(SchemaError::TooDeep {
                limit: MAX_SCHEMA_DEPTH,
            });
        }
    }
    Ok(())
}

pub(super) fn invalid(reason: impl Into<String>) -> SchemaError {
    SchemaError::Invalid {
        path: String::new(),
        reason: reason.into(),
    }
}

fn refusal(error: &protox::Error) -> SchemaError {
    // The library's own words, without the drawing of where.
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    if text.starts_with("import ") && text.ends_with("not found") {
        return invalid(format!(
            "{text}: it is not among the references; register that file and name it in `references`"
        ));
    }
    match place(error) {
        Some((line, column)) => invalid(format!("{text} at line {line} column {column}")),
        None => invalid(text),
    }
}

/// Line and column in the file's own text, from 1.
fn place(error: &protox::Error) -> Option<(usize, usize)> {
    let debug = format!("{error:?}");
    let at = debug.split_once(".proto:")?.1;
    let mut numbers = at.split(|c: char| !c.is_ascii_digit());
    let line = numbers.next()?.parse().ok()?;
    Some((line, numbers.next()?.parse().ok()?))
}
