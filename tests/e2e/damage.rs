//! A flipped bit in the log costs the messages of its frame and nothing else, and everybody is told.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use futures_util::StreamExt as _;

use crate::harness::{Server, eventually, folder, text};
use crate::jetstream::{config, context};

const MESSAGES: u64 = 200;
const HIT: u64 = 100;

fn payload(number: u64) -> String {
    format!("message number {number} of the stream that is damaged")
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(logs(&path));
        } else if path.extension().is_some_and(|end| end == "log") {
            found.push(path);
        }
    }
    found
}

/// Flips a bit of a message where it lies on disk.
fn flip(folder: &Path, number: u64) {
    let wanted = payload(number);
    for path in logs(folder) {
        let mut bytes = std::fs::read(&path).expect("readable");
        let found = bytes
            .windows(wanted.len())
            .position(|window| window == wanted.as_bytes());
        if let Some(at) = found {
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).expect("written");
            return;
        }
    }
    panic!("message {number} is on no disk");
}

#[tokio::test]
async fn a_flipped_bit_costs_its_frame_and_is_told() {
    for clean in [true, false] {
        let folder = folder();
        let server = Server::start(folder.path());
        let js = context(&server).await;
        js.create_stream(config("D")).await.expect("made");
        for number in 1..=MESSAGES {
            // One frame each, because each is waited for.
            let ack = js.publish("D.x", payload(number).into()).await;
            ack.expect("sent").await.expect("stored");
        }
        let kept = if clean {
            assert!(server.terminate().success());
            folder.path().to_owned()
        } else {
            // Then the damage lies in what the start has to replay.
            server.kill()
        };
        flip(&kept, HIT);

        let server = Server::start(folder.path());
        let client = server.client().await;
        let mut advisories = client
            .subscribe("$JS.EVENT.ADVISORY.MILLSTREAM.JOURNAL_DAMAGED")
            .await
            .expect("subscribed");
        client.flush().await.expect("flushed");
        let js = jetstream::new(client.clone());
        let mut stream = js.get_stream("D").await.expect("there");
        let info = stream.info().await.expect("info").state.clone();
        assert_eq!(info.last_sequence, MESSAGES, "clean stop: {clean}");
        for number in 1..=MESSAGES {
            let got = stream.get_raw_message(number).await;
            if number == HIT {
                assert!(got.is_err(), "clean stop: {clean}");
            } else {
                assert_eq!(got.expect("there").payload, payload(number).as_bytes());
            }
        }
        if clean {
            // Found when it was read; after a crash it was found before anybody could listen.
            let told = advisories.next().await.expect("an advisory");
            let told: serde_json::Value = serde_json::from_slice(&told.payload).expect("JSON");
            assert_eq!(told["stream"], "D");
            assert_eq!(told["messages"], 1);
        }
        eventually("the metric", || async {
            let (_, page) = server.get("/metrics").await;
            page.contains("log_damaged_places 1").then_some(())
        })
        .await;
        let verified = server.cli(&["journal", "verify", "--online"]);
        assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
        // What comes next is stored behind it.
        let ack = js.publish("D.x", "after".into()).await.expect("sent");
        assert_eq!(ack.await.expect("stored").sequence, MESSAGES + 1);
    }
}
