//! A whole server: what is started, in which order, and how it stops.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use millstream_access::{Authenticator, User};
use millstream_admin::{Admin, Management};
use millstream_broker::{Attachment, Broker};
use millstream_cluster::Node;
use millstream_config::{Authorization, Config, Secret};
use millstream_connector_http::Fetcher;
use millstream_consensus::Group;
use millstream_jetstream::JetStream;
use millstream_journal::{Cipher, DiskStorage, Keys, MemoryStorage, Storage};
use millstream_pipeline::{FunctionMetrics, PipelineMetrics};
use tracing::info;

use crate::blobs::Blobs;
use crate::compile::Compiler;
use crate::connectors::Connectors;
use crate::flows::Flows;
use crate::functions::{Functions, World};
use crate::manage::{Manager, NatsDoor};
use crate::metrics::Metrics;
use crate::shelf::Shelf;

/// The nats-server version whose behaviour clients may expect.
pub(crate) const NATS_VERSION: &str = "2.14.3";

/// A running server.
#[derive(Debug)]
pub(crate) struct Running {
    broker: Broker,
    group: Group<Node>,
    node: Arc<Node>,
    jetstream: Option<JetStream>,
    connectors: Option<Arc<Connectors>>,
    flows: Option<Arc<Flows>>,
    manager: Arc<Manager>,
    admin: Option<Admin>,
    schema_registry: Option<Admin>,
    #[cfg(feature = "sql")]
    postgres: Option<millstream_postgres::Postgres>,
    nats_door: Option<Attachment>,
    /// The store of a server without JetStream lives here and goes with it.
    _scratch: Option<tempfile::TempDir>,
}

/// How long nothing is published before dead space is looked for.
const LOOK_AFTER: Duration = Duration::from_secs(10);

fn node(config: &Config) -> Node {
    match config.millstream.index_cache {
        Some(bytes) => Node::with_index_cache(usize::try_from(bytes).unwrap_or(usize::MAX)),
        None => Node::default(),
    }
}

impl Running {
    /// Starts everything. What fails is said with what to do, and nothing is left running.
    pub(crate) async fn start(config: &Config) -> anyhow::Result<Self> {
        let (storage, store, scratch) = open_store(config)?;
        let node = Arc::new(node(config));
        let group = open_group(config, storage, Arc::clone(&node)).await?;
        let broker = Broker::bind(broker_options(config).await?).await?;
        let pipelines = PipelineMetrics::default();
        let blobs = Blobs::open(&store)?;
        let allow = config.millstream.allow_private_addresses;
        let functions = Arc::new(functions(&node, &blobs, allow)?);
        let shelf = Arc::new(Shelf::new(Arc::clone(&node), Arc::clone(&functions)));
        let compiler = Arc::new(Compiler::new(
            Arc::clone(&functions),
            Arc::clone(&shelf),
            pipelines.clone(),
            Arc::clone(&node),
            store.clone(),
        ));
        let streams = match &config.jetstream {
            Some(_) => {
                let log = (broker.clone(), group.clone(), Arc::clone(&node));
                Some(streams(config, log, &shelf, &compiler, &functions).await?)
            }
            None => None,
        };
        let (jetstream, connectors, flows) = streams
            .map_or((None, None, None), |(jetstream, connectors, flows)| {
                (Some(jetstream), Some(connectors), Some(flows))
            });
        let manager = Arc::new_cyclic(|me| Manager {
            me: me.clone(),
            broker: broker.clone(),
            group: group.clone(),
            node: Arc::clone(&node),
            jetstream: jetstream.clone(),
            connectors: connectors.clone(),
            flows: flows.clone(),
            compiler,
            schemas: Arc::default(),
            blobs,
            metrics: Metrics::new(&pipelines, functions.metrics()),
            store,
            started: millstream_types::Timestamp::now(),
            apply: tokio::sync::Mutex::new(()),
            queries: crate::manage::turns(),
            previews: crate::manage::turns(),
        });
        if let Some(stops) = functions.stops() {
            tokio::spawn(crate::manage::end_trials(stops, Arc::downgrade(&manager)));
        }
        let mut running = Self {
            broker,
            group,
            node,
            jetstream,
            connectors,
            flows,
            manager,
            admin: None,
            schema_registry: None,
            #[cfg(feature = "sql")]
            postgres: None,
            nats_door: None,
            _scratch: scratch,
        };
        running.open_doors(config).await?;
        crate::damage::advise(&running.group, &running.node, &running.broker);
        running.broker.open();
        info!(target: "nats", "Server is ready");
        Ok(running)
    }

    async fn open_doors(&mut self, config: &Config) -> anyhow::Result<()> {
        if let Some(http) = &config.http {
            let listen = resolve(&http.host, http.port).await?;
            let options = millstream_admin::Options {
                listen,
                auth: authenticator(config),
            };
            self.admin = Some(Admin::start(options, self.management()).await?);
        }
        if let Some(own) = &config.millstream.schema_registry {
            let options = millstream_admin::Options {
                listen: resolve(&own.host, own.port).await?,
                auth: authenticator(config),
            };
            let admin = Admin::start_registry(options, self.management()).await?;
            self.schema_registry = Some(admin);
        }
        if let Some(own) = &config.millstream.postgres {
            self.open_postgres(config, resolve(&own.host, own.port).await?)
                .await?;
        }
        let door = NatsDoor::start(Arc::clone(&self.manager));
        self.nats_door = Some(self.broker.attach("$MS.API.>", Arc::new(door))?);
        Ok(())
    }

    #[cfg(feature = "sql")]
    async fn open_postgres(&mut self, config: &Config, listen: SocketAddr) -> anyhow::Result<()> {
        let mut options = crate::manage::postgres(&self.manager, listen, authenticator(config));
        let files = config.millstream.postgres_tls.clone();
        options.tls = files.map(|files| millstream_postgres::Tls {
            cert_file: files.cert_file,
            key_file: files.key_file,
        });
        self.postgres = Some(millstream_postgres::Postgres::start(options).await?);
        Ok(())
    }

    #[cfg(not(feature = "sql"))]
    async fn open_postgres(&mut self, _: &Config, _: SocketAddr) -> anyhow::Result<()> {
        bail!(
            "`postgres` is configured and this build has no SQL; use one built with the feature `sql`"
        )
    }

    /// Where clients of PostgreSQL connect.
    pub(crate) fn postgres_address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "sql")]
        return self
            .postgres
            .as_ref()
            .map(millstream_postgres::Postgres::address);
        #[cfg(not(feature = "sql"))]
        None
    }

    /// Where NATS clients connect.
    pub(crate) fn nats_address(&self) -> SocketAddr {
        self.broker.local_addr()
    }

    /// Where monitoring and management are served.
    pub(crate) fn http_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Where the schema registry has a port of its own.
    pub(crate) fn schema_registry_address(&self) -> Option<SocketAddr> {
        self.schema_registry.as_ref().map(Admin::address)
    }

    /// The operations of the management API.
    pub(crate) fn management(&self) -> Arc<dyn Management> {
        Arc::clone(&self.manager) as Arc<dyn Management>
    }

    /// The JetStream service; a server with it off has none.
    pub(crate) fn jetstream(&self) -> Option<&JetStream> {
        self.jetstream.as_ref()
    }

    /// The replicated state.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The sources and sinks; a server without JetStream has none.
    pub(crate) fn connectors(&self) -> Option<&Arc<Connectors>> {
        self.connectors.as_ref()
    }

    /// Stops: first what brings messages in, then the doors, then the log with a last checkpoint.
    pub(crate) async fn stop(mut self) {
        info!(target: "nats", "Initiating Shutdown...");
        if let Some(connectors) = &self.connectors {
            connectors.stop_all().await;
        }
        if let Some(flows) = &self.flows {
            flows.stop_all().await;
        }
        for admin in [&self.admin, &self.schema_registry].into_iter().flatten() {
            admin.stop();
        }
        #[cfg(feature = "sql")]
        if let Some(postgres) = &self.postgres {
            postgres.stop();
        }
        self.nats_door = None;
        self.broker.shutdown().await;
        if let Some(jetstream) = &self.jetstream {
            jetstream.settle();
        }
        let group = self.group.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || group.shutdown()).await {
            tracing::error!(target: "nats", "log was not closed cleanly: {error}");
        }
        info!(target: "nats", "Server Exiting..");
    }
}

/// What an answer of another host may have for a function.
const MAX_ANSWER: usize = 1 << 20;

fn functions(node: &Arc<Node>, blobs: &Blobs, allow_private: bool) -> anyhow::Result<Functions> {
    let fetcher = Fetcher::new(allow_private, MAX_ANSWER).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Handle::current();
    let world = World::new(Arc::clone(node), fetcher, runtime);
    Functions::new(blobs.clone(), world, FunctionMetrics::default())
}

/// JetStream and what runs on it.
async fn streams(
    config: &Config,
    (broker, group, node): (Broker, Group<Node>, Arc<Node>),
    shelf: &Arc<Shelf>,
    compiler: &Arc<Compiler>,
    functions: &Functions,
) -> anyhow::Result<(JetStream, Arc<Connectors>, Arc<Flows>)> {
    let limits = config.jetstream.as_ref();
    let options = millstream_jetstream::Options {
        broker,
        group,
        node: Arc::clone(&node),
        plans: Arc::clone(compiler) as _,
        schemas: Arc::clone(shelf) as _,
        max_storage: limits.and_then(|limits| limits.max_file).unwrap_or(0),
        max_memory: limits.and_then(|limits| limits.max_memory).unwrap_or(0),
    };
    // Compiling recovered stations may take seconds; the runtime's workers go on serving meanwhile.
    let jetstream = tokio::task::spawn_blocking(move || JetStream::start(options)).await??;
    functions.open(&jetstream);
    let allow = config.millstream.allow_private_addresses;
    let (own, shelf) = (Arc::clone(&node), Arc::clone(shelf));
    let connectors = Connectors::new(jetstream.clone(), own, shelf, allow);
    connectors.sync().await;
    let flows = Flows::new(jetstream.clone(), node, Arc::clone(compiler));
    flows.sync().await;
    Ok((jetstream, connectors, flows))
}

type Store = (Arc<dyn Storage>, PathBuf, Option<tempfile::TempDir>);

/// The store folder; without JetStream nothing is stored, and the state lives in memory.
fn open_store(config: &Config) -> anyhow::Result<Store> {
    match &config.jetstream {
        Some(jetstream) => {
            let folder = jetstream.store_dir.clone();
            let storage = DiskStorage::open(&folder.join("journal"))?;
            Ok((Arc::new(storage), folder, None))
        }
        None => {
            let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
            let folder = scratch.path().to_owned();
            Ok((Arc::new(MemoryStorage::new()), folder, Some(scratch)))
        }
    }
}

async fn open_group(
    config: &Config,
    storage: Arc<dyn Storage>,
    node: Arc<Node>,
) -> anyhow::Result<Group<Node>> {
    let mut journal = millstream_journal::Options::default();
    if config.jetstream.is_none() {
        journal.file_size = 1 << 20;
    }
    if let Some(size) = config.millstream.journal_file_size {
        journal.file_size = size;
    }
    if let Some(cache) = config.millstream.journal_cache {
        journal.tail_cache_bytes = usize::try_from(cache).unwrap_or(usize::MAX);
    }
    journal.keys = keys(config);
    let options = millstream_consensus::Options {
        journal,
        storage,
        look_after: LOOK_AFTER,
    };
    let opened = tokio::task::spawn_blocking(move || Group::open(options, node)).await?;
    Ok(opened?)
}

/// What the store is encrypted with.
fn keys(config: &Config) -> Option<Keys> {
    let encryption = config.jetstream.as_ref()?.encryption.as_ref()?;
    let cipher = match encryption.cipher {
        millstream_config::Cipher::Aes => Cipher::Aes,
        millstream_config::Cipher::ChaCha => Cipher::ChaCha,
    };
    let key = encryption.key.as_ref().map(Secret::expose);
    let previous = encryption.previous.iter().map(Secret::expose);
    Some(Keys::new(cipher, key, previous))
}

async fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if host.is_empty() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    match found.ok().and_then(|mut addresses| addresses.next()) {
        Some(address) => Ok(address),
        None => bail!("host `{host}` has no address; give an IP address or a known name with `-a`"),
    }
}

/// Whom the configuration lets in, over NATS and HTTP alike.
fn authenticator(config: &Config) -> Authenticator {
    match &config.authorization {
        Authorization::None => Authenticator::none(),
        Authorization::Token(token) => Authenticator::token(token.expose()),
        Authorization::Users(users) => Authenticator::users(
            users
                .iter()
                .map(|user| User {
                    name: user.name.clone(),
                    password: user.password.expose().to_owned(),
                })
                .collect(),
        ),
    }
}

async fn broker_options(config: &Config) -> anyhow::Result<millstream_broker::Options> {
    let limits = &config.limits;
    let listen = resolve(&config.host, config.port).await?;
    Ok(millstream_broker::Options {
        server_name: config
            .server_name
            .clone()
            .unwrap_or_else(|| "millstream".to_owned()),
        version: NATS_VERSION.to_owned(),
        max_payload: limits.max_payload,
        max_control_line: limits.max_control_line,
        max_pending: limits.max_pending,
        max_connections: limits.max_connections,
        ping_interval: limits.ping_interval,
        ping_max: limits.ping_max,
        write_deadline: limits.write_deadline,
        auth_timeout: limits.auth_timeout,
        jetstream: config.jetstream.is_some(),
        trace: config.logging.trace,
        auth: authenticator(config),
        ..millstream_broker::Options::new(listen)
    })
}

/// What is written to the ports file.
pub(crate) fn ports(running: &Running) -> serde_json::Value {
    let mut ports = serde_json::Map::new();
    ports.insert(
        "nats".to_owned(),
        serde_json::json!([format!("nats://{}", running.nats_address())]),
    );
    if let Some(http) = running.http_address() {
        ports.insert(
            "monitoring".to_owned(),
            serde_json::json!([format!("http://{http}")]),
        );
    }
    if let Some(address) = running.schema_registry_address() {
        ports.insert(
            "schema_registry".to_owned(),
            serde_json::json!([format!("http://{address}")]),
        );
    }
    if let Some(address) = running.postgres_address() {
        ports.insert(
            "postgres".to_owned(),
            serde_json::json!([format!("postgres://{address}")]),
        );
    }
    ports.into()
}

/// Writes a small file whole: readers see it complete or not at all.
pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| {
            format!(
                "cannot write `{}`; check that its folder exists and may be written to",
                path.display()
            )
        })
}
