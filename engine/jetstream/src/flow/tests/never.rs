//! What cannot be stored, or must not be read: the flow waits, or goes on without it, and says so.

use super::*;

#[test]
fn a_batch_that_cannot_be_stored_changes_no_state() {
    runtime().block_on(async {
        let world = World::new().await;
        let stage = Arc::new(Obedient::default());
        let mut setup = world.setup(Order::Station, 1, &stage);
        setup.effects = Some(Arc::clone(&stage) as Arc<dyn FlowEffects>);
        let mut small = config("small", "small.>");
        (small.discard, small.max_msgs) = (millstream_streams::DiscardPolicy::New, 3);
        small.max_msg_size = 60;
        world.stream(9, small).await;
        setup.to = Some("small".to_owned());
        setup.subject = Some(SubjectTemplate::parse("small.$1", "in.*").expect("right"));
        let large = format!("k-{}", "x".repeat(100));
        let inputs: Vec<(u8, String)> = ["k-1", "k-2", large.as_str(), "k-3", "k-4", "k-5"]
            .map(|payload| (0, payload.to_owned()))
            .to_vec();
        world.publish(&inputs).await;
        let flow = world.jetstream.flow(setup);
        while flow.status().state != FlowState::Blocked {
            tokio::task::yield_now().await;
        }
        assert_eq!(payloads(&world.read("small")), ["k-1", "k-2", "k-3"]);
        assert_eq!(payloads(&world.read("in-dead-letters")), [large.as_str()]);
        // The one that no stream takes was never shown to the stage for good.
        assert_eq!(payloads(&world.read("state")), ["k-1", "k-2", "k-3"]);
        let purge = millstream_streams::Purge {
            stream: 9,
            time: Timestamp(2),
            ..Default::default()
        };
        let purge = Command::Stream(StreamCommand::Purge(purge));
        world.jetstream.propose(&purge).await.expect("purged");
        world.caught_up(&flow).await;
        assert_eq!(payloads(&world.read("small")), ["k-4", "k-5"]);
        let state = world.read("state");
        assert_eq!(payloads(&state), ["k-1", "k-2", "k-3", "k-4", "k-5"]);
        let all: BTreeMap<&str, usize> = payloads(&state).into_iter().map(|one| (one, 1)).collect();
        assert_eq!(all.len(), state.len());
        world.end(flow).await;
    });
}

#[test]
fn what_goes_to_a_stream_in_memory_becomes_a_letter() {
    runtime().block_on(async {
        let world = World::new().await;
        let stage = Arc::new(Obedient::default());
        let mut setup = world.setup(Order::Station, 1, &stage);
        let mut memory = config("memory", "memory.>");
        memory.storage = millstream_streams::StorageType::Memory;
        world.stream(9, memory).await;
        setup.to = Some("memory".to_owned());
        setup.subject = Some(SubjectTemplate::parse("memory.$1", "in.*").expect("right"));
        world
            .publish(&[(0, "k-1".to_owned()), (0, "d-2".to_owned())])
            .await;
        let flow = world.jetstream.flow(setup.clone());
        world.caught_up(&flow).await;
        assert!(world.read("memory").is_empty());
        let letters = world.jetstream.reader().range("in-dead-letters", 1, 9);
        let letters = letters.expect("readable");
        assert_eq!(letters.len(), 1);
        let letter = millstream_pipeline::DeadLetter::read(&letters[0].message());
        let letter = letter.expect("a letter");
        assert_eq!(letter.code, "memory_stream");
        assert!(letter.reason.contains("storage: file"), "{}", letter.reason);
        let again = flow.resend(1, Some(1), letter.original()).await;
        assert!(
            matches!(again, super::super::Resent::Rejected(..)),
            "{again:?}"
        );
        // Nor is it read.
        setup.from = "memory".to_owned();
        flow.change(setup);
        while flow.status().state != FlowState::Blocked {
            tokio::task::yield_now().await;
        }
        let reason = flow.status().reason.unwrap_or_default();
        assert!(reason.contains("in memory"), "{reason}");
        world.end(flow).await;
    });
}

#[test]
fn a_range_ends_with_its_stream() {
    runtime().block_on(async {
        let world = World::new().await;
        let stage = Arc::new(Obedient::default());
        let mut setup = world.setup(Order::Station, 1, &stage);
        setup.until = Some(2);
        let inputs = ["k-1", "k-2", "k-3"].map(|payload| (0, payload.to_owned()));
        world.publish(&inputs).await;
        let flow = world.jetstream.flow(setup.clone());
        let done = async |flow: &Flow| {
            while flow.status().state != FlowState::Done {
                tokio::task::yield_now().await;
            }
        };
        done(&flow).await;
        flow.stop().await;
        assert_eq!(payloads(&world.read("out")), ["k-1", "k-2"]);
        let delete = Command::Stream(StreamCommand::DeleteStream { id: 1 });
        world.jetstream.propose(&delete).await.expect("deleted");
        world.stream(7, config("in", "in.>")).await;
        world.publish(&inputs).await;
        let flow = world.jetstream.flow(setup);
        done(&flow).await;
        assert_eq!(payloads(&world.read("out")), ["k-1", "k-2"]);
        assert_eq!(flow.status().totals.inputs, 2);
        world.end(flow).await;
    });
}

#[test]
fn a_letter_that_is_never_stored_holds_nobody_up() {
    runtime().block_on(async {
        let world = World::new().await;
        let stage = Arc::new(Obedient::default());
        let setup = world.setup(Order::Station, 1, &stage);
        let mut letters = config("in-dead-letters", "$MS.DEAD.in.>");
        letters.max_msg_size = 600;
        let update = Command::Stream(StreamCommand::UpdateStream {
            id: 2,
            time: Timestamp(2),
            config: Box::new(letters),
        });
        world.jetstream.propose(&update).await.expect("updated");
        let large = format!("j-{}", "x".repeat(700));
        let inputs = ["k-1", "j-2", large.as_str(), "k-4", large.as_str(), "j-6"];
        world
            .publish(&inputs.map(|payload| (0, payload.to_owned())))
            .await;
        let flow = world.jetstream.flow(setup);
        world.caught_up(&flow).await;
        assert_eq!(payloads(&world.read("out")), ["k-1", "k-4"]);
        assert_eq!(payloads(&world.read("in-dead-letters")), ["j-2", "j-6"]);
        let status = flow.status();
        let totals = status.totals;
        assert_eq!((totals.inputs, totals.rejected, totals.lost), (4, 2, 2));
        let told = status.last_error.unwrap_or_default();
        assert!(told.contains("message 5 of stream `in`"), "{told}");
        assert_eq!(status.errors, 2);
        world.end(flow).await;
    });
}

#[test]
fn a_position_that_cannot_be_read_is_not_taken_for_none() {
    runtime().block_on(async {
        let world = World::new().await;
        let stage = Arc::new(Obedient::default());
        let setup = world.setup(Order::Station, 1, &stage);
        let wrong = Command::Position {
            source: setup.key.clone(),
            value: Bytes::from(format!("{}\n{{\"layout\":2}}", setup.run)),
        };
        world.jetstream.propose(&wrong).await.expect("stored");
        world.publish(&[(0, "k-1".to_owned())]).await;
        let flow = world.jetstream.flow(setup);
        flow.ready().await;
        while flow.status().state != FlowState::Failed {
            tokio::task::yield_now().await;
        }
        let reason = flow.status().reason.unwrap_or_default();
        assert!(reason.contains("flow restart f"), "{reason}");
        assert!(world.read("out").is_empty());
        // A restart forgets it.
        let changes = vec![CatalogChange::RestartFlow {
            name: "f".to_owned(),
            start: FlowStart::Beginning,
        }];
        let restart = Command::Catalog(CatalogCommand { time: 2, changes });
        world.jetstream.propose(&restart).await.expect("applied");
        flow.change(world.setup(Order::Station, 1, &stage));
        world.caught_up(&flow).await;
        assert_eq!(payloads(&world.read("out")), ["k-1"]);
        world.end(flow).await;
    });
}
