//! Commands survive encoding, and golden bytes hold their format still.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use expect_test::expect;
use millstream_types::Timestamp;
use proptest::prelude::*;

use super::{Ack, AckKind, Acks, Command, CommandError, Due, Fire, Publish, Purge};
use crate::{ConsumerConfig, RecordsBuilder, StreamConfig};

#[expect(clippy::too_many_lines, reason = "a table")]
fn samples() -> Vec<Command> {
    let mut builder = RecordsBuilder::new();
    builder.push(b"s", b"", b"x");
    let (records, count) = builder.take();
    let time = Timestamp(0x0102_0304_0506_0708);
    let name = || "c".to_owned();
    let stream_config = || {
        Box::new(StreamConfig {
            name: "S".to_owned(),
            ..StreamConfig::default()
        })
    };
    let consumer_config = || {
        Box::new(ConsumerConfig {
            ack_wait: Duration::from_secs(1),
            ..ConsumerConfig::default()
        })
    };
    let acks = [AckKind::Ack, AckKind::Term, AckKind::GiveUp];
    let acks = (5..)
        .zip(acks)
        .map(|(stream_seq, kind)| Ack { stream_seq, kind })
        .collect();
    vec![
        Command::Publish(Publish {
            stream: 7,
            time,
            count,
            records: records.clone(),
        }),
        Command::Acks(Acks {
            stream: 7,
            consumer: name(),
            time,
            acks,
        }),
        Command::CreateStream {
            id: 7,
            time,
            config: stream_config(),
        },
        Command::UpdateStream {
            id: 7,
            time,
            config: stream_config(),
        },
        Command::DeleteStream { id: 7 },
        Command::Purge(Purge {
            stream: 7,
            time,
            filter: Some("a.>".to_owned()),
            sequence: 3,
            keep: 0,
        }),
        Command::Purge(Purge {
            stream: 7,
            time,
            filter: None,
            sequence: 0,
            keep: 4,
        }),
        Command::DeleteMessage {
            stream: 7,
            seq: 9,
            erase: true,
        },
        Command::CreateConsumer {
            stream: 7,
            name: name(),
            time,
            config: consumer_config(),
        },
        Command::UpdateConsumer {
            stream: 7,
            name: name(),
            time,
            config: consumer_config(),
        },
        Command::DeleteConsumer {
            stream: 7,
            name: name(),
        },
        Command::Due(Due {
            stream: 7,
            now: time,
            fires: vec![
                Fire {
                    seq: 5,
                    next: Some(Timestamp(9)),
                    makes: true,
                },
                Fire {
                    seq: 6,
                    next: None,
                    makes: false,
                },
            ],
            count,
            records,
        }),
    ]
}

fn whole(command: &Command) -> Bytes {
    let (head, body) = command.encode();
    let mut whole = BytesMut::from(head.as_ref());
    whole.extend_from_slice(&body);
    whole.freeze()
}

/// What former builds wrote when a message was deleted.
#[test]
fn a_deletion_without_a_word_on_erasing_is_read() {
    let mut bytes = BytesMut::from(&[1, 7, 7, 0, 0, 0][..]);
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&9_u64.to_le_bytes());
    let read = Command::decode(&bytes.freeze()).expect("reads");
    let delete = Command::DeleteMessage {
        stream: 7,
        seq: 9,
        erase: false,
    };
    assert_eq!(read, delete);
}

/// What former builds wrote when something was due.
#[test]
fn the_command_before_kind_12_is_read() {
    let mut bytes = BytesMut::from(&[1, 11, 7, 0, 0, 0][..]);
    bytes.extend_from_slice(&5_i64.to_le_bytes());
    let due = Due {
        stream: 7,
        now: Timestamp(5),
        fires: Vec::new(),
        count: 0,
        records: Bytes::new(),
    };
    let read = Command::decode(&bytes.freeze()).expect("reads");
    assert_eq!(read, Command::Due(due));
}

#[test]
fn golden_bytes() {
    let lines: Vec<String> = samples()
        .iter()
        .map(|command| {
            whole(command)
                .iter()
                .map(|byte| char::from(*byte).escape_default().to_string())
                .collect()
        })
        .collect();
    expect![[r#"
        \u{1}\u{1}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{1}\u{0}\u{0}\u{0}\u{e}\u{0}\u{0}\u{0}\u{90}\u{fd}\u{1e}\u{da}\u{0}\u{0}\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}sx
        \u{1}\u{2}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{1}\u{0}c\u{3}\u{0}\u{0}\u{0}\u{1}\u{5}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{2}\u{6}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{3}\u{7}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}
        \u{1}\u{3}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}{\"name\":\"S\",\"subjects\":[],\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"max_msgs_per_subject\":-1,\"max_msg_size\":-1,\"discard\":\"old\",\"storage\":\"file\",\"num_replicas\":1,\"duplicate_window\":0,\"allow_direct\":false,\"mirror_direct\":false,\"sealed\":false,\"deny_delete\":false,\"deny_purge\":false,\"allow_rollup_hdrs\":false,\"consumer_limits\":{}}
        \u{1}\u{4}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}{\"name\":\"S\",\"subjects\":[],\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"max_msgs_per_subject\":-1,\"max_msg_size\":-1,\"discard\":\"old\",\"storage\":\"file\",\"num_replicas\":1,\"duplicate_window\":0,\"allow_direct\":false,\"mirror_direct\":false,\"sealed\":false,\"deny_delete\":false,\"deny_purge\":false,\"allow_rollup_hdrs\":false,\"consumer_limits\":{}}
        \u{1}\u{5}\u{7}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}
        \u{1}\u{6}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{3}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}a.>
        \u{1}\u{6}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}
        \u{1}\u{7}\u{7}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\t\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}
        \u{1}\u{8}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{1}\u{0}c{\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"ack_wait\":1000000000,\"replay_policy\":\"instant\",\"num_replicas\":0}
        \u{1}\t\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{1}\u{0}c{\"deliver_policy\":\"all\",\"ack_policy\":\"none\",\"ack_wait\":1000000000,\"replay_policy\":\"instant\",\"num_replicas\":0}
        \u{1}\n\u{7}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}c
        \u{1}\u{c}\u{7}\u{0}\u{0}\u{0}\u{8}\u{7}\u{6}\u{5}\u{4}\u{3}\u{2}\u{1}\u{2}\u{0}\u{0}\u{0}\u{5}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\t\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}\u{6}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{1}\u{0}\u{0}\u{0}\u{e}\u{0}\u{0}\u{0}\u{90}\u{fd}\u{1e}\u{da}\u{0}\u{0}\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}sx"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn what_is_written_reads_back() {
    for command in samples() {
        let bytes = whole(&command);
        assert_eq!(Command::decode(&bytes).expect("decodes"), command);
        assert_eq!(command.stream(), 7);
    }
}

#[test]
fn records_are_shared_on_the_way_in_and_out() {
    let Some(Command::Publish(publish)) = samples().into_iter().next() else {
        panic!("first is a publish")
    };
    let records = publish.records.clone();
    let (_, body) = Command::Publish(publish).encode();
    assert_eq!(body.as_ptr(), records.as_ptr());
    let bytes = whole(&samples()[0]);
    let Ok(Command::Publish(read)) = Command::decode(&bytes) else {
        panic!("decodes")
    };
    assert_eq!(
        read.records.as_ptr() as usize,
        bytes.as_ptr() as usize + bytes.len() - read.records.len()
    );
}

#[test]
fn every_cut_and_newer_versions_are_errors() {
    for command in samples() {
        let bytes = whole(&command);
        let cut = |at: usize| Command::decode(&bytes.slice(..at));
        for at in 0..14 {
            assert!(matches!(cut(at), Err(CommandError::Short)));
        }
    }
    assert!(matches!(
        Command::decode(&Bytes::from(vec![2; 20])),
        Err(CommandError::Version(2))
    ));
    let mut unknown = vec![1; 20];
    unknown[1] = 99;
    assert!(matches!(
        Command::decode(&Bytes::from(unknown)),
        Err(CommandError::Kind(99))
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_safe(kind in 0u8..14, rest in prop::collection::vec(any::<u8>(), 0..60)) {
        let bytes: Vec<u8> = [1, kind].into_iter().chain(rest).collect();
        let _result = Command::decode(&Bytes::from(bytes));
    }
}
