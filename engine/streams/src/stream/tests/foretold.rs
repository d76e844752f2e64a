//! What is said of a publish before it happens.

use super::Entry;
use crate::RecordOutcome;
use crate::trial::{Misfit, Unfit};

/// Records that are said to fit no stream like this one are refused.
pub(super) fn hopeless(hopeless: &[Misfit], got: &[RecordOutcome]) {
    for hopeless in hopeless {
        let became = &got[hopeless.index];
        assert!(matches!(became, RecordOutcome::Refused(error) if *error == hopeless.error));
    }
}

/// What was said of a publish beforehand is what became of it.
pub(super) fn check(full: bool, entries: &[Entry], got: &[RecordOutcome], misfit: Option<Misfit>) {
    let first = got.iter().enumerate().find_map(|(index, outcome)| {
        let RecordOutcome::Refused(error) = outcome else {
            return None;
        };
        Some((index, error.clone()))
    });
    let Some(Misfit {
        index,
        error,
        unfit,
    }) = misfit
    else {
        assert_eq!(first, None, "it was said that all are stored");
        return;
    };
    let makes_room =
        full && unfit == Unfit::Now && entries[..index].iter().any(|entry| entry.rollup.is_some());
    match first {
        Some((at, told)) if at == index => {
            assert!(unfit == Unfit::Here || makes_room || error == told);
        }
        first => {
            assert!(
                first.as_ref().is_none_or(|(at, _)| *at > index),
                "{first:?} {index}"
            );
            assert!(
                unfit == Unfit::Here || makes_room,
                "{index} {error} {unfit:?}"
            );
        }
    }
}
