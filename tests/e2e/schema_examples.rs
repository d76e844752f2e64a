//! The programs of `examples/schemas`, as their README says to run them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Server, folder, root, text};
use crate::python::{environment, run};

/// Starts a server with the example's stations.
fn start(place: &Path) -> Server {
    let server = Server::start(place);
    let stations = root().join("examples/schemas/schemas.yaml");
    let applied = server.cli(&["apply", "-f", stations.to_str().expect("a path in UTF-8")]);
    assert!(applied.status.success(), "{}", text(&applied));
    server
}

fn must_say(command: &mut Command, server: &Server, words: &[&str]) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", server.log());
    for word in words {
        assert!(said.contains(word), "no `{word}` in\n{said}");
    }
}

const PUBLISHED: [&str; 4] = [
    "published 60 flights as protobuf",
    "refused as json: rejected by schema:flight-json at `/origin`",
    "refused as avro: rejected by schema:flight-avro",
    "refused as protobuf: rejected by schema:flight-protobuf",
];

#[test]
fn the_python_programs() {
    let place = folder();
    let ready = environment(place.path(), "nats-py==2.16.0").and_then(|python| {
        let mut pip = Command::new(python.get_program());
        let others = ["fastavro", "protobuf", "grpcio-tools"];
        run(pip
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(others))?;
        Ok(python)
    });
    let python = match ready {
        Ok(python) => python,
        Err(why) => {
            eprintln!(
                "SKIPPED: the Python examples were NOT tested, their packages cannot be installed here: {why}"
            );
            return;
        }
    };
    let server = start(place.path());
    let programs = root().join("examples/schemas/python");
    let program = |name: &str| {
        let mut command = Command::new(python.get_program());
        command.arg("-B").arg(programs.join(name)).arg(&server.nats);
        command
    };
    must_say(program("publish.py").arg("60"), &server, &PUBLISHED);
    must_say(
        &mut program("consume.py"),
        &server,
        &["read 60 flights four times"],
    );
    // What two languages say about the same flights.
    let differences = text(&server.cli(&["schema", "diff", "flight-avro", "flight-protobuf"]));
    assert!(
        differences.contains("~ format avro -> format protobuf"),
        "{differences}"
    );
}

/// The programs find their packages beside them, so they run from a copy.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if path.is_file() {
            fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

#[test]
fn the_javascript_programs() {
    let place = folder();
    let programs = place.path().join("schemas/javascript");
    let examples = root().join("examples");
    copy(&examples.join("schemas/javascript"), &programs);
    copy(&examples.join("schemas"), &place.path().join("schemas"));
    copy(&examples.join("flights"), &place.path().join("flights"));
    let mut npm = Command::new("npm");
    npm.current_dir(&programs);
    if let Err(why) = run(npm.args(["install", "--silent", "--no-audit", "--no-fund"])) {
        eprintln!(
            "SKIPPED: the JavaScript examples were NOT tested, their packages cannot be installed here: {why}"
        );
        return;
    }
    let server = start(place.path());
    let program = |name: &str| {
        let mut command = Command::new("node");
        command.current_dir(&programs).arg(name).arg(&server.nats);
        command
    };
    must_say(program("publish.js").arg("60"), &server, &PUBLISHED);
    must_say(
        &mut program("consume.js"),
        &server,
        &["read 60 flights four times"],
    );
}
