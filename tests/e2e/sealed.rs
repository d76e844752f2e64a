//! Streams that are compressed, on a store that is encrypted: they read back after kill -9, nothing on disk can be read by
//! anybody else, keys rotate, and a start without them is refused in words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;

use crate::harness::{Server, binary, folder, text};
use crate::jetstream::{config, context};

const MESSAGES: u64 = 300;
/// What must not be found in any file: of a payload, a header, a subject, an id, a stream's name.
const WORDS: [&str; 5] = [
    "gate-opens-late",
    "header-for-two",
    "quiet-subject",
    "id-of-mine",
    "HIDDENSTREAM",
];

fn payload(number: u64) -> String {
    format!(r#"{{"flight":{number},"note":"gate-opens-late","again":"gate-opens-late"}}"#)
}

/// Writes a configuration, with small files that are soon looked through, and answers its path.
fn write(folder: &Path, name: &str, block: &str) -> String {
    let path = folder.join(name);
    let text = format!("jetstream {{ {block} }}\nmillstream {{ journal_file_size: 1MB }}\n");
    fs::write(&path, text).expect("written");
    path.to_str().expect("path").to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Which of the words stand in the files of a store.
fn words_in(store: &Path) -> Vec<&'static str> {
    let all: Vec<Vec<u8>> = files(store)
        .iter()
        .map(|path| fs::read(path).expect("readable"))
        .collect();
    assert!(all.iter().map(Vec::len).sum::<usize>() > 10_000);
    let in_one = |word: &str, bytes: &[u8]| {
        bytes
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    };
    let found = |word: &&str| all.iter().any(|bytes| in_one(word, bytes));
    WORDS.into_iter().filter(found).collect()
}

async fn fill(js: &jetstream::Context) {
    let config = stream::Config {
        subjects: vec!["quiet-subject.>".to_owned()],
        compression: Some(stream::Compression::S2),
        ..config("HIDDENSTREAM")
    };
    let made = js.create_stream(config).await.expect("made");
    assert_eq!(
        made.cached_info().config.compression,
        Some(stream::Compression::S2)
    );
    let mut acks = Vec::new();
    for number in 1..=MESSAGES {
        let mut headers = HeaderMap::new();
        headers.insert("Note", "header-for-two");
        headers.insert("Nats-Msg-Id", format!("id-of-mine-{number}"));
        let sent = js.publish_with_headers("quiet-subject.a", headers, payload(number).into());
        acks.push(sent.await.expect("sent"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
    // A subject each, so that pages of the index have some.
    for number in 0..100 {
        let sent = js.publish(format!("quiet-subject.b{number}"), "x".into());
        sent.await.expect("sent").await.expect("stored");
    }
}

async fn check(server: &Server) {
    let js = context(server).await;
    let stream = js.get_stream("HIDDENSTREAM").await.expect("there");
    for number in 1..=MESSAGES {
        let got = stream.get_raw_message(number).await.expect("there");
        assert_eq!(got.payload, payload(number).as_bytes());
    }
    let ordered = jetstream::consumer::pull::OrderedConfig {
        filter_subject: "quiet-subject.a".to_owned(),
        ..Default::default()
    };
    let consumer = stream.create_consumer(ordered).await.expect("consumer");
    let messages = consumer.messages().await.expect("messages");
    let count = usize::try_from(MESSAGES).expect("small");
    let got: Vec<_> = messages.take(count).collect().await;
    for (number, message) in (1..).zip(got) {
        assert_eq!(
            message.expect("message").payload,
            payload(number).as_bytes()
        );
    }
    // Remembered ids came back too.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "id-of-mine-7");
    let again = js.publish_with_headers("quiet-subject.a", headers, payload(7).into());
    assert!(
        again
            .await
            .expect("sent")
            .await
            .expect("answered")
            .duplicate
    );
}

/// A start that must fail; `timeout` ends one that does not.
fn refused(folder: &Path, configuration: &str) -> Output {
    let store = folder.join("store");
    let output = Command::new("timeout")
        .args(["60", binary().to_str().expect("path"), "serve"])
        .args(["-p", "-1", "-m", "-1", "-js", "-c", configuration, "-sd"])
        .arg(store)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    output
}

#[tokio::test]
async fn what_is_stored_can_only_be_read_with_the_key() {
    let folder = folder();
    let path = folder.path();
    let store = path.join("store");
    let first = write(path, "first.conf", "key: $STORE_KEY, cipher: aes");
    let from_environment = ["env", "STORE_KEY=a key that nobody would ever find 1"];
    let server = Server::start_under(&from_environment, path, &["-c", &first]);
    fill(&context(&server).await).await;
    server.kill();
    assert_eq!(words_in(&store), Vec::<&str>::new());

    // With another key from now on; a clean stop writes pages of the index and a checkpoint.
    let block = r#"key: "and nobody would ever find number 2", prev_key: "a key that nobody would ever find 1""#;
    let second = write(path, "second.conf", block);
    let server = Server::start_with(path, &["-c", &second]);
    check(&server).await;
    assert!(server.terminate().success());
    assert_eq!(words_in(&store), Vec::<&str>::new());

    let none = write(path, "none.conf", "strict: true");
    let said = text(&refused(path, &none));
    assert!(said.contains("no key is configured"), "{said}");
    let wrong = write(
        path,
        "wrong.conf",
        r#"key: "and nobody would ever find number 2", prev_key: other"#,
    );
    let said = text(&refused(path, &wrong));
    assert!(said.contains("neither `key` nor `prev_key`"), "{said}");
    for secret in ["ever find", "other,", "STORE_KEY"] {
        assert!(!said.contains(secret), "{said}");
    }

    // Whether the files are whole can be told without any key.
    let verified = Command::new(binary())
        .args(["journal", "verify", "--store"])
        .arg(&store)
        .output()
        .expect("it runs");
    assert!(verified.status.success(), "{}", text(&verified));

    let server = Server::start_with(path, &["-c", &second]);
    check(&server).await;
    let log = server.log();
    assert!(!log.contains("ever find"), "{log}");
}

/// The same test finds the words where nothing is encrypted: it can fail.
#[tokio::test]
async fn a_plain_store_can_be_read_by_anybody() {
    let folder = folder();
    let plain = write(folder.path(), "plain.conf", "strict: true");
    let server = Server::start_with(folder.path(), &["-c", &plain]);
    fill(&context(&server).await).await;
    assert!(server.terminate().success());
    assert_eq!(words_in(&folder.path().join("store")), WORDS);
}
