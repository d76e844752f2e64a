//! The official Python client, unmodified, against a real server: JetStream, key-value and objects as its users write them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Server, folder, text};

const SCRIPT: &str = include_str!("python/client.py");

/// Runs a program; what it printed is the error.
pub fn run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(text(&output)),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

/// A Python with a client in a place of its own.
pub fn environment(folder: &Path, package: &str) -> Result<Command, String> {
    let place = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    let python = place.join("bin/python");
    let quiet = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        package,
    ];
    run(Command::new(&python).args(quiet))?;
    Ok(Command::new(python))
}

#[test]
fn the_python_client_works_unmodified() {
    let folder = folder();
    let mut python = match environment(folder.path(), "nats-py==2.16.0") {
        Ok(python) => python,
        Err(why) => {
            eprintln!(
                "SKIPPED: the Python client was NOT tested, it cannot be installed here: {why}"
            );
            return;
        }
    };
    let script = folder.path().join("client.py");
    fs::write(&script, SCRIPT).expect("script");
    let server = Server::start(folder.path());
    let output = python
        .arg(&script)
        .arg(&server.nats)
        .stdin(Stdio::null())
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output),
        server.log()
    );
    assert!(text(&output).ends_with("all done\n"), "{}", text(&output));
}
