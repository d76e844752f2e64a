//! `function init`: whole folders, and refusals.

use std::fs;
use std::path::Path;

use clap::Parser;
use expect_test::expect;
use millstream_spec::{SourceFile, Spec, parse};

use super::super::Cli;
use super::place::Place;

const WORLDS: [&str; 4] = ["pure", "state", "lookup", "http"];

/// The only function that a folder's `function.yaml` describes.
fn described(dir: &Path) -> millstream_spec::FunctionSpec {
    let text = fs::read_to_string(dir.join("function.yaml")).unwrap();
    let name = "function.yaml".to_owned();
    let documents = parse(&[SourceFile { name, text }], &|_| None).into_result();
    match &documents.unwrap()[..] {
        [document] => match &document.spec {
            Spec::Function(spec) => spec.clone(),
            other => panic!("{other:?}"),
        },
        others => panic!("{others:?}"),
    }
}

#[tokio::test]
async fn every_language_and_world_begins_with_a_sound_folder() {
    for language in ["rust", "javascript", "python"] {
        for world in WORLDS {
            let place = Place::begun(language, world).await;
            let dir = place.path("band");
            let spec = described(&dir);
            assert_eq!(
                (spec.name.as_str(), spec.component.as_str()),
                ("band", "band.wasm")
            );
            assert_eq!(spec.state.is_some(), world == "state");
            assert_eq!(!spec.lookup.is_empty(), world == "lookup");
            assert_eq!(!spec.http.is_empty(), world == "http");
            assert!(!spec.adds.is_empty());
            // An engine that interprets needs longer than the default.
            assert_eq!(spec.limits.timeout.is_some(), language != "rust");
            assert!(dir.join(spec.tests.unwrap()).is_file());
            assert!(dir.join("wit/function.wit").is_file());
            let source = ["src/lib.rs", "function.js", "app.py"];
            let source = source
                .iter()
                .find_map(|name| fs::read_to_string(dir.join(name)).ok());
            let imported = match world {
                "pure" => "log",
                "state" => "bucket",
                "lookup" => "stations",
                _ => "web",
            };
            assert!(source.unwrap().contains(imported), "{language} {world}");
        }
    }
}

/// Nothing of a text is left to be filled in, and its YAML is YAML.
#[tokio::test]
async fn what_is_written_is_whole() {
    for (language, world) in [
        ("rust", "http"),
        ("javascript", "state"),
        ("python", "lookup"),
        ("c", "pure"),
    ] {
        let place = Place::begun(language, world).await;
        let mut folders = vec![place.path("band")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                for mark in [
                    "@name@",
                    "@world@",
                    "@language@",
                    "@does@",
                    "@tool@",
                    "@files@",
                    "@needs@",
                    "@use@",
                ] {
                    assert!(!text.contains(mark), "{}: {mark}", path.display());
                }
                assert!(
                    text.ends_with('\n') && !text.ends_with("\n\n"),
                    "{}",
                    path.display()
                );
            }
        }
    }
}

/// The parser for station files has no use for tests; as far as it gets it must find nothing wrong with their YAML.
#[test]
fn tests_are_yaml() {
    for world in WORLDS {
        for language in ["rust", "c"] {
            let cli = [
                "millstream",
                "function",
                "init",
                "x",
                "--language",
                language,
                "--world",
                world,
            ];
            let cli = Cli::try_parse_from(cli).unwrap();
            let crate::Command::Function(crate::FunctionCommand::Init(args)) = cli.command else {
                panic!("{cli:?}");
            };
            let files = crate::templates::files("x", args.language, args.world);
            let source = SourceFile {
                name: "tests.yaml".to_owned(),
                text: files["tests.yaml"].clone(),
            };
            let problems = parse(&[source], &|_| None).problems;
            let messages: Vec<&str> = problems
                .iter()
                .map(|problem| problem.message.as_str())
                .collect();
            assert_eq!(messages, ["`kind` is missing"], "{world}");
        }
    }
}

#[tokio::test]
async fn init_says_what_comes_next() {
    let place = Place::new();
    place
        .check("init band --language rust --dir DIR/a/b", expect![[r#"
            `DIR/a/b`: .gitignore, Cargo.toml, README.md, function.yaml, src/lib.rs, tests.yaml, wit/function.wit

            next:
              cd DIR/a/b
              millstream function build
              millstream function test
              millstream function deploy
            = 0
        "#]])
        .await;
    place
        .check(
            "init band --language rust --dir DIR/a/b",
            expect![[r#"
            error: `DIR/a/b` is not empty
            hint: name a folder that is empty or does not exist with `--dir DIR`
            = 1
        "#]],
        )
        .await;
    place
        .check(
            "init band --language python --dir DIR/bin -o json",
            expect![[r#"
                {
                  "name": "band",
                  "dir": "DIR/bin",
                  "files": [
                    ".gitignore",
                    "README.md",
                    "app.py",
                    "function.yaml",
                    "requirements.txt",
                    "tests.yaml",
                    "wit/function.wit"
                  ]
                }
                = 0
            "#]],
        )
        .await;
}

#[tokio::test]
async fn the_folder_explains_itself() {
    let place = Place::begun("rust", "pure").await;
    expect![[r##"
        # band

        A Millstream function in Rust. It says of each flight whether it left late.

            millstream function build     # makes band.wasm, by cargo
            millstream function test      # runs tests.yaml against it, without a server
            millstream function deploy    # makes it the version that runs

        | File | What is in it |
        |---|---|
        | `src/lib.rs` | the function |
        | `wit` | the interface between the server and a function |
        | `function.yaml` | what the server knows of it: name, configuration, what it may use |
        | `tests.yaml` | what comes out for what goes in; the server runs it too, before a version is deployed |

        The build needs the target once: `rustup target add wasm32-unknown-unknown`.

        A station runs it over what is published:

        ```yaml
        kind: station
        name: flights
        subjects: ["flights.>"]
        stages:
          - function: band
        ```
    "##]].assert_eq(&fs::read_to_string(place.path("band/README.md")).unwrap());
    expect![[r#"
        kind: function
        name: band
        component: band.wasm
        tests: tests.yaml
        config: { late_after_minutes: "15" }
        # Columns that it adds to a record, for SQL behind it.
        adds: { band: string }
    "#]]
    .assert_eq(&fs::read_to_string(place.path("band/function.yaml")).unwrap());
    let place = Place::begun("javascript", "state").await;
    expect![[r#"
        kind: function
        name: band
        component: band.wasm
        tests: tests.yaml
        limits: { timeout: 250ms }
        # Its key-value bucket, called like the function.
        state: {}
        adds: { number: int }
    "#]]
    .assert_eq(&fs::read_to_string(place.path("band/function.yaml")).unwrap());
}

#[tokio::test]
async fn a_name_is_one_in_every_language() {
    let place = Place::new();
    place
        .check(
            "init my.band --language c --dir DIR/c",
            expect![[r#"
            error: `my.band` cannot be a function's name
            hint: letters, digits, `-` and `_`, a letter first, at most 64
            = 2
        "#]],
        )
        .await;
    place
        .check(
            "init band --language c --world http --dir DIR/c",
            expect![[r#"
                error: a function in C without a kit imports nothing, so world `http` is out of its reach
                hint: use another language, or `--world pure`
                = 2
            "#]],
        )
        .await;
    let long = "b".repeat(65);
    let shown = place
        .type_in(&format!("init {long} --language c --dir DIR/c"), &[])
        .await;
    assert!(
        shown.ends_with("= 2\n") && !place.path("c").exists(),
        "{shown}"
    );
    let shown = place
        .type_in("init Null --language javascript --dir DIR/c", &[])
        .await;
    assert!(shown.ends_with("= 0\n"), "{shown}");
    assert_eq!(described(&place.path("c")).name, "Null");
    let package = fs::read_to_string(place.path("c/package.json")).unwrap();
    assert!(package.contains("\"name\": \"null\""), "{package}");
}
