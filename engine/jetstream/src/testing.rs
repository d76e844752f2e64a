//! What tests of this room share.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use millstream_broker::Broker;
use millstream_cluster::Node;
use millstream_consensus::Group;
use millstream_pipeline::{Migrations, Plan, Schemas, VersionSchema};

use crate::plans::PlanSource;
use crate::{JetStream, Options};

/// A service over a log: its node and its log with it.
pub(crate) async fn start(
    options: millstream_consensus::Options,
) -> (JetStream, Arc<Node>, Group<Node>) {
    let node = Arc::new(Node::default());
    let own = Arc::clone(&node);
    let group = tokio::task::spawn_blocking(move || Group::open(options, own));
    let group = group.await.expect("no panic").expect("opened");
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let broker = Broker::bind(millstream_broker::Options::new(listen)).await;
    let jetstream = JetStream::start(Options {
        broker: broker.expect("bound"),
        group: group.clone(),
        node: Arc::clone(&node),
        plans: Arc::new(Nothing),
        schemas: Arc::new(Nothing),
        max_storage: 0,
        max_memory: 0,
    });
    (jetstream.expect("started"), node, group)
}

/// No station has stages, and there are no schemas.
#[derive(Debug)]
pub(crate) struct Nothing;

impl PlanSource for Nothing {
    fn compile(&self, _: &Node, _: &str) -> Result<Option<Arc<Plan>>, String> {
        Ok(None)
    }
}

impl Schemas for Nothing {
    fn version(&self, _: &str, _: Option<u32>) -> Result<Arc<VersionSchema>, String> {
        Err("none".to_owned())
    }

    fn by_id(&self, _: u32, _: &str, _: u32) -> Result<Arc<VersionSchema>, String> {
        Err("none".to_owned())
    }

    fn migrations(&self, _: &str) -> Result<Arc<Migrations>, String> {
        Err("none".to_owned())
    }
}
