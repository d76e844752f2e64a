//! Which files make readers of one stream jump: many streams take turns in them, a little at a time. Such a file is written
//! again once, stream by stream.

use std::collections::BTreeMap;

use millstream_journal::FrameInfo;

/// Records of a stream that are stored together when they move, about.
const TOGETHER: u64 = 1024;
/// Jumps in a file for each one that stays when its records lie together: fewer are not worth writing it again.
const WORSE: u64 = 8;
/// Frames of at least so many bytes on average are read well enough where they are.
const LARGE: u64 = 16 * 1024;

/// Whether the records of a file with these frames lie so that writing it again, stream by stream, makes reading much cheaper. Of one
/// written that way it says no.
pub(crate) fn is_scattered(all: &[FrameInfo]) -> bool {
    let mut records: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut jumps, mut frames, mut bytes) = (0, 0, 0);
    let mut before = None;
    // Pages of the index hold no records.
    let data = all
        .iter()
        .filter(|frame| !frame.is_copy() && frame.count > 0);
    for frame in data {
        *records.entry(frame.stream).or_default() += u64::from(frame.count);
        jumps += u64::from(before.replace(frame.stream) != Some(frame.stream));
        frames += 1;
        bytes += u64::from(frame.len);
    }
    let after: u64 = records.values().map(|count| count.div_ceil(TOGETHER)).sum();
    jumps > WORSE * after && bytes < LARGE * frames
}

#[cfg(test)]
mod tests {
    use millstream_journal::FrameInfo;

    use super::is_scattered;

    fn file(frames: impl Iterator<Item = (u32, u32, u32)>) -> Vec<FrameInfo> {
        let frame = |(stream, count, len)| FrameInfo {
            offset: 0,
            len,
            index: 1,
            group: 1,
            stream,
            count,
            flags: 0,
        };
        frames.map(frame).collect()
    }

    #[test]
    fn turns_of_many_streams_are_and_runs_of_few_are_not() {
        let turns = |streams: u32, len| file((0..400).map(move |at| (at % streams, 1, len)));
        assert!(is_scattered(&turns(5, 300)));
        assert!(!is_scattered(&turns(1, 300)), "one stream");
        assert!(!is_scattered(&turns(100, 300)), "too few of each");
        assert!(!is_scattered(&turns(5, 20_000)), "large frames");
        assert!(
            !is_scattered(&file((0..400).map(|at| (at / 80, 1, 300)))),
            "runs"
        );
        // As it is afterwards: full frames, one stream after the other.
        assert!(!is_scattered(&file((0..40).map(|at| (
            at / 8,
            1024,
            300_000
        )))));
        // Pages between the frames of one stream are no jumps.
        assert!(!is_scattered(&file((0..400).map(|at| (
            at % 2,
            at % 2,
            300
        )))));
        assert!(!is_scattered(&file(std::iter::empty())));
    }
}
