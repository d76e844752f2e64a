//! The prompt of `millstream sql` on a pseudo terminal, typed at as a person does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::harness::{PATIENCE, Server, binary, folder};
use crate::schemas::{apply, publish, station};

/// A program on a terminal that `script` makes.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    read: usize,
}

impl Terminal {
    fn start(command: &str, variables: &[(&str, &str)]) -> Option<Self> {
        // A shell that stayed around would get Ctrl-C as well, and some end by it: `script` takes the one that SHELL names.
        let command = format!("exec {command}");
        let child = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .envs(variables.iter().copied())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let Ok(mut child) = child else {
            let _closed = writeln!(
                std::io::stderr(),
                "SKIPPED: the prompt was NOT tested, `script` is not installed here"
            );
            return None;
        };
        let keys = child.stdin.take().expect("piped");
        let mut output = child.stdout.take().expect("piped");
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                into.lock().expect("unpoisoned").push_str(&text);
            }
        });
        Some(Self {
            child,
            keys,
            shown,
            read: 0,
        })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
        self.keys.flush().expect("typed");
    }

    /// Waits until something is shown behind what was waited for before.
    fn see(&mut self, text: &str) {
        let since = Instant::now();
        loop {
            let shown = self.shown.lock().expect("unpoisoned").clone();
            if let Some(at) = shown[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "no {text:?} in {:?}",
                &shown[self.read..]
            );
            std::thread::yield_now();
        }
    }

    fn end(mut self) {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        }
    }
}

const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b;\r";

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_completes_remembers_and_survives_ctrl_c() {
    let place = folder();
    let server = Server::start(place.path());
    apply(&server, &station("departures", ""));
    publish(
        &server,
        "departures.a",
        &[],
        br#"{"carrier":"UA","dep_delay":7}"#,
    )
    .await;
    let state = place.path().join("state");
    let variables = [("XDG_STATE_HOME", state.to_str().expect("UTF-8"))];
    let command = format!("{} sql --server {}", binary().display(), server.http);
    let Some(mut terminal) = Terminal::start(&command, &variables) else {
        return;
    };
    terminal.see("sql> ");
    // Over two lines, with a table and a column that Tab finds.
    terminal.press("SELECT dep_delay + 35 AS sum\r");
    terminal.press("FROM depa\t WHERE carr\t = 'UA';\r");
    terminal.see("sum");
    terminal.see("42");
    terminal.see("(1 row");
    // What is wrong is pointed at.
    terminal.see("sql> ");
    terminal.press("SELECT whom FROM departures;\r");
    terminal.see("SELECT whom FROM departures");
    terminal.see("       ^");
    terminal.see("there is no column `whom`");
    terminal.see("sql> ");
    terminal.press("\\d\r");
    terminal.see("departures");
    terminal.see("dead_letters");
    terminal.see("sql> ");
    terminal.press("\\d departures\r");
    terminal.see("dep_delay");
    terminal.see("int64");
    terminal.see("_sequence");
    terminal.see("sql> ");
    terminal.press("\\x\r");
    terminal.see("a line per value is on");
    terminal.see("sql> ");
    terminal.press("\\timing\r");
    terminal.see("timing is on");
    terminal.see("sql> ");
    terminal.press("SELECT * FROM departures;\r");
    terminal.see("-[ record 1 ]-");
    terminal.see("dep_delay | 7");
    terminal.see("time: ");
    terminal.see("sql> ");
    // Ctrl-C ends what runs, and not the program.
    terminal.press(ENDLESS);
    terminal.see("records read");
    terminal.press("\x03");
    terminal.see("cancelled");
    terminal.see("sql> ");
    // It forgets what is typed, as well.
    terminal.press("SELECT nonsense");
    terminal.press("\x03");
    terminal.see("sql> ");
    terminal.press("SELECT 6 * 7 AS answer;\r");
    terminal.see("answer | 42");
    terminal.see("sql> ");
    terminal.press("\\?\r");
    terminal.see("show how long statements take");
    terminal.see("sql> ");
    terminal.press("\\q\r");
    terminal.end();
    let remembered = fs::read_to_string(state.join("millstream/sql_history")).expect("a history");
    assert!(
        remembered.contains("SELECT 6 * 7 AS answer;"),
        "{remembered}"
    );
    // The next time it is there.
    let Some(mut terminal) = Terminal::start(&command, &variables) else {
        return;
    };
    terminal.see("sql> ");
    terminal.press("\x1b[A\x1b[A\x1b[A");
    terminal.see("6 * 7");
    terminal.press("\r");
    terminal.see("42");
    terminal.see("sql> ");
    terminal.press("\x04");
    terminal.end();
}
