//! What counts as the same content, and what metadata asks for it.

use std::collections::BTreeMap;

use millstream_types::{HeadersBuilder, Timestamp};

use super::{ContentRule, DEDUP, DEDUP_HEADERS, RESENT};
use crate::dedup::{Dedup, IdHash, IdKind};
use crate::records::RecordView;

fn metadata(dedup: Option<&str>, headers: Option<&str>) -> BTreeMap<String, String> {
    let entries = [
        (DEDUP, dedup),
        (DEDUP_HEADERS, headers),
        ("other", Some("x")),
    ];
    let entries = entries.into_iter();
    entries
        .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
        .collect()
}

fn rule(dedup: Option<&str>, headers: Option<&str>) -> Result<Option<Vec<String>>, String> {
    let rule = ContentRule::read(&metadata(dedup, headers));
    rule.map(|rule| rule.map(|rule| rule.headers))
        .map_err(|error| error.to_string())
}

#[test]
fn metadata_asks_for_it() {
    let names = |names: &[&str]| Ok(Some(names.iter().map(|name| (*name).to_owned()).collect()));
    assert_eq!(rule(None, None), Ok(None));
    assert_eq!(rule(Some("id"), None), Ok(None));
    assert_eq!(rule(Some("content"), None), names(&[]));
    assert_eq!(rule(Some("content"), Some("B, A,B")), names(&["A", "B"]));
    for (dedup, headers) in [
        (Some("Content"), None),
        (Some(""), None),
        (None, Some("A")),
        (Some("id"), Some("A")),
        (Some("content"), Some("")),
        (Some("content"), Some("A,,B")),
        (Some("content"), Some("A b")),
        (Some("content"), Some("A:")),
    ] {
        assert!(rule(dedup, headers).is_err(), "{dedup:?} {headers:?}");
    }
}

#[test]
fn subject_payload_and_chosen_headers_make_the_content() {
    let rule = ContentRule::read(&metadata(Some("content"), Some("A,B")));
    let rule = rule.expect("valid").expect("content");
    let dedup = Dedup::new(1, Timestamp(0));
    let hash = |subject: &str, payload: &str, headers: &[(&str, &str)]| -> IdHash {
        let add = |new: HeadersBuilder, (name, value): &(&str, &str)| new.with(name, value);
        let headers = headers.iter().fold(HeadersBuilder::new(), add).build();
        let record = RecordView {
            subject: subject.as_bytes(),
            headers: &headers,
            payload: payload.as_bytes(),
        };
        dedup.hash(IdKind::Content, |hasher| rule.write(&record, hasher))
    };
    let known = hash("s", "payload", &[("A", "1"), ("B", "2")]);
    let same = [
        hash("s", "payload", &[("B", "2"), ("A", "1")]),
        hash(
            "s",
            "payload",
            &[("C", "3"), ("A", "1"), ("Nats-Msg-Id", "7"), ("B", " 2 ")],
        ),
    ];
    assert_eq!(same, [known; 2]);
    let others = [
        hash("s", "payload", &[]),
        hash("s", "payload", &[("A", "1")]),
        hash("s", "payload", &[("A", "1"), ("B", "")]),
        hash("s", "payload", &[("A", "1"), ("B", "2"), ("B", "2")]),
        hash("s", "payload", &[("a", "1"), ("B", "2")]),
        hash("s", "payloa", &[("A", "1"), ("B", "2")]),
        hash("sp", "ayload", &[("A", "1"), ("B", "2")]),
        hash("s", "payload", &[("A", "1"), ("B", "2"), (RESENT, "1")]),
        hash("t", "payload", &[("A", "1"), ("B", "2")]),
        dedup.hash_id(b"payload"),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, known, "{at}");
        assert!(!others[..at].contains(other), "{at}");
    }
}
