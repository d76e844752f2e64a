//! Rust: `cargo build --release` for `wasm32-unknown-unknown`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::CliError;

use super::tools::Tools;

const TARGET: &str = "wasm32-unknown-unknown";

pub(super) fn build(tools: &mut Tools<'_, '_>, to: &Path) -> Result<(), CliError> {
    // Where rustup cannot have the target, this runs cargo for it by itself.
    let own = tools.variable("GUEST_CARGO");
    let missing = CliError::Missing {
        what: "cargo",
        get: "install Rust by https://rustup.rs, then `rustup target add wasm32-unknown-unknown`",
    };
    let cargo = tools
        .find(own.as_deref().unwrap_or("cargo"))
        .ok_or(missing)?;
    let mut args = vec![
        "build",
        "--release",
        "--message-format",
        "json-render-diagnostics",
    ];
    if own.is_none() {
        args.extend(["--target", TARGET]);
    }
    let args: Vec<&OsStr> = args.into_iter().map(OsStr::new).collect();
    let output = tools.run(&cargo, &args, |text| {
        let no_target = text.contains(TARGET)
            && ["may not be installed", "can't find crate for"]
                .iter()
                .any(|sign| text.contains(sign));
        no_target.then_some("the target is missing: `rustup target add wasm32-unknown-unknown`")
    })?;
    let made = module(&String::from_utf8_lossy(&output.stdout)).ok_or(CliError::NoModule(
        "cargo made no module; Cargo.toml needs `crate-type = [\"cdylib\"]` under `[lib]`",
    ))?;
    let copied = fs::copy(&made, to);
    copied
        .map(drop)
        .map_err(|source| CliError::Read { path: made, source })
}

/// The module that cargo says it made: of several the last one, which is built from the others.
fn module(messages: &str) -> Option<PathBuf> {
    let artifact = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?;
        let mut files = files.iter().filter_map(Value::as_str);
        files
            .find(|file| file.ends_with(".wasm"))
            .map(PathBuf::from)
    };
    messages.lines().filter_map(artifact).next_back()
}
