//! Damage in the log becomes an advisory, so that whoever watches over the server hears of it without reading its log.

use millstream_broker::Broker;
use millstream_cluster::Node;
use millstream_consensus::Group;
use millstream_journal::Damage;
use millstream_types::Timestamp;
use tokio::sync::mpsc;

const SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.MILLSTREAM.JOURNAL_DAMAGED";

/// Publishes what is damaged: what is known already, and what is found from now on.
pub(crate) fn advise(group: &Group<Node>, node: &std::sync::Arc<Node>, broker: &Broker) {
    // Whoever finds damage must not wait.
    let (tell, mut told) = mpsc::unbounded_channel::<Damage>();
    group.on_damage(std::sync::Arc::new(move |damage| {
        // The other end goes with the server.
        let _gone = tell.send(damage.clone());
    }));
    let node = std::sync::Arc::downgrade(node);
    let mut publisher = broker.publisher();
    tokio::spawn(async move {
        while let Some(damage) = told.recv().await {
            let Some(node) = node.upgrade() else { return };
            let advisory = advisory(&damage, &node);
            publisher.send(SUBJECT, None, &[], advisory.to_string().as_bytes());
            publisher.flush();
        }
    });
}

fn advisory(damage: &Damage, node: &Node) -> serde_json::Value {
    let stream = damage.told.and_then(|told| {
        let streams = node.streams();
        let found = streams.iter().find(|cell| cell.id == told.stream);
        found.map(|cell| cell.name.clone())
    });
    serde_json::json!({
        "type": "io.millstream.advisory.v1.journal_damaged",
        "id": format!("{}-{}", damage.name, damage.offset),
        "timestamp": Timestamp::now().to_rfc3339(),
        "file": damage.name,
        "offset": damage.offset,
        "kind": damage.kind.name(),
        "index": damage.index,
        "frames": damage.frames,
        "stream": stream,
        "messages": damage.told.map(|told| told.count),
        "description": damage.to_string(),
    })
}
