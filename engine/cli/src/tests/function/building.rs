//! `function build`, with programs made up for the test: real ones build elsewhere.

use std::fs;

use expect_test::expect;

use super::place::Place;

#[tokio::test]
async fn missing_tools_are_named() {
    for (language, expected) in [
        (
            "rust",
            expect![[r#"
            error: cargo is missing
            hint: install Rust by https://rustup.rs, then `rustup target add wasm32-unknown-unknown`
            = 1
        "#]],
        ),
        (
            "javascript",
            expect![[r#"
            error: node is missing
            hint: install Node 20 or newer with npm: https://nodejs.org
            = 1
        "#]],
        ),
        (
            "python",
            expect![[r#"
            error: python3 is missing
            hint: install Python 3.10 or newer with venv: https://www.python.org, or the packages python3 and python3-venv
            = 1
        "#]],
        ),
        (
            "c",
            expect![[r#"
            error: a C compiler for WebAssembly is missing
            hint: install zig (https://ziglang.org/download), or clang and lld; or name one with `CC`
            = 1
        "#]],
        ),
    ] {
        let place = Place::begun(language, "pure").await;
        place.check("build DIR/band", expected).await;
    }
    let place = Place::begun("javascript", "pure").await;
    place.program("bin/node", "exit 0");
    place
        .check(
            "build DIR/band",
            expect![[r#"
        error: npm is missing
        hint: install Node 20 or newer with npm: https://nodejs.org
        = 1
    "#]],
        )
        .await;
    let place = Place::begun("c", "pure").await;
    let shown = place
        .type_in("build DIR/band", &[("CC", "my-cc --target=wasm32")])
        .await;
    expect![[r#"
        error: the compiler that `CC` names is missing
        hint: name one that makes WebAssembly, with its arguments: CC='clang --target=wasm32'
        = 1
    "#]]
    .assert_eq(&shown);
}

#[tokio::test]
async fn what_is_no_function_is_not_built() {
    let place = Place::new();
    place
        .check(
            "build DIR/none",
            expect![[r#"
        error: cannot read `DIR/none/function.yaml`: No such file or directory (os error 2)
        hint: `millstream function init` begins a function
        = 1
    "#]],
        )
        .await;
    fs::write(place.path("function.yaml"), "kind: function\nname: band\n").unwrap();
    place
        .check(
            "build DIR",
            expect![[r#"
        DIR/function.yaml:1:1: `component` of the function is missing
        error: 1 problem in the files; nothing was applied
        = 4
    "#]],
        )
        .await;
    fs::write(
        place.path("function.yaml"),
        "kind: station\nname: a\nsubjects: [a]\n",
    )
    .unwrap();
    place
        .check(
            "build DIR",
            expect![[r#"
        error: `DIR/function.yaml` describes no function
        hint: `kind: function` begins one
        = 1
    "#]],
        )
        .await;
    let text = "kind: function\nname: band\ncomponent: out/band.wasm\n";
    fs::write(place.path("function.yaml"), text).unwrap();
    fs::write(place.path("other.py"), "import json\n").unwrap();
    place.check("build DIR", expect![[r#"
        error: `DIR` has no function in it that could be built
        hint: it should have a Cargo.toml, a package.json, a *.py with `class WitWorld`, or a *.c; `millstream function init` begins one
        = 1
    "#]]).await;
}

#[tokio::test]
async fn building_rust() {
    let place = Place::begun("rust", "pure").await;
    fs::write(place.path("made.wasm"), b"\0asm1234").unwrap();
    let messages = "echo '{\"reason\":\"compiler-artifact\",\"filenames\":[\"/x/libserde.rlib\"]}'\necho '{\"filenames\":[\"DIR/made.wasm\"]}'";
    let messages = messages.replace("DIR", place.0.path().to_str().unwrap());
    place.program("bin/cargo", &format!("test \"$*\" = 'build --release --message-format json-render-diagnostics --target wasm32-unknown-unknown' || exit 3\n{messages}"));
    place
        .check(
            "build DIR/band",
            expect![[r#"
        DIR/band/band.wasm: 8 bytes
        = 0
    "#]],
        )
        .await;
    assert_eq!(
        fs::read(place.path("band/band.wasm")).unwrap(),
        b"\0asm1234"
    );
    // By another cargo, which adds the target itself.
    place.program("own/cargo", &format!("test $# = 4 || exit 3\n{messages}"));
    let own = [("GUEST_CARGO", "DIR/own/cargo")];
    let shown = place.type_in("build DIR/band -o json", &own).await;
    expect![[r#"
        {
          "name": "band",
          "component": "DIR/band/band.wasm",
          "bytes": 8
        }
        = 0
    "#]]
    .assert_eq(&shown);
    place.program("bin/cargo", "echo '{\"reason\":\"compiler-message\"}'\necho 'error[E0463]: can'\"'\"'t find crate for `core`' >&2\necho '  = note: the `wasm32-unknown-unknown` target may not be installed' >&2\nexit 101");
    place.check("build DIR/band", expect![[r#"
        error[E0463]: can't find crate for `core`
          = note: the `wasm32-unknown-unknown` target may not be installed
        error: `cargo build --release --message-format json-render-diagnostics --target wasm32-unknown-unknown` failed
        hint: the target is missing: `rustup target add wasm32-unknown-unknown`
        = 1
    "#]]).await;
    place.program("bin/cargo", "exit 0");
    place
        .check(
            "build DIR/band",
            expect![[r#"
        error: cargo made no module; Cargo.toml needs `crate-type = ["cdylib"]` under `[lib]`
        = 1
    "#]],
        )
        .await;
    fs::write(place.path("made.wasm"), b"ELF").unwrap();
    place.program("bin/cargo", &messages);
    place
        .check(
            "build DIR/band",
            expect![[r#"
        error: what was built is no WebAssembly
        = 1
    "#]],
        )
        .await;
    // What was built before is still there.
    assert_eq!(
        fs::read(place.path("band/band.wasm")).unwrap(),
        b"\0asm1234"
    );
}

#[tokio::test]
async fn building_javascript() {
    let place = Place::begun("javascript", "pure").await;
    place.program("bin/npm", "echo \"$*\" >> npm; /bin/mkdir node_modules");
    place.program(
        "bin/node",
        "test \"$1\" = build.mjs || exit 3\nprintf '\\0asm' > \"$2\"",
    );
    place
        .check(
            "build DIR/band",
            expect![[r#"
        DIR/band/band.wasm: 4 bytes
        = 0
    "#]],
        )
        .await;
    place
        .check(
            "build DIR/band",
            expect![[r#"
        DIR/band/band.wasm: 4 bytes
        = 0
    "#]],
        )
        .await;
    let npm = fs::read_to_string(place.path("band/npm")).unwrap();
    assert_eq!(npm, "install --no-audit --no-fund\n");
    place.program("bin/node", "exit 0");
    place
        .check(
            "build DIR/band",
            expect![[r#"
        error: `build.mjs` wrote no module where its first argument says
        = 1
    "#]],
        )
        .await;
    fs::remove_dir(place.path("band/node_modules")).unwrap();
    place.program("bin/npm", "echo 'npm error code E404' >&2\nexit 1");
    place.check("build DIR/band", expect![[r#"
        npm error code E404
        error: `npm install --no-audit --no-fund` failed
        hint: npm fetches componentize-js from its registry, once; `npm config get registry` says which it asks
        = 1
    "#]]).await;
    fs::remove_file(place.path("band/build.mjs")).unwrap();
    place.check("build DIR/band", expect![[r#"
        error: there is no `build.mjs` that makes the module; `millstream function init --language javascript` writes one
        = 1
    "#]]).await;
}

#[tokio::test]
async fn building_python() {
    let place = Place::begun("python", "lookup").await;
    place.program("bin/python3", "echo 'The virtual environment was not created successfully because ensurepip is not available.'\nexit 1");
    place
        .check(
            "build DIR/band",
            expect![[r#"
        The virtual environment was not created successfully because ensurepip is not available.
        error: `python3 -m venv .venv` failed
        hint: Python is there without venv: install the package python3-venv
        = 1
    "#]],
        )
        .await;
    // A made-up environment whose pip notes what it is asked for.
    place.program(
        "bin/python3",
        "/bin/mkdir -p .venv/bin\n/bin/cp ../pip .venv/bin/python",
    );
    place.program(
        "pip",
        "echo \"$*\" > pip; /bin/cp ../componentize-py .venv/bin/componentize-py",
    );
    place.program(
        "componentize-py",
        "echo \"$1 $2 ${3##*/} $4 $5 $6 $7 $8 ${10}\" > asked\nprintf '\\0asm' > \"$9\"",
    );
    place
        .check(
            "build DIR/band",
            expect![[r#"
        DIR/band/band.wasm: 4 bytes
        = 0
    "#]],
        )
        .await;
    expect![[r#"
        -m pip install --quiet --disable-pip-version-check -r requirements.txt
    "#]]
    .assert_eq(&fs::read_to_string(place.path("band/pip")).unwrap());
    expect![[r#"
        --quiet --wit-path wit --world lookup componentize --stub-wasi --output app
    "#]]
    .assert_eq(&fs::read_to_string(place.path("band/asked")).unwrap());
    // It is there now; a folder without the interface gets the newest.
    fs::remove_file(place.path("bin/python3")).unwrap();
    fs::remove_dir_all(place.path("band/wit")).unwrap();
    place.program(
        "band/.venv/bin/componentize-py",
        "test -s \"$3/function.wit\" || exit 3\nprintf '\\0asm' > \"$9\"",
    );
    place
        .check(
            "build DIR/band",
            expect![[r#"
        DIR/band/band.wasm: 4 bytes
        = 0
    "#]],
        )
        .await;
}

#[tokio::test]
async fn building_c() {
    let place = Place::begun("c", "pure").await;
    let compiler = "out=; for word; do test \"$out\" = next && out=\"$word\"; test \"$word\" = -o && out=next; done\nprintf '\\0asm' > \"$out\"\necho \"${0##*/} $1 $2 ... $#, $word\" >> asked";
    for program in ["clang", "zig"] {
        place.program(&format!("bin/{program}"), compiler);
        let shown = place.type_in("build DIR/band", &[]).await;
        assert!(shown.ends_with("= 0\n"), "{shown}");
    }
    place.program("own-cc", compiler);
    place
        .type_in("build DIR/band", &[("CC", "DIR/own-cc --target=wasm32")])
        .await;
    expect![[r#"
        clang --target=wasm32 -std=c17 ... 16, memory.c
        zig cc --target=wasm32-freestanding ... 17, memory.c
        own-cc --target=wasm32 -std=c17 ... 16, memory.c
    "#]]
    .assert_eq(&fs::read_to_string(place.path("band/asked")).unwrap());
    place.program(
        "bin/zig",
        "echo 'clang: error: unable to execute command: wasm-ld: not found' >&2\nexit 1",
    );
    let shown = place.type_in("build DIR/band", &[]).await;
    assert!(
        shown.contains("hint: clang's linker for WebAssembly is missing"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_tool_that_does_not_start() {
    let place = Place::begun("rust", "pure").await;
    fs::write(place.path("bin/cargo"), "not to be run").unwrap();
    place
        .check(
            "build DIR/band",
            expect![[r#"
        error: cannot run `DIR/bin/cargo`: Permission denied (os error 13)
        = 1
    "#]],
        )
        .await;
}
