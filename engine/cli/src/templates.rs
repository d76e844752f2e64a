//! What `function init` writes: a small function in each language and world, with its tests.
//!
//! The texts are files of `templates/`, complete as they are but for `@name@` and `@world@`. C is the example
//! `keep-late`, which has no kit that could be named instead.

use std::collections::BTreeMap;

use crate::args::{Language, World};
use crate::yaml::word;

/// The interface that a function is built against.
pub(crate) const WIT: &str = include_str!("../../../functions/api/wit/function.wit");

/// Files by their paths inside the function's folder.
pub(crate) type Files = BTreeMap<&'static str, String>;

/// Everything of a function's folder, for a name that [`crate::commands`] has checked.
pub(crate) fn files(name: &str, language: Language, world: World) -> Files {
    let package = name.to_ascii_lowercase();
    let mut files = Files::new();
    for (path, text) in sources(language, world) {
        let name = match *path {
            "Cargo.toml" | "package.json" => &package,
            _ => name,
        };
        let text = text.replace("@name@", name);
        files.insert(path, text.replace("@world@", word_of(world)));
    }
    if language != Language::C {
        files.insert("wit/function.wit", WIT.to_owned());
    }
    files.insert("tests.yaml", tests(language, world).to_owned());
    files.insert("function.yaml", document(name, language, world));
    files.insert("README.md", readme(name, language, world));
    files.insert(".gitignore", ignored(name, language));
    files
}

/// The world's name in the interface.
pub(crate) fn word_of(world: World) -> &'static str {
    match world {
        World::Pure => "pure",
        World::State => "state",
        World::Lookup => "lookup",
        World::Http => "http",
    }
}

fn sources(language: Language, world: World) -> &'static [(&'static str, &'static str)] {
    macro_rules! rust {
        ($world:literal) => {
            &[
                ("Cargo.toml", include_str!("templates/rust/Cargo.toml.txt")),
                (
                    "src/lib.rs",
                    include_str!(concat!("templates/rust/", $world, ".rs.txt")),
                ),
            ]
        };
    }
    macro_rules! javascript {
        ($world:literal) => {
            &[
                (
                    "package.json",
                    include_str!("templates/javascript/package.json.txt"),
                ),
                ("build.mjs", include_str!("templates/javascript/build.mjs")),
                (
                    "function.js",
                    include_str!(concat!("templates/javascript/", $world, ".js")),
                ),
            ]
        };
    }
    macro_rules! python {
        ($world:literal) => {
            &[
                (
                    "requirements.txt",
                    include_str!("templates/python/requirements.txt"),
                ),
                (
                    "app.py",
                    include_str!(concat!("templates/python/", $world, ".py")),
                ),
            ]
        };
    }
    match (language, world) {
        (Language::Rust, World::Pure) => rust!("pure"),
        (Language::Rust, World::State) => rust!("state"),
        (Language::Rust, World::Lookup) => rust!("lookup"),
        (Language::Rust, World::Http) => rust!("http"),
        (Language::Javascript, World::Pure) => javascript!("pure"),
        (Language::Javascript, World::State) => javascript!("state"),
        (Language::Javascript, World::Lookup) => javascript!("lookup"),
        (Language::Javascript, World::Http) => javascript!("http"),
        (Language::Python, World::Pure) => python!("pure"),
        (Language::Python, World::State) => python!("state"),
        (Language::Python, World::Lookup) => python!("lookup"),
        (Language::Python, World::Http) => python!("http"),
        (Language::C, _) => &[
            (
                "abi.h",
                include_str!("../../../examples/functions/keep-late/abi.h"),
            ),
            (
                "memory.c",
                include_str!("../../../examples/functions/keep-late/memory.c"),
            ),
            (
                "function.c",
                include_str!("../../../examples/functions/keep-late/keep_late.c"),
            ),
        ],
    }
}

fn tests(language: Language, world: World) -> &'static str {
    match (language, world) {
        (Language::C, _) => include_str!("../../../examples/functions/keep-late/tests.yaml"),
        (_, World::Pure) => include_str!("templates/tests/pure.yaml"),
        (_, World::State) => include_str!("templates/tests/state.yaml"),
        (_, World::Lookup) => include_str!("templates/tests/lookup.yaml"),
        (_, World::Http) => include_str!("templates/tests/http.yaml"),
    }
}

/// `function.yaml`.
fn document(name: &str, language: Language, world: World) -> String {
    let own = match (language, world) {
        (Language::C, _) => "config: { late_after_minutes: \"15\" }\n",
        (_, World::Pure) => {
            "config: { late_after_minutes: \"15\" }\n# Columns that it adds to a record, for SQL behind it.\nadds: { band: string }\n"
        }
        (_, World::State) => {
            "# Its key-value bucket, called like the function.\nstate: {}\nadds: { number: int }\n"
        }
        (_, World::Lookup) => {
            "# Stations and key-value buckets that it may read.\nlookup: [ planes ]\nadds: { seats: int }\n"
        }
        (_, World::Http) => {
            "config: { url: \"https://api.example.org/risk\" }\n# Hosts that it may ask.\nhttp: [ api.example.org ]\nadds: { answer: json }\n"
        }
    };
    // What interprets takes longer over a batch than the 50 ms that are the default.
    let limits = match language {
        Language::Javascript | Language::Python => "limits: { timeout: 250ms }\n",
        Language::Rust | Language::C => "",
    };
    format!(
        "kind: function\nname: {}\ncomponent: {name}.wasm\ntests: tests.yaml\n{limits}{own}",
        word(name)
    )
}

fn readme(name: &str, language: Language, world: World) -> String {
    let (spoken, tool, needs) = match language {
        Language::Rust => (
            "Rust",
            "cargo",
            "The build needs the target once: `rustup target add wasm32-unknown-unknown`.",
        ),
        Language::Javascript => (
            "JavaScript",
            "componentize-js",
            "The build needs Node 20 or newer and npm. The component has 12 MB, because a JavaScript engine is in it; it has\nno clock, no random numbers and no `fetch` of its own.",
        ),
        Language::Python => (
            "Python",
            "componentize-py",
            "The build needs Python 3.10 or newer with venv. The component has 18 MB, because a Python is in it; it has no\nclock, no file and no socket. Modules are imported when it is built: import at the top of a file.",
        ),
        Language::C => (
            "C",
            "zig or clang",
            "The build needs zig, or clang and lld; without them Python 3 with venv fetches zig.\n\nThe module describes nothing, so the server takes it for version 0.1.0 of the interface: no `log`, no `path` in a\nrejection.",
        ),
    };
    let files = match language {
        Language::Rust => "| `src/lib.rs` | the function |\n",
        Language::Javascript => "| `function.js` | the function |\n| `build.mjs` | its build |\n",
        Language::Python => "| `app.py` | the function |\n",
        Language::C => {
            "| `function.c` | the function |\n| `abi.h` | how messages and outcomes lie in memory |\n| `memory.c` | the memory of one call |\n"
        }
    };
    let wit = match language {
        Language::C => "",
        _ => "| `wit` | the interface between the server and a function |\n",
    };
    let does = match (language, world) {
        (Language::C, _) => "keeps the flights that were late and drops the others",
        (_, World::Pure) => "says of each flight whether it left late",
        (_, World::State) => "numbers the flights of each carrier",
        (_, World::Lookup) => "writes beside each flight how many seats its plane has",
        (_, World::Http) => {
            "asks another host about each record and writes the answer beside its fields"
        }
    };
    include_str!("templates/readme.txt")
        .replace("@name@", name)
        .replace("@language@", spoken)
        .replace("@does@", does)
        .replace("@tool@", tool)
        .replace("@files@", &format!("{files}{wit}"))
        .replace("@needs@", needs)
        .replace("@use@", &used(name, world))
}

/// How a function comes to its messages.
fn used(name: &str, world: World) -> String {
    if world == World::State {
        return "It remembers, so it runs in a flow, where what it remembers and what it writes are committed together."
            .to_owned();
    }
    format!(
        "A station runs it over what is published:\n\n```yaml\nkind: station\nname: flights\nsubjects: [\"flights.>\"]\nstages:\n  - function: {}\n```",
        word(name)
    )
}

/// `.gitignore`: what a build leaves behind.
fn ignored(name: &str, language: Language) -> String {
    let tools = match language {
        Language::Rust => "/target\n",
        Language::Javascript => "/node_modules\n",
        Language::Python => "/.venv\n__pycache__\n",
        Language::C => "/.venv\n",
    };
    format!("{tools}/{name}.wasm\n")
}
