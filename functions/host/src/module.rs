//! From the bytes somebody deploys to a component that the engine takes.

use std::borrow::Cow;

use millstream_function_api::{Grants, LoadError, WIT_0_1};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::compiler::MAX_FUNCTION_BYTES;

const WORLD: &str = "pure";
/// What a core module must have to be made a component.
const CORE_EXPORTS: [&str; 4] = ["memory", "cabi_realloc", "configure", "process"];
/// The section in which a guest kit describes the world that a core module was built for.
const TYPE_SECTION: &str = "component-type";

/// The component in `wasm`: the bytes themselves, or a core module wrapped.
pub(crate) fn component_bytes(wasm: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    match outline(wasm)? {
        Outline::Component => Ok(Cow::Borrowed(wasm)),
        Outline::Core(core) => wrap(wasm, &core).map(Cow::Owned),
    }
}

/// Whether a compiled component imports only what it was granted.
pub(crate) fn check_imports(
    engine: &Engine,
    component: &Component,
    grants: &Grants,
) -> Result<(), LoadError> {
    let ty = component.component_type();
    let imports: Vec<String> = ty
        .imports(engine)
        .filter(|(name, item)| !granted(name, grants) && wants_something(engine, &item.ty))
        .map(|(name, _)| name.to_owned())
        .collect();
    if imports.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Imports { imports })
    }
}

/// Whether an interface may be imported, by its full name without the patch version.
fn granted(name: &str, grants: &Grants) -> bool {
    match name {
        "millstream:function/log@0.2.0" => true,
        "millstream:function/bucket@0.2.0" => grants.state,
        "millstream:function/stations@0.2.0" => !grants.lookup.is_empty(),
        "millstream:function/web@0.2.0" => !grants.http.is_empty(),
        _ => false,
    }
}

/// Whether an import needs the host; an interface of plain types does not.
fn wants_something(engine: &Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) => false,
        ComponentItem::ComponentInstance(instance) => instance
            .exports(engine)
            .any(|(_, item)| wants_something(engine, &item.ty)),
        _ => true,
    }
}

enum Outline {
    Component,
    Core(Core),
}

#[derive(Default)]
struct Core {
    imports: Vec<String>,
    exports: Vec<String>,
    described: bool,
}

fn outline(wasm: &[u8]) -> Result<Outline, LoadError> {
    if !wasm.starts_with(b"\0asm") {
        let found = match wasm.get(..wasm.len().min(8)) {
            None | Some([]) => "nothing at all".to_owned(),
            Some(start) => format!("`{}`", start.escape_ascii()),
        };
        return Err(LoadError::NotWasm { found });
    }
    let invalid = |error: wasmparser::BinaryReaderError| LoadError::Invalid {
        reason: error.to_string(),
    };
    let mut core = Core::default();
    let mut component = false;
    // To the end, whatever it is: damage is told with its offset here, and as a compiler's error later.
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding, .. } => component |= encoding == Encoding::Component,
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(invalid)?;
                    core.imports
                        .push(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    core.exports.push(export.map_err(invalid)?.name.to_owned());
                }
            }
            Payload::CodeSectionEntry(body) if body.range().len() > MAX_FUNCTION_BYTES => {
                let reason = format!(
                    "a function of it has {} bytes, {MAX_FUNCTION_BYTES} are allowed",
                    body.range().len()
                );
                return Err(LoadError::Compile { reason });
            }
            Payload::CustomSection(section) => {
                core.described |= section.name().starts_with(TYPE_SECTION)
            }
            _ => {}
        }
    }
    Ok(if component {
        Outline::Component
    } else {
        Outline::Core(core)
    })
}

fn wrap(wasm: &[u8], core: &Core) -> Result<Vec<u8>, LoadError> {
    // What a described module imports of this package is checked when it is a component.
    let foreign = |import: &&String| !core.described || !import.starts_with("millstream:function/");
    let foreign: Vec<String> = core.imports.iter().filter(foreign).cloned().collect();
    if !foreign.is_empty() {
        return Err(LoadError::Imports { imports: foreign });
    }
    let mut wasm = Cow::Borrowed(wasm);
    if !core.described {
        let missing: Vec<&str> = CORE_EXPORTS
            .into_iter()
            .filter(|name| !core.exports.iter().any(|has| has == name))
            .collect();
        if !missing.is_empty() {
            let reason = format!("it does not export `{}`", missing.join("`, `"));
            return Err(LoadError::NotAFunction { reason });
        }
        describe(wasm.to_mut());
    }
    let not_a_function = |reason: String| LoadError::NotAFunction { reason };
    let encoder = ComponentEncoder::default()
        .module(&wasm)
        .map_err(|error| not_a_function(format!("{error:#}")))?;
    encoder
        .validate(false)
        .encode()
        .map_err(|error| not_a_function(format!("{error:#}")))
}

/// Adds the description that a guest kit would have added: of the first version, as it always was.
fn describe(wasm: &mut Vec<u8>) {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_source("function.wit", WIT_0_1)
        .expect("invariant: our own WIT file parses");
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .expect("invariant: our own WIT file has the world");
    embed_component_metadata(wasm, &resolve, world, StringEncoding::UTF8)
        .expect("invariant: our own WIT file can be encoded");
}
