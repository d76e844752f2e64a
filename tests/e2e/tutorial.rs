//! The tutorials as a reader follows them: their files are written, their commands are run in order by bash, and what they
//! show of the output must come. After each step of `examples/functions/TUTORIAL.md` nothing may be lost: what is stored and
//! what is a dead letter is together what was published.
//!
//! A block's first line says what it is: `sh`, commands; `sh exit=4`, commands that end so; `sh psql`, commands that need
//! `psql`; `sh server`, what starts the server or says where it is, which the test does itself; `LANGUAGE file=NAME`, a file;
//! `text`, what the commands above print, where `…` stands for anything and lines may be left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, binary, folder, root, text};
use crate::postgres;
use crate::toolkits::{no_javascript, skipped};

/// A block of the text.
#[derive(Debug)]
enum Block {
    Serve(String),
    Run { script: String, exit: i32 },
    Psql(String),
    File { name: String, text: String },
    Shown(String),
}

/// The blocks of a text, each with the line that it begins on.
fn blocks(tutorial: &str) -> Vec<(usize, Block)> {
    let mut found = Vec::new();
    let mut lines = tutorial.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let inside: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        let inside = inside.join("\n") + "\n";
        let words: Vec<&str> = info.split_whitespace().collect();
        let block = match words[..] {
            ["sh", "server"] => Block::Serve(inside),
            ["sh", "psql"] => Block::Psql(inside),
            ["sh"] => Block::Run {
                script: inside,
                exit: 0,
            },
            ["sh", exit] => Block::Run {
                script: inside,
                exit: exit
                    .strip_prefix("exit=")
                    .and_then(|exit| exit.parse().ok())
                    .unwrap_or_else(|| panic!("line {}: {info}", number + 1)),
            },
            ["text"] => Block::Shown(inside),
            [_, name] if name.starts_with("file=") => Block::File {
                name: name.replace("file=", ""),
                text: inside,
            },
            _ => panic!("line {}: no such block as {info}", number + 1),
        };
        found.push((number + 1, block));
    }
    found
}

/// Whether a line is what was shown, in which `…` is anything and spaces are as wide as they like.
fn is_like(line: &str, shown: &str) -> bool {
    let narrow = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (line, shown) = (narrow(line), narrow(shown));
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// The first shown line that did not come, or not in this order.
fn missing<'s>(output: &str, shown: &'s str) -> Option<&'s str> {
    let mut lines = output.lines();
    let shown = shown.lines().filter(|line| !line.trim().is_empty());
    let mut shown = shown.filter(|line| line.trim() != "…");
    shown.find(|shown| !lines.any(|line| is_like(line, shown)))
}

/// Whether commands only look, so that they may be asked again until what they show has come.
fn only_looks(script: &str) -> bool {
    let looks = [
        "millstream describe ",
        "millstream status",
        "millstream get flows",
        "millstream tail ",
        "millstream sql -c 'SELECT ",
        "millstream sql -c \"SELECT ",
        "millstream sql -c 'SHOW ",
        "millstream sql --preview ",
        "psql -c ",
        "millstream dead-letters list ",
        "millstream function versions ",
        "millstream function logs ",
    ];
    script
        .lines()
        .all(|line| looks.iter().any(|look| line.starts_with(look)))
}

/// Where the reader is.
struct Reader {
    server: Server,
    place: PathBuf,
    /// The folder that commands run in, which `cd` changes.
    cwd: PathBuf,
    path: std::ffi::OsString,
    /// The port for PostgreSQL's clients, where there is one.
    postgres: Option<String>,
    published: u64,
}

impl Reader {
    fn new(place: &Path, server: Server) -> Self {
        let programs = place.join("bin");
        fs::create_dir(&programs).expect("a folder");
        std::os::unix::fs::symlink(binary(), programs.join("millstream")).expect("a link");
        // What is read of the repository; nothing is written there.
        let checkout = place.join("checkout");
        fs::create_dir(&checkout).expect("a folder");
        std::os::unix::fs::symlink(root().join("examples"), checkout.join("examples"))
            .expect("a link");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [programs]
            .into_iter()
            .chain(std::env::split_paths(&path).collect::<Vec<_>>());
        Self {
            server,
            place: place.to_owned(),
            cwd: checkout,
            path: std::env::join_paths(path).expect("folders"),
            postgres: None,
            published: 0,
        }
    }

    fn run(&mut self, script: &str) -> Output {
        let cwd = self.place.join("cwd");
        let whole = format!("exec 2>&1\ntrap 'pwd > {}' EXIT\n{script}", cwd.display());
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &whole])
            .current_dir(&self.cwd)
            .env("PATH", &self.path)
            .env("MILLSTREAM_SERVER", &self.server.http)
            .envs(self.postgres.iter().map(|port| ("PGPORT", port)))
            .envs([("PGHOST", "127.0.0.1"), ("PGUSER", "ann")])
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let cwd = fs::read_to_string(cwd).expect("the folder it ended in");
        self.cwd = PathBuf::from(cwd.trim_end());
        self.published += self.lines_published(script);
        output
    }

    /// Lines of the files that commands publish.
    fn lines_published(&self, script: &str) -> u64 {
        let publishes = script
            .lines()
            .filter(|line| line.starts_with("millstream publish "));
        let files = publishes.map(|line| {
            let (_, file) = line.split_once("--file ").expect("a file is published");
            let file = file.split_whitespace().next().expect("its name");
            let text = fs::read_to_string(self.cwd.join(file)).expect("it is there");
            text.lines().count() as u64
        });
        files.sum()
    }

    /// The server's log without what went well.
    fn log(&self) -> String {
        let log = self.server.log();
        let lines = log.lines().filter(|line| !line.contains(" status=200 "));
        lines.fold(String::new(), |all, line| all + line + "\n")
    }

    /// Messages of the station and its dead letters.
    fn kept(&self) -> [u64; 2] {
        let stations = self.server.json(&["get", "station"]);
        let station = &stations["items"][0];
        ["messages", "dead_letters"].map(|name| station[name].as_u64().unwrap_or(0))
    }
}

/// The tutorial at this path below the root, block by block. `kept` looks after each of its commands.
fn follow(path: &str, reader: &mut Reader, served: &[&str], kept: impl Fn(&Reader, &str)) {
    let tutorial = fs::read_to_string(root().join(path)).expect("the tutorial");
    let mut served = served.iter();
    let mut last = None;
    for (line, block) in blocks(&tutorial) {
        let place = format!("{path}:{line}");
        match block {
            Block::Serve(script) => assert_eq!(Some(&script.trim_end()), served.next(), "{place}"),
            Block::File { name, text } => {
                fs::write(reader.cwd.join(name), text).expect("written");
            }
            Block::Psql(_) if !postgres::has_psql() => last = None,
            Block::Psql(script) => last = Some(run(reader, script, 0, &place, &kept)),
            Block::Run { script, exit } => {
                last = Some(run(reader, script, exit, &place, &kept));
            }
            Block::Shown(shown) => {
                if let Some((script, said)) = last.clone() {
                    shows(reader, &script, said, &shown, &place);
                }
            }
        }
    }
    assert_eq!(served.next(), None, "{path} says how a server is started");
}

/// Runs commands, which must end so; answers them with what they said.
fn run(
    reader: &mut Reader,
    script: String,
    exit: i32,
    place: &str,
    kept: impl Fn(&Reader, &str),
) -> (String, String) {
    let output = reader.run(&script);
    let said = text(&output);
    let log = reader.log();
    assert_eq!(
        output.status.code(),
        Some(exit),
        "{place}: {script}{said}\n{log}"
    );
    kept(reader, &format!("{place}: {script}{said}"));
    (script, said)
}

/// What is shown must come, of commands that only look in the end.
fn shows(reader: &mut Reader, script: &str, mut said: String, shown: &str, place: &str) {
    let since = Instant::now();
    while let Some(absent) = missing(&said, shown) {
        assert!(
            only_looks(script) && since.elapsed() < PATIENCE,
            "{place}: `{absent}` does not come of\n{script}{said}\n{}",
            reader.log()
        );
        said = text(&reader.run(script));
    }
}

#[test]
fn the_tutorial_does_what_it_says() {
    if let Some(why) = no_javascript() {
        return skipped("the tutorial of functions was", &why);
    }
    let place = folder();
    let mut reader = Reader::new(place.path(), Server::start(place.path()));
    let kept = |reader: &Reader, step: &str| {
        let [stored, letters] = reader.kept();
        assert_eq!(
            stored + letters,
            reader.published,
            "{stored} are stored, {letters} are dead letters\n{step}"
        );
    };
    let served = ["millstream serve -sd data"];
    follow("examples/functions/TUTORIAL.md", &mut reader, &served, kept);
    // What it came to.
    assert_eq!(reader.kept(), [reader.published, 0]);
    let versions = reader.server.json(&["function", "versions", "band"]);
    assert_eq!(versions["live"], json!(3), "{versions}");
    assert_eq!(versions["trial"], Value::Null, "{versions}");
}

#[test]
fn the_tutorial_of_queries_does_what_it_says() {
    let place = folder();
    let (server, address) = postgres::start(place.path(), "");
    let mut reader = Reader::new(place.path(), server);
    let port = address.rsplit(':').next().expect("a port");
    reader.postgres = Some(port.trim_end_matches('/').to_owned());
    let served = [
        "echo 'millstream { postgres { listen: 5433 } }' > server.conf\nmillstream serve -sd data -c server.conf",
        "export PGHOST=127.0.0.1 PGPORT=5433 PGUSER=ann",
    ];
    follow("examples/sql/TUTORIAL.md", &mut reader, &served, |_, _| {});
    // All flows are there, and nothing was rejected on the way.
    let flows = reader.server.json(&["get", "flow"]);
    let flows = flows["items"].as_array().expect("flows");
    assert_eq!(flows.len(), 5, "{flows:?}");
    let stations = reader.server.json(&["get", "station"]);
    for station in stations["items"].as_array().expect("stations") {
        assert_eq!(station["dead_letters"], json!(0), "{station}");
    }
}

#[test]
fn shown_lines_are_compared() {
    for (line, shown, like) in [
        ("stored 932 messages", "stored 932 messages", true),
        ("stored 932 messages", "stored 93 messages", false),
        ("stored 932 messages", "stored … messages", true),
        ("stored 932 messages", "stored …", true),
        ("a   b (0.3 ms)", "a b  (… ms)", true),
        ("a b c", "a … d", false),
        ("a b c", "… c", true),
        ("a b c", "b … c", false),
    ] {
        assert_eq!(is_like(line, shown), like, "{line} / {shown}");
    }
    assert_eq!(missing("a\nb\nc\n", "a\n…\nc\n"), None);
    assert_eq!(missing("a\nb\nc\n", "c\na\n"), Some("a"));
}
