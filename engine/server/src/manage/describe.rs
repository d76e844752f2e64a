//! `get`, `describe` and `status`: what is declared, and how it is doing.

use millstream_admin::Failure;
use millstream_cluster::{Catalog, Kind, StationEntry};
use millstream_connector_api::{Kind as Direction, redact};
use millstream_jetstream::{Pressure, shown_streams};
use millstream_pipeline::StageSnapshot;
use millstream_schema_registry::Version;
use millstream_types::Timestamp;
use serde_json::{Value, json};

use super::{Manager, direction, not_found, streams};
use crate::compile::sql_form;

impl Manager {
    pub(super) fn list(&self, kind: Kind) -> Result<Value, Failure> {
        let catalog = self.node.catalog().clone();
        let items: Vec<Value> = match kind {
            Kind::Schema => catalog
                .schemas
                .list()
                .iter()
                .map(|subject| json!(subject))
                .collect(),
            Kind::Function => catalog
                .functions
                .values()
                .map(|entry| {
                    let mut line = json!({ "name": entry.spec.name, "version": entry.version, "bytes": entry.size,
                        "digest": entry.digest, "updated": Timestamp(entry.updated).to_rfc3339() });
                    if let Some(form) = sql_form(&entry.spec) {
                        line["sql"] = form.into();
                    }
                    line
                })
                .collect(),
            Kind::Station => catalog
                .stations
                .keys()
                .map(|name| self.station_line(&catalog, name))
                .collect(),
            Kind::Flow => catalog
                .flows
                .values()
                .map(|entry| self.flow_line(entry))
                .collect(),
            Kind::Source | Kind::Sink => {
                let names = super::apply::names(&catalog, kind);
                names
                    .iter()
                    .map(|name| self.connector_line(&catalog, kind, name))
                    .collect()
            }
        };
        Ok(json!({ "items": items }))
    }

    fn station_line(&self, catalog: &Catalog, name: &str) -> Value {
        let count = |stream: &str| {
            self.node.stream(stream).map(|cell| {
                let state = cell.lock().state();
                (state.messages, state.bytes, state.last_seq)
            })
        };
        let (messages, bytes, last_seq) = count(name).unwrap_or_default();
        let (letters, ..) = count(&streams::letters_name(name)).unwrap_or_default();
        let entry = catalog.stations.get(name);
        json!({
            "name": name,
            "messages": messages,
            "bytes": bytes,
            "last_seq": last_seq,
            "dead_letters": letters,
            "schema": entry.and_then(|entry| entry.spec.schema.as_ref()).map(|schema| schema.subject.clone()),
            "stages": entry.map_or(0, |entry| entry.spec.stages.len()),
            "subjects": entry.map(|entry| entry.spec.subjects.join(" ")),
            "version": entry.map(|entry| entry.version),
        })
    }

    fn connector_line(&self, catalog: &Catalog, kind: Kind, name: &str) -> Value {
        let status = self.connector_status(kind, name);
        let connector = match kind {
            Kind::Source => catalog
                .sources
                .get(name)
                .map(|entry| entry.spec.connector.clone()),
            _ => catalog
                .sinks
                .get(name)
                .map(|entry| entry.spec.connector.clone()),
        };
        let field = |field: &str| status.get(field).cloned().unwrap_or(Value::Null);
        json!({ "name": name, "connector": connector, "state": field("state"), "records": field("records"),
            "errors": field("errors"), "last_error": field("last_error"), "address": field("address") })
    }

    fn connector_status(&self, kind: Kind, name: &str) -> Value {
        let status = self
            .connectors
            .as_ref()
            .and_then(|connectors| connectors.status(direction(kind), name));
        status.map_or(Value::Null, |status| json!(status))
    }

    /// A connector's configuration without its secrets.
    fn redacted(
        &self,
        direction: Direction,
        connector: &str,
        config: &millstream_spec::ConnectorConfig,
    ) -> Value {
        let found = self
            .connectors
            .as_ref()
            .and_then(|own| own.catalog().find(direction, connector));
        match found {
            Some(connector) => json!(redact(&connector.all_options(), config)),
            // Not known here: nothing of it can be shown safely.
            None => json!(config.keys().collect::<Vec<_>>()),
        }
    }

    pub(super) fn describe(&self, kind: Kind, name: &str) -> Result<Value, Failure> {
        let catalog = self.node.catalog().clone();
        let known = super::apply::names(&catalog, kind);
        let missing = || {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            not_found(kind, name, &known)
        };
        match kind {
            Kind::Schema => {
                let versions = catalog.schemas.versions(name).map_err(|_| missing())?;
                let latest = catalog
                    .schemas
                    .get(name, Version::Latest)
                    .map_err(|_| missing())?;
                Ok(
                    json!({ "name": name, "format": latest.format, "compatibility": latest.compatibility,
                    "latest": latest.version,
                    "versions": versions.iter().map(|view| json!({ "version": view.version, "id": view.id })).collect::<Vec<_>>(),
                    "used_by": catalog.users_of(kind, name),
                    "schema": serde_json::from_str::<Value>(latest.text).unwrap_or_else(|_| json!(latest.text)) }),
                )
            }
            Kind::Function => {
                let entry = catalog.functions.get(name).ok_or_else(missing)?;
                Ok(self.describe_function(entry))
            }
            Kind::Station => {
                let entry = catalog.stations.get(name).ok_or_else(missing)?;
                Ok(self.describe_station(&catalog, entry))
            }
            Kind::Flow => {
                let entry = catalog.flows.get(name).ok_or_else(missing)?;
                Ok(self.describe_flow(entry))
            }
            Kind::Source => {
                let entry = catalog.sources.get(name).ok_or_else(missing)?;
                let config =
                    self.redacted(Direction::Source, &entry.spec.connector, &entry.spec.config);
                let position = catalog
                    .positions
                    .get(name)
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                Ok(
                    json!({ "name": name, "connector": entry.spec.connector, "version": entry.version,
                    "config": config, "position": position, "status": self.connector_status(kind, name) }),
                )
            }
            Kind::Sink => {
                let entry = catalog.sinks.get(name).ok_or_else(missing)?;
                let config =
                    self.redacted(Direction::Sink, &entry.spec.connector, &entry.spec.config);
                Ok(
                    json!({ "name": name, "connector": entry.spec.connector, "station": entry.spec.station,
                    "version": entry.version, "config": config, "status": self.connector_status(kind, name) }),
                )
            }
        }
    }

    fn describe_station(&self, catalog: &Catalog, entry: &StationEntry) -> Value {
        let name = entry.spec.name.as_str();
        let cell = self.node.stream(name);
        let state = cell.as_ref().map(|cell| json!(cell.lock().state()));
        let consumers: Vec<Value> = cell
            .iter()
            .flat_map(|cell| {
                let names: Vec<String> = cell.lock().consumers.keys().cloned().collect();
                names
                    .into_iter()
                    .filter_map(|consumer| {
                        Some(json!(
                            cell.lock().consumer_info(&consumer, Timestamp::now())?
                        ))
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        let plan = self
            .jetstream
            .as_ref()
            .and_then(|jetstream| jetstream.plan(name));
        let stages = plan.map(|plan| json!(plan.snapshot()));
        json!({ "name": name, "version": entry.version,
                    "created": Timestamp(entry.created).to_rfc3339(), "updated": Timestamp(entry.updated).to_rfc3339(),
                    "spec": entry.spec, "state": state, "stages": stages, "consumers": consumers,
                    "dead_letters": self.station_line(catalog, name)["dead_letters"],
                    "used_by": catalog.users_of(Kind::Station, name) })
    }

    /// Stations before which messages wait, with the stage that they wait for.
    fn held_back(&self, catalog: &Catalog) -> Vec<Value> {
        let Some(jetstream) = &self.jetstream else {
            return Vec::new();
        };
        let each = catalog.stations.keys().filter_map(|station| {
            let pressure = jetstream.pressure(station)?;
            if pressure == Pressure::default() {
                return None;
            }
            let stages = jetstream.plan(station)?.snapshot();
            #[expect(clippy::cast_precision_loss, reason = "a mean needs no more")]
            let micros = |stage: &StageSnapshot| {
                stage.busy.as_secs_f64() * 1e6 / stage.records_in.max(1) as f64
            };
            let slowest = stages
                .iter()
                .max_by(|one, other| micros(one).total_cmp(&micros(other)))?;
            Some(json!({ "station": station, "waiting": pressure.waiting, "retrying": pressure.retrying,
                "slowest_stage": slowest.label, "micros_per_message": micros(slowest) }))
        });
        each.collect()
    }

    pub(super) fn status(&self) -> Value {
        let stats = self.broker.stats();
        let log = self.group.status();
        let catalog = self.node.catalog().clone();
        let streams = self.node.streams();
        let (mut messages, mut bytes, mut consumers) = (0, 0, 0);
        for cell in &streams {
            let stream = cell.lock();
            let state = stream.state();
            messages += state.messages;
            bytes += state.bytes;
            consumers += stream.consumers.len();
        }
        json!({
            "server": self.broker.options().server_name,
            "version": env!("CARGO_PKG_VERSION"),
            "nats_version": self.broker.options().version,
            "nats": format!("nats://{}", self.broker.local_addr()),
            "uptime": millstream_types::format_duration(std::time::Duration::from_secs(
                Timestamp::now().since(self.started).as_secs())),
            "connections": stats.connections,
            "subscriptions": stats.subscriptions,
            "in_msgs": stats.in_msgs,
            "out_msgs": stats.out_msgs,
            "slow_consumers": stats.slow_consumers,
            "streams": shown_streams(&self.node).len(),
            "consumers": consumers,
            "messages": messages,
            "bytes": bytes,
            "held_back": self.held_back(&catalog),
            "stations": catalog.stations.len(),
            "flows": catalog.flows.len(),
            "schemas": catalog.schemas.list().len(),
            "functions": catalog.functions.len(),
            "sources": catalog.sources.len(),
            "sinks": catalog.sinks.len(),
            "log": {
                "healthy": log.journal.failed.is_none(),
                "full": log.journal.full,
                "error": log.journal.failed,
                "disk_bytes": log.disk_bytes,
                "files": log.files,
                "last_index": log.journal.last_index,
                "syncs": log.journal.syncs,
            },
        })
    }
}
