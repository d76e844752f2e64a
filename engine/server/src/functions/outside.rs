//! What a running function reaches: log lines, stations, buckets, other hosts, and in a flow its own state.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use millstream_cluster::Node;
use millstream_connector_http::{FetchRequest, Fetcher};
use millstream_function_api::{Entry, LogLevel, Outside, StateWrite, WebRequest, WebResponse};
use millstream_jetstream::{JetStream, StoredRecord};
use millstream_types::HeaderBlock;
use tokio::runtime::Handle;

use super::logs::{Line, Logs};
use super::state::{State, bucket_stream};

/// What all functions of a server share.
pub(crate) struct World {
    node: Arc<Node>,
    /// Set when the server has one; until then nothing can be read.
    jetstream: OnceLock<JetStream>,
    fetcher: Fetcher,
    runtime: Handle,
    logs: Logs,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(node: Arc<Node>, fetcher: Fetcher, runtime: Handle) -> Self {
        Self {
            node,
            jetstream: OnceLock::new(),
            fetcher,
            logs: Logs::new(&runtime),
            runtime,
        }
    }

    /// From now on functions can read, and their lines are stored.
    pub(crate) fn open(&self, jetstream: &JetStream) {
        // A second call would mean two servers on one world; the first one stays.
        let _already = self.jetstream.set(jetstream.clone());
        self.logs.open(jetstream.clone(), Arc::clone(&self.node));
    }

    fn newest(&self, stream: &str, subject: &str) -> Result<Option<StoredRecord>, String> {
        let jetstream = self.jetstream.get().ok_or("the server is starting")?;
        let found = jetstream.reader().last(stream, subject.as_bytes());
        found.map_err(|error| error.to_string())
    }

    /// The value of a key of a bucket; a marker that it was deleted is none.
    pub(crate) fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, String> {
        let stream = bucket_stream(bucket);
        let found = self.newest(&stream, &format!("$KV.{bucket}.{key}"))?;
        let Some(record) = found else {
            if self.node.stream(&stream).is_none() {
                return Err(format!("there is no bucket `{bucket}`"));
            }
            return Ok(None);
        };
        let view = record.view();
        let headers = HeaderBlock::new(view.headers);
        let gone =
            headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some();
        Ok((!gone).then(|| record.payload()))
    }
}

/// One version of a function where it runs.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) world: Arc<World>,
    pub(crate) function: String,
    pub(crate) version: u64,
    /// Its own bucket, in a flow.
    pub(crate) state: Option<Arc<State>>,
    /// It only looks on: it asks other hosts for nothing but what changes nothing.
    pub(crate) spectator: bool,
}

impl Outside for Reach {
    fn log(&self, level: LogLevel, text: &str) {
        self.world.logs.push(Line {
            function: self.function.clone(),
            version: self.version,
            level,
            text: text.to_owned(),
        });
    }

    fn state(&self, key: &str) -> Result<Option<Bytes>, String> {
        let state = self
            .state
            .as_ref()
            .ok_or("only a flow's function has a bucket")?;
        match state.written(key) {
            Some(value) => Ok(value),
            None => self.world.value(state.bucket(), key),
        }
    }

    fn write_state(&self, writes: Vec<StateWrite>) {
        if let Some(state) = &self.state {
            state.write(writes);
        }
    }

    fn last(&self, station: &str, subject: &str) -> Result<Option<Entry>, String> {
        if self.world.node.stream(station).is_none() {
            return Err(format!("there is no station `{station}`"));
        }
        let found = self.world.newest(station, subject)?;
        Ok(found.map(|record| entry(&record)))
    }

    fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, String> {
        self.world.value(bucket, key)
    }

    fn fetch(&self, request: WebRequest, within: Duration) -> Result<WebResponse, String> {
        if self.spectator && !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Err("a dry run asks other hosts by GET and HEAD only".to_owned());
        }
        let request = FetchRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
        };
        let answer = self.world.fetcher.fetch(request, within);
        let answer = self.world.runtime.block_on(answer)?;
        Ok(WebResponse {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        })
    }
}

fn entry(record: &StoredRecord) -> Entry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = HeaderBlock::new(record.view().headers);
    Entry {
        sequence: record.seq,
        timestamp: record.time,
        headers: headers
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        payload: record.payload(),
    }
}
