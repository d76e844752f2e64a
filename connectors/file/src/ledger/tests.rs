//! The ledger of a file sink: what is counted as written after a crash at any byte.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use millstream_connector_api::SinkRecord;
use millstream_connector_api::testing::records;

use super::{Ledger, Rotation};
use crate::rotate::rotated;

const NEVER: Rotation = Rotation {
    bytes: None,
    keep: 10,
};

fn seqs(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("read");
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {text:?}");
    let seq = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        value["seq"].as_u64().expect("a number")
    };
    text.lines().map(seq).collect()
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("out.jsonl");
    (folder, path)
}

#[test]
fn a_crash_at_any_byte_of_a_write_leaves_each_record_once() {
    let all = records(9);
    let (_folder, path) = fresh();
    let mut ledger = Ledger::open(&path).expect("open");
    ledger.append(&all[..4], &NEVER).expect("append");
    let safe = fs::metadata(&path).expect("metadata").len() as usize;
    ledger.append(&all[4..7], &NEVER).expect("append");
    drop(ledger);
    let whole = fs::read(&path).expect("read");
    for cut in safe..=whole.len() {
        for zeroes in [0, 50] {
            let mut torn = whole[..cut].to_vec();
            torn.extend(std::iter::repeat_n(0_u8, zeroes));
            fs::write(&path, &torn).expect("write");
            // The cursor stands before the second batch, which therefore comes again, cut otherwise.
            let mut ledger = Ledger::open(&path).expect("open");
            ledger.append(&all[4..6], &NEVER).expect("append");
            ledger.append(&all[6..], &NEVER).expect("append");
            drop(ledger);
            assert_eq!(
                seqs(&path),
                (1..=9).collect::<Vec<_>>(),
                "cut at {cut} of {}",
                whole.len()
            );
        }
    }
}

#[test]
fn damage_inside_the_last_write_is_cut_and_written_again() {
    let all = records(6);
    let (_folder, path) = fresh();
    Ledger::open(&path)
        .expect("open")
        .append(&all, &NEVER)
        .expect("append");
    let mut bytes = fs::read(&path).expect("read");
    let length = bytes.len();
    // A block that never reached the disk, while later ones did.
    bytes[length / 2..length / 2 + 30].fill(0);
    fs::write(&path, &bytes).expect("write");
    Ledger::open(&path)
        .expect("open")
        .append(&all, &NEVER)
        .expect("append");
    assert_eq!(seqs(&path), (1..=6).collect::<Vec<_>>());
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let all = records(3);
    let (_folder, path) = fresh();
    let mut ledger = Ledger::open(&path).expect("open");
    ledger.append(&all[..1], &NEVER).expect("append");
    let good = std::mem::replace(&mut ledger.file, File::open(&path).expect("open"));
    let error = ledger.append(&all[1..], &NEVER).expect_err("not writable");
    assert!(
        error.to_string().starts_with("cannot write to `"),
        "{error}"
    );
    // As if a part of it had reached the file before the disk was full.
    let mut part = fs::read(&path).expect("read");
    part.extend_from_slice(b"{\"seq\":2,\"ti");
    fs::write(&path, part).expect("write");
    ledger.file = good;
    ledger.append(&all[1..], &NEVER).expect("append");
    drop(ledger);
    assert_eq!(seqs(&path), [1, 2, 3]);
}

#[test]
fn rotation_moves_whole_files_and_keeps_so_many() {
    let all = records(40);
    let (_folder, path) = fresh();
    let rotation = Rotation {
        bytes: Some(300),
        keep: 3,
    };
    for chunk in all.chunks(2) {
        // Opened anew each time: the last sequence is found in the rotated file when the active one is empty or gone.
        let mut ledger = Ledger::open(&path).expect("open");
        ledger.append(chunk, &rotation).expect("append");
        ledger.append(chunk, &rotation).expect("append");
        drop(ledger);
        assert!(fs::metadata(&path).expect("metadata").len() <= 300);
    }
    let old = rotated(&path).expect("list");
    assert_eq!(old.len(), 3);
    let mut kept: Vec<u64> = old.iter().flat_map(|path| seqs(path)).collect();
    kept.extend(seqs(&path));
    let first = kept[0];
    assert_eq!(kept, (first..=40).collect::<Vec<_>>());
    let last_of = |path: &PathBuf| seqs(path).last().copied().expect("not empty");
    assert!(
        old[0]
            .to_string_lossy()
            .ends_with(&format!(".{:020}", last_of(&old[0])))
    );

    fs::remove_file(&path).expect("remove");
    let mut ledger = Ledger::open(&path).expect("open");
    let from = usize::try_from(last_of(&old[2])).expect("small");
    ledger.append(&all[from - 2..], &rotation).expect("append");
    assert_eq!(seqs(&path)[0], last_of(&old[2]) + 1);
}

#[test]
fn a_station_made_anew_starts_over_in_the_same_file() {
    let old = records(5);
    let later = |record: SinkRecord| SinkRecord {
        time: millstream_types::Timestamp(record.time.0 + 1_000_000_000_000),
        ..record
    };
    let new: Vec<SinkRecord> = records(3).into_iter().map(later).collect();
    let (_folder, path) = fresh();
    Ledger::open(&path)
        .expect("open")
        .append(&old, &NEVER)
        .expect("append");
    Ledger::open(&path)
        .expect("open")
        .append(&new, &NEVER)
        .expect("append");
    assert_eq!(seqs(&path), [1, 2, 3, 4, 5, 1, 2, 3]);
}

#[test]
fn what_others_wrote_is_left_alone() {
    for content in ["hello\n", "hello", "{\"a\":1}\n", "a,b\n1,2\n"] {
        let (_folder, path) = fresh();
        fs::write(&path, content).expect("write");
        let error = Ledger::open(&path).expect_err("refused").to_string();
        assert!(
            error.contains("holds lines that no file sink wrote"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), content);
    }
}

#[test]
fn a_file_has_one_writer() {
    let (_folder, path) = fresh();
    let first = Ledger::open(&path).expect("open");
    let error = Ledger::open(&path).expect_err("refused").to_string();
    assert!(error.contains("is in use by another sink"), "{error}");
    drop(first);
    Ledger::open(&path).expect("free again");
}

#[test]
fn long_lines_are_found_whole() {
    let (_folder, path) = fresh();
    let mut all = records(3);
    let big = format!("\"{}\"", "x".repeat(9 << 20));
    all[1].payload = big.into();
    Ledger::open(&path)
        .expect("open")
        .append(&all[..2], &NEVER)
        .expect("append");
    Ledger::open(&path)
        .expect("open")
        .append(&all, &NEVER)
        .expect("append");
    assert_eq!(seqs(&path), [1, 2, 3]);
}
