//! Small worlds checked whole: every filter and subject over a tiny alphabet against a naive oracle.

use super::{SubjectError, check_filter, check_subject, filter_covers, filters_overlap, matches};

/// All dotted words of one to three tokens over the alphabet.
fn words(alphabet: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = alphabet.iter().map(|token| (*token).to_owned()).collect();
    let mut last = all.clone();
    for _ in 0..2 {
        last = last
            .iter()
            .flat_map(|word| alphabet.iter().map(move |token| format!("{word}.{token}")))
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

fn filters() -> Vec<String> {
    let mut all = words(&["a", "b", "*", ">"]);
    all.retain(|filter| check_filter(filter.as_bytes()).is_ok());
    all
}

#[test]
fn overlap_and_cover_agree_with_matching() {
    // Three tokens decide: the filters have at most three, and `>` needs one more to differ.
    let mut subjects = words(&["a", "b", "c"]);
    subjects.extend(
        words(&["a", "b", "c"])
            .iter()
            .map(|word| format!("{word}.c.c")),
    );
    let hit = |filter: &str, subject: &str| matches(filter.as_bytes(), subject.as_bytes());
    for one in filters() {
        for two in filters() {
            let both = subjects.iter().any(|s| hit(&one, s) && hit(&two, s));
            assert_eq!(
                filters_overlap(one.as_bytes(), two.as_bytes()),
                both,
                "{one} {two}"
            );
            let cover = subjects.iter().all(|s| !hit(&two, s) || hit(&one, s));
            assert_eq!(
                filter_covers(one.as_bytes(), two.as_bytes()),
                cover,
                "{one} {two}"
            );
        }
    }
}

#[test]
fn broken_subjects_are_named() {
    assert_eq!(check_filter(b""), Err(SubjectError::Empty));
    assert_eq!(check_filter(b"a..b"), Err(SubjectError::EmptyToken));
    assert_eq!(check_filter(b".a"), Err(SubjectError::EmptyToken));
    assert_eq!(check_filter(b"a.>.b"), Err(SubjectError::FullWildcard));
    assert_eq!(check_filter(b"a b"), Err(SubjectError::Character));
    assert_eq!(check_subject(b"a.*"), Err(SubjectError::Wildcard));
    assert_eq!(check_subject(b"a.*b.c>"), Ok(()));
    assert_eq!(check_subject(&[0xff, 0xfe]), Err(SubjectError::Encoding));
}
