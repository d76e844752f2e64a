//! The bytes of commands: what is written is read, and what older builds wrote as well.

use bytes::Bytes;
use millstream_streams::{Command as StreamCommand, Publish, RecordsBuilder};
use millstream_types::Timestamp;

use super::{Command, DecodeError, publish_head};

fn bytes_of(command: &Command) -> Bytes {
    let (head, body) = command.encode();
    Bytes::from([&head[..], &body[..]].concat())
}

fn parts() -> Vec<Command> {
    let mut records = RecordsBuilder::new();
    records.push(b"late.UA", b"", b"12");
    let (records, count) = records.take();
    vec![
        Command::Stream(StreamCommand::Publish(Publish {
            stream: 7,
            time: Timestamp(1),
            count,
            records,
        })),
        Command::Position {
            source: "flow/late".to_owned(),
            value: Bytes::from_static(b"3\n{}"),
        },
    ]
}

#[test]
fn a_publish_is_its_head_and_its_records() {
    let Command::Stream(StreamCommand::Publish(publish)) = &parts()[0] else {
        panic!("a publish");
    };
    let head = publish_head(publish.stream, publish.time, publish.count);
    assert_eq!(
        bytes_of(&parts()[0]),
        [&head[..], &publish.records].concat()
    );
}

#[test]
fn what_is_written_is_read() {
    for (command, version, kind) in [
        (Command::Several(parts()), 1, 4),
        (Command::Whole(parts()), 2, 5),
    ] {
        let bytes = bytes_of(&command);
        assert_eq!(bytes[..2], [version, kind]);
        let again = Command::decode(&bytes).expect("it is whole");
        assert_eq!(format!("{again:?}"), format!("{command:?}"));
        for end in 0..bytes.len() {
            assert!(Command::decode(&bytes.slice(..end)).is_err(), "{end}");
        }
    }
}

/// Byte for byte as builds before flows wrote it.
#[test]
fn a_position_of_a_source_is_as_it_was() {
    let old = [&[1, 3, 4, 0][..], b"fileline 7"].concat();
    let command = Command::decode(&Bytes::from(old.clone())).expect("it is whole");
    let Command::Position { source, value } = &command else {
        panic!("{command:?}");
    };
    assert_eq!((source.as_str(), &value[..]), ("file", &b"line 7"[..]));
    assert_eq!(bytes_of(&command), old);
}

/// The layout of a whole command, byte for byte.
#[test]
fn the_layout_of_a_whole_command_stays() {
    let command = Command::Whole(vec![Command::Position {
        source: "flow/a".to_owned(),
        value: Bytes::from_static(b"3\n{}"),
    }]);
    let inner = [&[1, 3, 6, 0][..], b"flow/a3\n{}"].concat();
    let expected = [&[2, 5, 1, 0, 0, 0, inner.len() as u8, 0, 0, 0][..], &inner].concat();
    assert_eq!(bytes_of(&command), expected);
}

#[test]
fn what_is_newer_is_told_apart() {
    let read = |bytes: &'static [u8]| Command::decode(&Bytes::from_static(bytes));
    assert!(matches!(read(&[3, 1]), Err(DecodeError::Version(3))));
    assert!(matches!(
        read(&[2, 4, 0, 0, 0, 0]),
        Err(DecodeError::Kind(4))
    ));
    assert!(matches!(
        read(&[1, 5, 0, 0, 0, 0]),
        Err(DecodeError::Kind(5))
    ));
}
