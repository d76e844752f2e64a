//! The tree against matching filter by filter, and the cache against the tree.

use std::collections::BTreeSet;

use millstream_types::matches;
use proptest::prelude::*;

use crate::{Holds, RouteCache, Router};

fn word(wild: bool) -> impl Strategy<Value = String> {
    let token = if wild { "[ab*]" } else { "[abc]" };
    (proptest::collection::vec(token, 1..4), any::<bool>()).prop_map(move |(mut tokens, rest)| {
        if wild && rest {
            tokens.push(">".to_owned());
        }
        tokens.join(".")
    })
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, Option<u8>),
    Remove(usize),
    Look(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (word(true), proptest::option::of(0..3_u8))
            .prop_map(|(filter, queue)| Step::Insert(filter, queue)),
        any::<usize>().prop_map(Step::Remove),
        word(false).prop_map(Step::Look),
        "[ab.]{0,6}".prop_map(Step::Look),
    ]
}

proptest! {
    #[test]
    fn routes_are_those_whose_filters_match(steps in proptest::collection::vec(step(), 1..80)) {
        let router = Router::new();
        let mut cache = RouteCache::default();
        let mut known: Vec<(u64, String, Option<u8>)> = Vec::new();
        for (id, step) in (1..).zip(steps) {
            match step {
                Step::Insert(filter, queue) => {
                    let name = queue.map(|queue| [queue]);
                    router.insert(filter.as_bytes(), name.as_ref().map(|name| &name[..]), id, id);
                    known.push((id, filter, queue));
                }
                Step::Remove(at) if !known.is_empty() => {
                    let (id, filter, queue) = known.swap_remove(at % known.len());
                    let name = queue.map(|queue| [queue]);
                    prop_assert!(router.remove(filter.as_bytes(), name.as_ref().map(|name| &name[..]), id));
                }
                Step::Remove(_) => {}
                Step::Look(subject) => {
                    let whole = subject.split('.').all(|token| !token.is_empty());
                    let hits = known.iter().filter(|(_, filter, _)| whole && matches(filter.as_bytes(), subject.as_bytes()));
                    let mut plain = BTreeSet::new();
                    let mut queues: std::collections::BTreeMap<u8, BTreeSet<u64>> = Default::default();
                    for (id, _, queue) in hits {
                        match queue {
                            None => { plain.insert(*id); }
                            Some(queue) => { queues.entry(*queue).or_default().insert(*id); }
                        }
                    }
                    let queues: BTreeSet<_> = queues.into_values().collect();
                    let looked_up = router.lookup(subject.as_bytes()).routes;
                    for routes in [&*looked_up, cache.get(&router, subject.as_bytes())] {
                        prop_assert_eq!(&routes.plain.iter().copied().collect::<BTreeSet<_>>(), &plain);
                        let found: BTreeSet<BTreeSet<u64>> =
                            routes.queues.iter().map(|members| members.iter().copied().collect()).collect();
                        prop_assert_eq!(&found, &queues);
                        prop_assert_eq!(router.has_interest(subject.as_bytes()), !routes.is_empty());
                    }
                }
            }
        }
    }
}

#[test]
fn inboxes_share_one_answer() {
    let router = Router::new();
    let holds = |subject: &[u8]| router.lookup(subject).holds;
    router.insert(b"_INBOX.a.*", None, 1, 1);
    assert_eq!(holds(b"_INBOX.a.1"), Holds::LastToken(9));
    router.insert(b"_INBOX.a.special", None, 2, 2);
    assert_eq!(holds(b"_INBOX.a.1"), Holds::Subject);
    assert!(router.remove(b"_INBOX.a.special", None, 2));
    assert_eq!(holds(b"_INBOX.a.1"), Holds::LastToken(9));
    assert!(!router.remove(b"nobody", None, 9));
}

/// An acknowledgement's subject is never the same twice; all of them are one answer.
#[test]
fn a_branch_shares_one_answer() {
    let router = Router::new();
    let holds = |subject: &[u8]| router.lookup(subject).holds;
    let branch = |prefix, tokens| Holds::Branch { prefix, tokens };
    assert_eq!(holds(b"a.b.c"), branch(0, 0));
    router.insert(b"$JS.ACK.>", None, 1, 1);
    router.insert(b"$JS.API.>", None, 2, 2);
    assert_eq!(holds(b"$JS.ACK.S.c.1.2.3"), branch(8, 2));
    assert_eq!(holds(b"$JS.ACK.S"), branch(8, 2));
    assert_eq!(holds(b"orders.1"), branch(7, 1));
    assert_eq!(holds(b"$JS.ACK"), Holds::Subject);
    router.insert(b"$JS.*.S.>", None, 3, 3);
    assert_eq!(holds(b"$JS.ACK.S.c.1.2.3"), branch(10, 3));
    assert_eq!(holds(b"$JS.ACK.T.c.1.2.3"), branch(10, 3));
    let mut cache = RouteCache::default();
    for (subject, want) in [
        (&b"$JS.ACK.S.1"[..], 2),
        (b"$JS.ACK.S.2.3", 2),
        (b"$JS.API.x", 1),
        (b"$JS.ACK.S..3", 0),
        (b"$JS.ACK.S.", 0),
        (b"$JS.ACK.S.9", 2),
        (b"$JS.ACK.S", 1),
    ] {
        assert_eq!(
            cache.get(&router, subject).plain.len(),
            want,
            "{}",
            subject.escape_ascii()
        );
    }
}

#[test]
fn empty_tokens_go_nowhere() {
    let router = Router::new();
    router.insert(b"a.*", None, 1, 1);
    router.insert(b">", None, 2, 2);
    let mut cache = RouteCache::default();
    assert_eq!(cache.get(&router, b"a.b").plain.len(), 2);
    for subject in ["a.", ".a", "a..b", ".", ""] {
        assert!(
            cache.get(&router, subject.as_bytes()).is_empty(),
            "{subject}"
        );
        assert!(!router.has_interest(subject.as_bytes()), "{subject}");
    }
    assert_eq!(cache.get(&router, b"a.c").plain.len(), 2);
    assert_eq!(cache.get(&router, b"b").plain.len(), 1);
}

/// The longest filter that fits a control line, on a thread as small as the server's.
#[test]
fn the_deepest_filter_fits_the_stack() {
    let worker = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(|| {
            let router = Router::new();
            let filter = vec!["*"; 2048].join(".");
            let subject = vec!["a"; 2048].join(".");
            router.insert(filter.as_bytes(), None, 1, 1);
            assert!(router.has_interest(subject.as_bytes()));
            assert_eq!(router.lookup(subject.as_bytes()).routes.plain.len(), 1);
            assert!(router.remove(filter.as_bytes(), None, 1));
            router.insert(filter.as_bytes(), None, 1, 1);
        });
    worker.unwrap().join().unwrap();
}

/// What a thread has subscribed to it finds, and what it has left it does not, however others change the tree.
#[test]
fn no_cache_is_ever_stale() {
    let router = std::sync::Arc::new(Router::new());
    let workers: Vec<_> = (0..4_u64)
        .map(|worker| {
            let router = std::sync::Arc::clone(&router);
            std::thread::spawn(move || {
                let mut cache = RouteCache::default();
                for round in 0..2000_u64 {
                    let id = worker << 32 | round;
                    let filter: &[u8] = if round % 3 == 0 { b"s.*" } else { b"s.x" };
                    router.insert(filter, None, id, id);
                    assert!(cache.get(&router, b"s.x").plain.contains(&id));
                    assert!(router.remove(filter, None, id));
                    assert!(!cache.get(&router, b"s.x").plain.contains(&id));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(!router.has_interest(b"s.x"));
}
