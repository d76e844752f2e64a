//! The demo as a user runs it: it ends by itself, its numbers add up, and it says what was rejected and why.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{binary, folder, root, text};

/// Runs the demo in a folder of its own, where nothing of the repository is near.
fn demo(arguments: &[&str]) -> Output {
    let folder = folder();
    Command::new(binary())
        .arg("demo")
        .args(arguments)
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs")
}

#[test]
fn its_numbers_add_up() {
    let example = root().join("examples/flights");
    for arguments in [&[][..], &["--example", example.to_str().expect("path")]] {
        let output = demo(&[&["--output", "json"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            output.stderr.is_empty(),
            "nothing but the object: {}",
            text(&output)
        );
        let sums: Value = serde_json::from_slice(&output.stdout).expect("exactly one object");
        let names: Vec<&String> = sums.as_object().expect("an object").keys().collect();
        assert_eq!(
            names,
            ["read", "stored", "dropped", "rejected", "delivered", "sunk"]
        );
        let number = |name: &str| {
            sums[name]
                .as_u64()
                .filter(|number| *number > 0)
                .unwrap_or_else(|| panic!("{name}: {sums}"))
        };
        let records = std::fs::read_to_string(example.join("flights.jsonl")).expect("the sample");
        assert_eq!(number("read"), records.lines().count() as u64, "{sums}");
        assert_eq!(
            number("read"),
            number("stored") + number("dropped") + number("rejected"),
            "{sums}"
        );
        assert_eq!(number("delivered"), number("stored"), "{sums}");
        assert_eq!(number("sunk"), number("stored"), "{sums}");
    }
}

#[test]
fn it_tells_what_was_rejected_and_why() {
    let output = demo(&[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        output.stderr.is_empty(),
        "no progress in a pipe: {}",
        text(&output)
    );
    let said = text(&output);
    for part in [
        "schema:flight",
        "function:delay-band",
        "NATS client",
        "webhook",
        "\"band\":\"late\"",
        "flights-dead-letters",
        "schema_violation",
        "/tailnum",
        "/dep_time",
        "impossible_speed",
        "700 mph",
        "--keep",
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn it_leaves_nothing_behind() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null());
        command.output().expect("the demo runs")
    };
    let output = run(&["--output", "yaml"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).starts_with("read: "), "{}", text(&output));
    let output = run(&["--example", "nowhere"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("nowhere/flights.yaml"),
        "{}",
        text(&output)
    );
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).expect("folder");
    std::fs::write(broken.join("flights.yaml"), "kind: station\nnme: flights\n").expect("file");
    std::fs::write(broken.join("flights.jsonl"), "{}\n").expect("file");
    let output = run(&["--example", broken.to_str().expect("path")]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("flights.yaml:2"),
        "{}",
        text(&output)
    );
    std::fs::remove_dir_all(&broken).expect("removed");
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
}

#[test]
fn kept_it_serves_until_it_is_told_to_end() {
    use std::io::{BufRead as _, BufReader};

    let folder = folder();
    let mut child = Command::new(binary())
        .args(["demo", "--keep"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo runs");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut server = None;
    for line in output.lines() {
        let line = line.expect("text");
        if let Some(address) = line.trim().strip_prefix("export MILLSTREAM_SERVER=") {
            server = Some(address.to_owned());
        }
        if line.starts_with("Station file") {
            break;
        }
    }
    let server = server.expect("its address");
    let tail = Command::new(binary())
        .args(["tail", "flights", "--limit", "1", "--server", &server])
        .output();
    let tail = tail.expect("tail runs");
    assert!(
        tail.status.success() && text(&tail).contains("band"),
        "{}",
        text(&tail)
    );
    let told = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(told.success());
    let ended = child.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
}
