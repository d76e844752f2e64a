//! What `millstream function init` begins, in every language, built and tested by the commands that its README names and
//! with the languages' real toolchains; and the examples of `examples/functions`, tested as their `function.yaml` says.
//!
//! The worlds besides `pure` are built for Rust always, and for languages whose modules take a minute when
//! `MILLSTREAM_SLOW_TESTS` is set. What cannot be installed is skipped loudly.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{binary, folder, root, text};
use crate::python::run;

const COMPONENTIZE_JS: &str = "@bytecodealliance/componentize-js@0.23.0";
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const ZIGLANG: &str = "ziglang==0.17.1";

/// Why a function in JavaScript cannot be built here.
pub fn no_javascript() -> Option<String> {
    let args = ["view", "--fetch-retries=0", COMPONENTIZE_JS, "version"];
    run(Command::new("npm").args(args)).err()
}

/// Why a package of Python cannot be had here.
fn no_python(package: &str) -> Option<String> {
    let place = folder();
    let venv = place.path().join("venv");
    let with_pip = run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let args = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest"];
    let had = with_pip.and_then(|()| {
        let mut pip = Command::new(venv.join("bin/python"));
        run(pip.args(args).arg(place.path()).arg(package))
    });
    had.err()
}

/// Why a function in Rust cannot be built here.
fn no_rust() -> Option<String> {
    let mut rustup = Command::new("rustup");
    let targets = rustup.args(["target", "list", "--installed"]).output();
    let installed = targets.is_ok_and(|found| text(&found).contains("wasm32-unknown-unknown"));
    if !installed && env::var_os("GUEST_CARGO").is_none() {
        return Some("there is no target wasm32-unknown-unknown, and no GUEST_CARGO".to_owned());
    }
    run(Command::new("cargo").args(["info", "--quiet", "wit-bindgen"])).err()
}

/// Past the test runner, which hides what a test that passes prints.
pub fn skipped(what: &str, why: &str) {
    let line =
        format!("SKIPPED: {what} NOT tested, what it needs cannot be installed here: {why}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr");
}

/// Runs one of the user's commands, which must succeed, and gives what it printed.
fn millstream(dir: &Path, args: &[&str]) -> String {
    // Beside the target folder of this test, which its cargo may hold locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("toolkits");
    let output = Command::new(binary())
        .args(args)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    let said = text(&output);
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

/// Runs a folder's tests; all of them must pass.
fn tested(dir: &Path) {
    let said = millstream(dir, &["function", "test"]);
    assert!(
        said.contains(" passed") && !said.to_lowercase().contains("failed"),
        "{}: {said}",
        dir.display()
    );
}

/// The folders that `init` begins for a language, built and tested. What a first build installed, `installed`, serves
/// the others.
fn from_nothing(place: &Path, language: &str, worlds: &[&str], installed: Option<&str>) {
    let mut before: Option<PathBuf> = None;
    for world in worlds {
        let name = format!("my-{world}");
        let args = ["function", "init", &name, "--language", language];
        millstream(place, &[&args[..], &["--world", world]].concat());
        let dir = place.join(&name);
        if let (Some(before), Some(installed)) = (&before, installed) {
            let kept = before.join(installed);
            std::os::unix::fs::symlink(kept, dir.join(installed)).expect("a link");
        }
        let said = millstream(&dir, &["function", "build"]);
        assert!(said.contains(&format!("{name}.wasm: ")), "{said}");
        tested(&dir);
        before = before.or(Some(dir));
    }
}

/// Worlds that are built where a build takes long.
fn worlds() -> &'static [&'static str] {
    match env::var_os("MILLSTREAM_SLOW_TESTS") {
        Some(_) => &["pure", "state", "lookup", "http"],
        None => &["pure"],
    }
}

/// A copy of an example beside the repository's `functions`, so that nothing is written there.
fn copied(place: &Path, name: &str) -> PathBuf {
    let functions = root().join("functions");
    std::os::unix::fs::symlink(&functions, place.join("functions")).expect("a link");
    let from = root().join("examples/functions").join(name);
    let to = place.join("examples/functions").join(name);
    fs::create_dir_all(&to).expect("a folder");
    for entry in fs::read_dir(&from).expect("the example") {
        let path = entry.expect("an entry").path();
        let is_module = path.extension().is_some_and(|ending| ending == "wasm");
        if path.is_file() && !is_module {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    // Cargo wants what a package depends on where its workspace is.
    if let Ok(package) = fs::read_to_string(from.join("Cargo.toml")) {
        let functions = functions.to_str().expect("a path in UTF-8");
        let package = package.replace("../../../functions", functions);
        fs::write(to.join("Cargo.toml"), package).expect("written");
        std::os::unix::fs::symlink(from.join("src"), to.join("src")).expect("a link");
    }
    to
}

/// An example, built and tested by Millstream's commands; what was installed elsewhere serves it.
fn example(place: &Path, name: &str, installed: Option<&str>) {
    let dir = copied(place, name);
    if let Some(installed) = installed {
        let kept = place.join("my-pure").join(installed);
        std::os::unix::fs::symlink(kept, dir.join(installed)).expect("a link");
    }
    millstream(&dir, &["function", "build"]);
    tested(&dir);
}

#[test]
fn committed_examples_pass_their_tests() {
    for name in ["delay-band", "enrich", "late", "probe", "keep-late"] {
        tested(&root().join("examples/functions").join(name));
    }
}

#[test]
fn functions_in_rust() {
    if let Some(why) = no_rust() {
        return skipped("`function init --language rust` was", &why);
    }
    let place = folder();
    let worlds = ["pure", "state", "lookup", "http"];
    from_nothing(place.path(), "rust", &worlds, None);
    for name in ["delay-band", "enrich", "late", "probe"] {
        example(folder().path(), name, None);
    }
}

#[test]
fn functions_in_javascript() {
    if let Some(why) = no_javascript() {
        return skipped("`function init --language javascript` was", &why);
    }
    let place = folder();
    from_nothing(place.path(), "javascript", worlds(), Some("node_modules"));
    example(place.path(), "mask", Some("node_modules"));
}

#[test]
fn functions_in_python() {
    if let Some(why) = no_python(COMPONENTIZE_PY) {
        return skipped("`function init --language python` was", &why);
    }
    let place = folder();
    from_nothing(place.path(), "python", worlds(), Some(".venv"));
    example(place.path(), "split", Some(".venv"));
}

#[test]
fn functions_in_c() {
    if let Some(why) = no_python(ZIGLANG) {
        return skipped("`function init --language c` was", &why);
    }
    let place = folder();
    from_nothing(place.path(), "c", &["pure"], Some(".venv"));
    example(place.path(), "keep-late", None);
}
