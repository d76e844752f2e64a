//! Each test is one rule of ARCHITECTURE.md; a failure names the file and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Signal to split at 500 lines; nothing passes 800.
const MAX_LINES: usize = 800;

/// Which rooms each room may import. A room that is not named here may import nothing of ours.
/// `server` sees everything and nobody sees `server`; tests may see what they test.
const IMPORTS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("wire", &["types"]),
    ("access", &["types"]),
    ("config", &["types"]),
    ("spec", &["types"]),
    ("router", &["types"]),
    ("journal", &["types"]),
    ("function-api", &["types"]),
    ("connector-api", &["types"]),
    ("schema-formats", &["types"]),
    ("schema-registry", &["types", "schema-formats"]),
    ("broker", &["types", "wire", "access", "router"]),
    ("consensus", &["types", "journal"]),
    ("streams", &["types", "journal", "router"]),
    (
        "cluster",
        &[
            "types",
            "journal",
            "consensus",
            "streams",
            "spec",
            "schema-registry",
        ],
    ),
    (
        "pipeline",
        &["types", "function-api", "schema-formats", "schema-registry"],
    ),
    ("sql", &["types", "spec", "pipeline"]),
    ("postgres", &["types", "access", "pipeline", "sql"]),
    (
        "jetstream",
        &[
            "types",
            "broker",
            "journal",
            "consensus",
            "streams",
            "cluster",
            "pipeline",
        ],
    ),
    (
        "admin",
        &["types", "access", "schema-registry", "schema-formats"],
    ),
    ("load", &[]),
    ("cli", &["types", "spec", "load"]),
    ("function-host", &["types", "function-api"]),
    ("guest", &[]),
    ("connector-runtime", &["types", "connector-api"]),
    ("connector-file", &["types", "connector-api"]),
    ("connector-http", &["types", "connector-api"]),
    ("nexmark", &[]),
    (
        "bench",
        &["types", "wire", "load", "schema-formats", "nexmark"],
    ),
    ("e2e", &["types", "wire"]),
    ("tidy", &[]),
];

/// Libraries that only one room may name.
const ALONE: &[(&str, &str)] = &[
    ("wasmtime", "function-host"),
    ("wit-component", "function-host"),
    ("datafusion", "sql"),
    ("arrow", "sql"),
    ("parquet", "sql"),
    ("pgwire", "postgres"),
    ("openraft", "consensus"),
];

const FOLDERS: &[&str] = &[
    "connectors",
    "engine",
    "examples",
    "functions",
    "schemas",
    "tests",
];
const FILES: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace's root")
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Files git knows or would add, as paths from the root.
fn tracked() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "tidy reads the file list from git; run it in a clone"
    );
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    text.lines()
        .map(PathBuf::from)
        .filter(|path| root().join(path).is_file())
        .collect()
}

fn rust_files() -> Vec<(PathBuf, String)> {
    tracked()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).expect("readable");
            (path, text)
        })
        .collect()
}

#[test]
fn rooms_import_only_what_they_may() {
    let rules: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata()["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let room = name.strip_prefix("millstream-").unwrap_or(name);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let library = dependency["name"].as_str().expect("name");
            let normal = dependency["kind"].is_null();
            if let Some((_, only)) = ALONE.iter().find(|(heavy, _)| *heavy == library)
                && *only != room
            {
                wrong.push(format!("`{room}` names `{library}`; only `{only}` may"));
            }
            let Some(other) = library.strip_prefix("millstream-") else {
                continue;
            };
            if other == "server" {
                wrong.push(format!("`{room}` imports `server`; nobody may"));
            } else if room != "server" && room != "millstream" && normal {
                match rules.get(room) {
                    None => wrong.push(format!("`{room}` has no line in IMPORTS of tests/tidy")),
                    Some(may) if !may.contains(&other) => {
                        wrong.push(format!(
                            "`{room}` imports `{other}`; see ARCHITECTURE.md, rooms"
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dependencies_are_stated_once_in_the_workspace() {
    let mut wrong = Vec::new();
    for path in tracked() {
        if path.file_name().is_none_or(|name| name != "Cargo.toml")
            || path == Path::new("Cargo.toml")
            || path.starts_with("examples")
            || path.starts_with("engine/wire/fuzz")
            || path.starts_with("schemas/formats/fuzz")
        {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&path)).expect("readable");
        let mut inside = false;
        for line in text.lines() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if inside && line.contains('=') && !line.contains("workspace = true") {
                wrong.push(format!(
                    "{}: `{line}` does not come from the workspace",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    let long: Vec<_> = rust_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines, split it", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| format!("{}: begins without a `//!` text", path.display()))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn every_room_has_a_door_text() {
    let open: Vec<_> = rust_files()
        .into_iter()
        .filter(|(path, _)| {
            path.ends_with("src/lib.rs")
                && !path.starts_with("examples")
                && !path.starts_with("tests")
        })
        .filter(|(_, text)| !(text.contains("What lives here") && text.contains("may not come in")))
        .map(|(path, _)| {
            format!(
                "{}: say what lives here and what may not come in",
                path.display()
            )
        })
        .collect();
    assert!(open.is_empty(), "{}", open.join("\n"));
}

#[test]
fn only_the_agreed_folders_lie_at_the_top() {
    let allowed: BTreeSet<_> = FOLDERS.iter().chain(FILES).copied().collect();
    let strays: BTreeSet<_> = tracked()
        .iter()
        .filter_map(|path| path.components().next())
        .map(|first| first.as_os_str().to_string_lossy().into_owned())
        .filter(|first| !first.starts_with('.') && !allowed.contains(first.as_str()))
        .collect();
    assert!(strays.is_empty(), "not agreed at the top level: {strays:?}");
    for file in FILES {
        assert!(root().join(file).is_file(), "`{file}` is missing");
    }
}

#[test]
fn no_machine_paths_are_committed() {
    // Written in pieces so that this file does not find itself.
    let homes = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    let mut wrong = Vec::new();
    for path in tracked() {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if homes.iter().any(|home| line.contains(home.as_str())) {
                wrong.push(format!(
                    "{}:{}: names a path of one machine",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("#[ig", "nore")]
        .map(|(start, end)| [start, end].concat());
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                wrong.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let folder = root().join("engine/decisions");
    let mut numbers: Vec<usize> = std::fs::read_dir(folder)
        .expect("engine/decisions")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .map(|name| {
            name.get(..3)
                .and_then(|digits| digits.parse().ok())
                .expect("NNN-title.md")
        })
        .collect();
    numbers.sort_unstable();
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    assert_eq!(numbers, expected);
}
