//! The highest numbers that a client may ask for.

use millstream_journal::Position;
use millstream_types::Timestamp;

use crate::config::MAX_FIRST_SEQ;
use crate::{Publish, RecordOutcome, RecordsBuilder, Stream, StreamConfig};

fn config(first_seq: u64) -> Result<StreamConfig, crate::ApiError> {
    let config = StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["a".to_owned()],
        first_seq,
        ..StreamConfig::default()
    };
    config.checked()
}

fn publish(stream: &mut Stream) -> Vec<RecordOutcome> {
    let mut records = RecordsBuilder::new();
    records.push(b"a", b"", b"x");
    let (records, count) = records.take();
    let publish = Publish {
        stream: 1,
        time: Timestamp(1),
        count,
        records,
    };
    let mut out = Vec::new();
    stream.publish(Position::default(), 0, &publish, &mut out);
    out
}

/// What no sequence follows would stop the node with the second message, and every start that reads it again.
#[test]
fn a_first_sequence_leaves_room_for_messages() {
    for first_seq in [u64::MAX, u64::MAX - 1, MAX_FIRST_SEQ + 1] {
        let refused = config(first_seq).expect_err("no room");
        assert_eq!(refused.err_code, 10052);
    }
    let highest = config(MAX_FIRST_SEQ).expect("room");
    let mut stream = Stream::new(1, highest, Timestamp(1), None);
    for seq in MAX_FIRST_SEQ..MAX_FIRST_SEQ + 3 {
        assert_eq!(publish(&mut stream), [RecordOutcome::Stored(seq)]);
    }
}
