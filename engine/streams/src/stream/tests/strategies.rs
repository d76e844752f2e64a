//! What happens to a stream, at random: configurations and steps.

use std::time::Duration;

use proptest::prelude::*;

use super::{Entry, Expect, Op};
use crate::config::{DiscardPolicy, StorageType, StreamConfig};

fn entry() -> impl Strategy<Value = Entry> {
    let expect = prop_oneof![
        12 => Just(Expect::Nothing),
        1 => (-1i8..=1).prop_map(Expect::Last),
        1 => (-1i8..=1).prop_map(Expect::Subject),
        1 => (0u8..4).prop_map(Expect::Id),
    ];
    let id = prop_oneof![3 => Just(None), 1 => (0u8..4).prop_map(Some)];
    let rollup = prop_oneof![20 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let ttl = prop_oneof![4 => Just(None), 1 => (0u32..3).prop_map(Some)];
    (0usize..6, id, expect, rollup, ttl, 0usize..40).prop_map(
        |(subject, id, expect, rollup, ttl, size)| Entry {
            subject,
            id,
            expect,
            rollup,
            ttl,
            size,
        },
    )
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let few = || prop_oneof![Just(None), (0u8..12).prop_map(Some)];
    let bound = |max: i64| prop_oneof![2 => Just(-1), 1 => 1..max];
    prop_oneof![
        10 => prop::collection::vec(entry(), 1..8).prop_map(Op::Publish),
        4 => any::<u8>().prop_map(Op::Delete),
        1 => (prop_oneof![Just(None), (0usize..6).prop_map(Some)], few(), few())
            .prop_map(|(filter, sequence, keep)| Op::Purge { filter, sequence, keep }),
        1 => (0u16..800).prop_map(Op::Pass),
        2 => Just(Op::Due),
        1 => (bound(40), bound(2000), bound(5))
            .prop_map(|(msgs, bytes, per_subject)| Op::Limits { msgs, bytes, per_subject }),
        1 => Just(Op::Checkpoint),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(file, delete)| Op::Move(file, delete)),
        1 => Just(Op::Snapshot),
        1 => any::<bool>().prop_map(Op::Finish),
    ]
}

pub(super) fn config() -> impl Strategy<Value = StreamConfig> {
    (any::<[bool; 5]>(), 0u64..2, 0u64..6).prop_map(
        |([new, per, age, rollup, small], first, times)| StreamConfig {
            allow_msg_ttl: times > 0,
            subject_delete_marker_ttl: Duration::from_secs(times.saturating_sub(3)),
            name: "S".to_owned(),
            subjects: vec![">".to_owned()],
            no_ack: true,
            storage: StorageType::File,
            discard: if new {
                DiscardPolicy::New
            } else {
                DiscardPolicy::Old
            },
            discard_new_per_subject: new && per,
            max_msgs_per_subject: if new && per { 3 } else { -1 },
            max_msgs: if small { 12 } else { -1 },
            max_age: if age {
                Duration::from_millis(500)
            } else {
                Duration::ZERO
            },
            duplicate_window: Duration::from_millis(200),
            allow_rollup_hdrs: rollup,
            first_seq: first * 30,
            ..StreamConfig::default()
        },
    )
}
