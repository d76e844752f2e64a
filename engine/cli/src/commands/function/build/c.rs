//! C: all `*.c` of the folder, by a clang that makes WebAssembly.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::CliError;

use super::tools::Tools;
use super::{files_ending, python};

/// Clang as a Python package, for who has neither zig nor clang.
const ZIGLANG: &str = "ziglang==0.17.1";
const OPTIONS: [&str; 12] = [
    "-std=c17",
    "-Os",
    "-Wall",
    "-Wextra",
    "-nostdlib",
    "-fno-builtin",
    "-mbulk-memory",
    "-s",
    "-Wl,--no-entry",
    "-Wl,--export-memory",
    "-Wl,-z,stack-size=65536",
    "-o",
];

pub(super) fn build(tools: &mut Tools<'_, '_>, to: &Path) -> Result<(), CliError> {
    let sources = files_ending(&tools.dir, "c")?;
    let (compiler, own) = compiler(tools)?;
    let own = own.iter().map(OsStr::new);
    let args: Vec<&OsStr> = own
        .chain(OPTIONS.iter().map(OsStr::new))
        .chain([to.as_os_str()])
        .chain(sources.iter().map(OsStr::new))
        .collect();
    tools.run(&compiler, &args, advice).map(drop)
}

fn advice(text: &str) -> Option<&'static str> {
    if text.contains("wasm-ld") {
        Some("clang's linker for WebAssembly is missing: install the package lld, or zig")
    } else if text.contains("wasm32") && text.contains("target") {
        Some("this compiler makes no WebAssembly: install zig, or name a clang that does with `CC`")
    } else {
        None
    }
}

/// A compiler and the arguments that make it one for WebAssembly.
fn compiler(tools: &mut Tools<'_, '_>) -> Result<(PathBuf, Vec<String>), CliError> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let zig = ["cc", "--target=wasm32-freestanding"];
    if let Some(own) = tools.variable("CC") {
        let mut own = own.split_whitespace();
        let program = own.next().unwrap_or_default();
        let missing = CliError::Missing {
            what: "the compiler that `CC` names",
            get: "name one that makes WebAssembly, with its arguments: CC='clang --target=wasm32'",
        };
        let found = tools.find(program).ok_or(missing)?;
        return Ok((found, own.map(str::to_owned).collect()));
    }
    if let Some(found) = tools.find("zig") {
        return Ok((found, words(&zig)));
    }
    if let Some(found) = tools.find("clang") {
        return Ok((found, words(&["--target=wasm32"])));
    }
    if let Some(installed) = tools.find(".venv/bin/python-zig") {
        return Ok((installed, words(&zig)));
    }
    if tools.find("python3").is_none() {
        return Err(CliError::Missing {
            what: "a C compiler for WebAssembly",
            get: "install zig (https://ziglang.org/download), or clang and lld; or name one with `CC`",
        });
    }
    let installed = python::install(tools, &[ZIGLANG], "python-zig")?;
    Ok((installed, words(&zig)))
}
