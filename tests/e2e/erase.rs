//! A deleted message cannot be read from the disk any more, and nothing else suffers: also when the process is killed at once.

use std::fs;
use std::path::Path;

use async_nats::jetstream::{self, stream};
use serde_json::{Value, json};

use crate::harness::{Server, eventually, folder, text};
use crate::jetstream::{config, context};

const MESSAGES: u64 = 60;

fn payload(number: u64) -> String {
    format!("words of message {number:03}, and of no other")
}

/// Which messages' payloads stand in some file of the store.
fn on_disk(folder: &Path) -> Vec<u64> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.join("store/journal")).expect("readable") {
        // A file may go meanwhile.
        all.push(fs::read(entry.expect("an entry").path()).unwrap_or_default());
    }
    let is_there = |number: &u64| {
        let words = payload(*number);
        all.iter().any(|bytes| {
            bytes
                .windows(words.len())
                .any(|window| window == words.as_bytes())
        })
    };
    (1..=MESSAGES).filter(is_there).collect()
}

async fn fill(js: &jetstream::Context, name: &str) -> stream::Stream {
    let stream = js.create_stream(config(name)).await.expect("made");
    let mut acks = Vec::new();
    for number in 1..=MESSAGES {
        let subject = format!("{name}.x");
        let ack = js.publish(subject, payload(number).into()).await;
        acks.push(ack.expect("sent"));
    }
    // Together, so that many lie in one frame.
    for ack in acks {
        ack.await.expect("stored");
    }
    stream
}

#[tokio::test]
async fn what_was_deleted_is_on_no_disk() {
    let folder = folder();
    let conf = folder.path().join("small.conf");
    fs::write(&conf, "millstream { journal_file_size: 256KB }\n").expect("written");
    let conf = conf.to_str().expect("path");
    let server = Server::start_with(folder.path(), &["-c", conf]);
    let js = context(&server).await;
    let stream = fill(&js, "A").await;
    let all: Vec<u64> = (1..=MESSAGES).collect();
    assert_eq!(on_disk(folder.path()), all);
    let gone = [7, 8, 30];
    for seq in gone {
        stream.delete_message(seq).await.expect("deleted");
    }
    // Asked not to, it stays until its file goes.
    let client = server.client().await;
    let request = json!({ "seq": 40, "no_erase": true }).to_string();
    let answer = client.request("$JS.API.STREAM.MSG.DELETE.A", request.into());
    let answer: Value =
        serde_json::from_slice(&answer.await.expect("answered").payload).expect("JSON");
    assert_eq!(answer["success"], true, "{answer}");
    let left: Vec<u64> = all
        .iter()
        .copied()
        .filter(|seq| !gone.contains(seq))
        .collect();
    eventually("they are erased", async || {
        (on_disk(folder.path()) == left).then_some(())
    })
    .await;
    for seq in left.iter().copied().filter(|seq| *seq != 40) {
        let message = stream.get_raw_message(seq).await.expect("there");
        assert_eq!(message.payload, payload(seq));
    }

    // Killed right after the answer: the next life makes up for it.
    stream.delete_message(9).await.expect("deleted");
    server.kill();
    let server = Server::start_with(folder.path(), &["-c", conf]);
    eventually("it is erased too", async || {
        (!on_disk(folder.path()).contains(&9)).then_some(())
    })
    .await;
    let js = context(&server).await;
    let stream = js.get_stream("A").await.expect("there");
    let message = stream.get_raw_message(10).await.expect("there");
    assert_eq!(message.payload, payload(10));
    let checked = server.cli(&["journal", "verify", "--online"]);
    assert!(checked.status.success(), "{}", text(&checked));
    server.terminate();
}
