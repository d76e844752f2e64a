//! Queries that are looked at: over what is stored up to now, over what comes, and of nothing that is left.

use std::time::Duration;

use millstream_cluster::{Command, FlowStart};
use millstream_streams::Command as StreamCommand;

use super::{Counting, World, counting, numbered, table};
use crate::flow::{Preview, PreviewSetup, Query, Shown};

fn setup(query: Counting, start: FlowStart, follow: bool) -> PreviewSetup {
    PreviewSetup {
        sources: query.sources.clone(),
        query: std::sync::Arc::new(query) as std::sync::Arc<dyn Query>,
        start,
        follow,
    }
}

/// The results of all that can be read now.
async fn looked(mut preview: Preview) -> (Preview, Vec<String>, u64) {
    let looking = move || {
        let (mut results, mut messages) = (Vec::new(), 0);
        loop {
            let turn = preview.turn().expect("it goes on");
            messages += turn.messages;
            let texts = turn.outputs.iter();
            results.extend(texts.map(|out| String::from_utf8_lossy(&out.payload).into_owned()));
            if turn.caught_up {
                return (preview, results, messages);
            }
        }
    };
    tokio::task::spawn_blocking(looking)
        .await
        .expect("no panic")
}

#[test]
fn history_ends_with_what_was_stored_and_what_comes_goes_on() {
    super::runtime().block_on(async {
        let (world, _storage) = World::for_queries().await;
        world.put("in.a", &numbered("x", 0..5)).await;
        let before = world.read("out").len();
        let past = setup(counting(), FlowStart::Beginning, false);
        let past = world.jetstream.preview(&past).expect("there");
        let late = setup(counting(), FlowStart::Sequence(4), false);
        let late = world.jetstream.preview(&late).expect("there");
        let live = setup(counting(), FlowStart::End, true);
        let live = world.jetstream.preview(&live).expect("there");
        assert_eq!(past.sources()[0].lag_messages, 5);
        world.put("in.a", &numbered("x", 5..7)).await;
        assert_eq!(past.sources()[0].lag_messages, 5);
        let (past, results, messages) = looked(past).await;
        assert_eq!(
            (results, messages),
            (["1", "2", "3", "4", "5"].map(str::to_owned).to_vec(), 5)
        );
        assert_eq!(past.sources()[0].lag_messages, 0);
        let (_, results, messages) = looked(late).await;
        assert_eq!((results.len(), messages), (2, 2));
        let (live, results, _) = looked(live).await;
        assert_eq!(results, ["1", "2"]);
        // It is woken by the next message.
        world.put("in.a", &numbered("x", 7..8)).await;
        live.wait(Duration::from_secs(600)).await;
        let (_, results, _) = looked(live).await;
        assert_eq!(results, ["3"]);
        // Nothing of it is stored.
        assert_eq!(world.read("out").len(), before);
        assert_eq!(world.node.catalog().positions.len(), 0);
    });
}

#[test]
fn what_is_left_out_is_shown_and_what_ends_it_is_told() {
    super::runtime().block_on(async {
        let (world, _storage) = World::for_queries().await;
        let inputs = ["x-0", "j-1", "w-2"].map(str::to_owned);
        world.put("in.a", &inputs).await;
        let mut query = counting();
        query.sources.push(table("more", true));
        let past = setup(query, FlowStart::Beginning, false);
        let mut preview = world.jetstream.preview(&past).expect("there");
        let looking = tokio::task::spawn_blocking(move || {
            let turn = preview.turn().expect("it goes on");
            let shown = turn.rejected.into_iter();
            let shown: Vec<Shown> = shown.map(|(origin, _)| preview.shown(origin)).collect();
            shown
        });
        let shown = looking.await.expect("no panic");
        let Shown::Message {
            station,
            sequence,
            message,
        } = &shown[0]
        else {
            panic!("{shown:?}");
        };
        let payload = message.as_ref().map(|message| message.payload.clone());
        assert_eq!((station.as_str(), *sequence), ("in", 2));
        assert_eq!(payload.as_deref(), Some(&b"j-1"[..]));
        assert!(
            matches!(&shown[1], Shown::Row(row) if row == "row w-2"),
            "{shown:?}"
        );

        world.put("in.a", &["f-3".to_owned()]).await;
        let bad = setup(counting(), FlowStart::Sequence(4), true);
        let mut bad = world.jetstream.preview(&bad).expect("there");
        let ended = tokio::task::spawn_blocking(move || bad.turn().err());
        assert_eq!(ended.await.expect("no panic").as_deref(), Some("too much"));
        let live = setup(counting(), FlowStart::End, true);
        let mut preview = world.jetstream.preview(&live).expect("there");
        let cell = world.node.stream("in").expect("there");
        let command = Command::Stream(StreamCommand::DeleteStream { id: cell.id });
        world.jetstream.propose(&command).await.expect("deleted");
        let ended = tokio::task::spawn_blocking(move || preview.turn().err());
        let ended = ended.await.expect("no panic").expect("it ends");
        assert!(ended.contains("no stream `in`"), "{ended}");
        assert!(world.jetstream.preview(&live).is_err());
    });
}
