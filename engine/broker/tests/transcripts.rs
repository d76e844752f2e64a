//! Conversations kept as text: `C:` is what a client sends, `S:` the line it gets, `S~` how the line begins, `S!` that the
//! connection is closed. A digit after the letter tells connections apart. `O:` sets an option before the first line.
//! Lines of one connection are in order; a connection is opened by its first line.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use millstream_access::{Authenticator, User};
use millstream_broker::{Broker, Options};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct Line<'a> {
    at: usize,
    kind: char,
    conn: char,
    text: &'a str,
    how: char,
}

fn parse(script: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (at, line) in (1..).zip(script.lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let end = line
            .find([':', '~', '!'])
            .unwrap_or_else(|| panic!("line {at}: {line}"));
        let (name, rest) = line.split_at(end);
        let mut letters = name.chars();
        lines.push(Line {
            at,
            kind: letters.next().unwrap(),
            conn: letters.next().unwrap_or('1'),
            how: rest.chars().next().unwrap(),
            text: rest[1..].strip_prefix(' ').unwrap_or(&rest[1..]),
        });
    }
    lines
}

fn set(options: &mut Options, text: &str) {
    let (name, value) = text.split_once(' ').unwrap();
    match name {
        "token" => options.auth = Authenticator::token(value),
        "user" => {
            let (name, password) = value.split_once(' ').unwrap();
            options.auth = Authenticator::users(vec![User {
                name: name.into(),
                password: password.into(),
            }]);
        }
        "auth_timeout_ms" => options.auth_timeout = Duration::from_millis(value.parse().unwrap()),
        "max_payload" => options.max_payload = value.parse().unwrap(),
        "max_control_line" => options.max_control_line = value.parse().unwrap(),
        "jetstream" => options.jetstream = value == "on",
        "trace" => options.trace = value == "on",
        other => panic!("no option {other}"),
    }
}

async fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = tokio::time::timeout(support::PATIENCE, reader.read_until(b'\n', &mut bytes));
        match read.await.expect("the server says something") {
            Ok(0) | Err(_) => return None,
            // May come any time.
            Ok(_) if bytes == b"PING\r\n" => {}
            Ok(_) => {
                let text = std::str::from_utf8(&bytes).unwrap();
                return Some(text.trim_end_matches(['\r', '\n']).to_owned());
            }
        }
    }
}

async fn replay(name: &str, script: &str) {
    let lines = parse(script);
    let mut options = support::options();
    for line in lines.iter().filter(|line| line.kind == 'O') {
        set(&mut options, line.text);
    }
    let broker = Broker::start(options).await.unwrap();
    let mut conns: BTreeMap<char, BufReader<TcpStream>> = BTreeMap::new();
    for Line {
        at,
        kind,
        conn,
        text,
        how,
    } in lines
    {
        if kind == 'O' {
            continue;
        }
        let reader = match conns.entry(conn) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let socket = TcpStream::connect(broker.local_addr()).await.unwrap();
                new.insert(BufReader::new(socket))
            }
        };
        match (kind, how) {
            ('C', _) => reader
                .get_mut()
                .write_all(format!("{text}\r\n").as_bytes())
                .await
                .unwrap(),
            ('S', ':') => assert_eq!(
                line(reader).await.as_deref(),
                Some(text),
                "{name}, line {at}"
            ),
            ('S', '~') => {
                let got = line(reader).await.unwrap_or_default();
                assert!(got.starts_with(text), "{name}, line {at}: {got}");
            }
            ('S', '!') => assert_eq!(line(reader).await, None, "{name}, line {at}"),
            _ => panic!("{name}, line {at}: neither C nor S"),
        }
    }
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let name = stringify!($name);
                replay(name, include_str!(concat!("transcripts/", stringify!($name), ".txt"))).await;
            }
        )*

        /// No transcript lies there unused.
        #[test]
        fn all_transcripts_are_replayed() {
            let known = [$(stringify!($name)),*];
            for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts")).unwrap() {
                let file = file.unwrap().path();
                let stem = file.file_stem().unwrap().to_str().unwrap();
                assert!(known.contains(&stem), "{stem}");
            }
        }
    };
}

transcripts!(
    auto_unsubscribe,
    auth_timeout,
    bad_input,
    connect,
    echo,
    headers,
    no_responders,
    pedantic,
    subjects,
    token,
    traced,
    user_and_password,
    verbose,
);
