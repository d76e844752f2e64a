//! Checkpoints give back the state they were taken from and refuse damaged bytes.

use millstream_types::Timestamp;
use proptest::prelude::*;

use crate::{CheckpointError, Stream, StreamConfig};

fn empty() -> Vec<u8> {
    let config = StreamConfig {
        name: "S".to_owned(),
        ..StreamConfig::default()
    };
    Stream::new(1, config.checked().expect("valid"), Timestamp(5), None).encode_checkpoint()
}

#[test]
fn cuts_and_newer_versions_are_errors() {
    let bytes = empty();
    for at in 0..bytes.len() {
        assert!(
            Stream::decode_checkpoint(&bytes[..at]).is_err(),
            "cut at {at}"
        );
    }
    let mut newer = bytes.clone();
    // Behind no pages and the root's length, which takes two bytes.
    assert_eq!(newer[3], 3, "the root's version");
    newer[3] = 9;
    assert!(matches!(
        Stream::decode_checkpoint(&newer),
        Err(CheckpointError::Version(9))
    ));
    let mut longer = bytes;
    longer.push(0);
    assert!(Stream::decode_checkpoint(&longer).is_err());
}

proptest! {
    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = empty();
        let at = at.index(bytes.len());
        bytes.truncate(at);
        bytes.push(byte);
        bytes.extend(tail);
        let _result = Stream::decode_checkpoint(&bytes);
    }
}
