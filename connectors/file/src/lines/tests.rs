//! Lines come out whole however the reads are split.

use std::io::{self, Read};

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_oneof, proptest};
use proptest::strategy::Just;

use super::{Cut, Cutter, Ending};

/// Gives its bytes in small pieces.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(self.1).min(into.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn cut_all(ending: Ending, max: usize, input: &[u8], drip: usize) -> Vec<Cut> {
    let mut cutter = Cutter::new(ending, max, 0, 0);
    let mut input = Drip(input, drip);
    std::iter::from_fn(|| cutter.next(&mut input, true).expect("no fault")).collect()
}

fn texts(cuts: &[Cut]) -> Vec<String> {
    cuts.iter()
        .map(|cut| String::from_utf8_lossy(&cut.bytes).into_owned())
        .collect()
}

#[test]
fn lines_end_at_line_feeds() {
    let cuts = cut_all(Ending::Line, 100, b"one\ntwo\r\n\nlast", 3);
    assert_eq!(texts(&cuts), ["one", "two", "", "last"]);
    assert_eq!(
        cuts.iter().map(|cut| cut.line).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}

#[test]
fn rows_may_hold_line_feeds_inside_quotes() {
    let cuts = cut_all(Ending::Row, 100, b"a,\"x\ny\"\"\n\",b\n5\" pipe,c\nd\n", 2);
    assert_eq!(texts(&cuts), ["a,\"x\ny\"\"\n\",b", "5\" pipe,c", "d"]);
    assert_eq!(
        cuts.iter().map(|cut| cut.line).collect::<Vec<_>>(),
        [1, 4, 5]
    );
}

#[test]
fn an_unfinished_line_waits_when_the_file_may_grow() {
    let mut cutter = Cutter::new(Ending::Line, 100, 0, 0);
    assert_eq!(
        cutter.next(&mut Drip(b"on", 9), false).expect("no fault"),
        None
    );
    assert_eq!(cutter.offset, 0);
    let cut = cutter
        .next(&mut Drip(b"e\ntw", 9), false)
        .expect("no fault")
        .expect("a line");
    assert_eq!(texts(&[cut]), ["one"]);
    assert_eq!((cutter.offset, cutter.lines), (4, 1));
}

#[test]
fn long_lines_are_bounded_and_the_next_line_is_whole() {
    let mut input = vec![b'x'; 300_000];
    input.extend_from_slice(b"\nshort\n");
    let cuts = cut_all(Ending::Line, 1000, &input, 50_000);
    assert_eq!(cuts.len(), 2);
    assert_eq!((cuts[0].long, cuts[0].bytes.len()), (Some(300_000), 256));
    assert_eq!(
        (cuts[1].line, texts(&cuts[1..])),
        (2, vec!["short".to_owned()])
    );
}

#[test]
fn the_border_stays_before_a_long_line_that_is_not_ended() {
    let mut cutter = Cutter::new(Ending::Line, 10, 0, 0);
    let mut input = b"one\n".to_vec();
    input.extend([b'x'; 500]);
    let mut input = Drip(&input, 100);
    assert!(cutter.next(&mut input, false).expect("no fault").is_some());
    assert_eq!(cutter.next(&mut input, false).expect("no fault"), None);
    assert_eq!((cutter.offset, cutter.lines), (4, 1));
    let cut = cutter
        .next(&mut Drip(b"\n", 1), false)
        .expect("no fault")
        .expect("a line");
    assert_eq!((cut.long, cutter.offset), (Some(500), 505));
}

#[test]
fn an_unclosed_quote_is_bounded_too() {
    let mut input = b"\"".to_vec();
    input.extend(b"line\n".repeat(100_000));
    let cuts = cut_all(Ending::Row, 1000, &input, 70_000);
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].long, Some(500_001));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn lines_are_those_of_split_and_every_border_can_be_started_from(
        input in vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'"'), 1 => Just(b',')], 0..60),
        drip in 1_usize..20,
        max in 1_usize..40,
    ) {
        let mut expected: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        expected.pop_if(|last| last.is_empty());
        let cuts = cut_all(Ending::Line, max, &input, drip);
        assert_eq!(cuts.len(), expected.len());
        for (cut, line) in cuts.iter().zip(expected) {
            match cut.long {
                Some(length) => assert!(length == line.len() as u64 && line.len() > max),
                None => assert_eq!(cut.bytes, line.strip_suffix(b"\r").unwrap_or(line)),
            }
        }
        for ending in [Ending::Line, Ending::Row] {
            let all = cut_all(ending, max, &input, drip);
            let mut cutter = Cutter::new(ending, max, 0, 0);
            let mut reader = Drip(&input, drip);
            for taken in 0..all.len() {
                let rest = &input[usize::try_from(cutter.offset).expect("small")..];
                let mut again = Cutter::new(ending, max, cutter.offset, cutter.lines);
                let mut reader_again = Drip(rest, drip);
                let cuts: Vec<Cut> = std::iter::from_fn(|| again.next(&mut reader_again, true).expect("no fault")).collect();
                assert_eq!(cuts, all[taken..]);
                cutter.next(&mut reader, true).expect("no fault");
            }
            assert_eq!(cutter.offset, input.len() as u64);
        }
    }
}
