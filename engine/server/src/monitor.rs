//! nats-server's monitoring pages, with the fields clients and their tools read.

use millstream_admin::MonitorQuery;
use millstream_broker::ConnectionInfo;
use millstream_types::Timestamp;
use serde_json::{Map, Value, json};

use crate::manage::Manager;

/// Connections one page lists when no limit is given, as in nats-server.
const CONNZ_LIMIT: usize = 1024;

/// The page of this name, with its HTTP status.
pub(crate) fn page(manager: &Manager, name: &str, query: &MonitorQuery) -> Option<(u16, Value)> {
    match name {
        "varz" => Some((200, varz(manager))),
        "connz" => Some((200, connz(manager, query))),
        "jsz" => Some((200, jsz(manager, query))),
        "healthz" => Some(healthz(manager)),
        _ => None,
    }
}

fn now() -> String {
    Timestamp::now().to_rfc3339()
}

fn varz(manager: &Manager) -> Value {
    let options = manager.broker.options();
    let stats = manager.broker.stats();
    let address = manager.broker.local_addr();
    let uptime = Timestamp::now().since(manager.started);
    json!({
        "server_id": manager.broker.server_id(),
        "server_name": options.server_name,
        "version": options.version,
        "millstream_version": env!("CARGO_PKG_VERSION"),
        "proto": 1,
        "go": "rust",
        "host": address.ip().to_string(),
        "addr": address.ip().to_string(),
        "port": address.port(),
        "max_connections": options.max_connections,
        "max_payload": options.max_payload,
        "max_control_line": options.max_control_line,
        "max_pending": options.max_pending,
        "ping_interval": u64::try_from(options.ping_interval.as_nanos()).unwrap_or(u64::MAX),
        "ping_max": options.ping_max,
        "write_deadline": u64::try_from(options.write_deadline.as_nanos()).unwrap_or(u64::MAX),
        "auth_required": options.auth.required(),
        "auth_timeout": options.auth_timeout.as_secs_f64(),
        "start": manager.started.to_rfc3339(),
        "now": now(),
        "uptime": millstream_types::format_duration(std::time::Duration::from_secs(uptime.as_secs())),
        "mem": resident_bytes(),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "connections": stats.connections,
        "total_connections": stats.total_connections,
        "routes": 0,
        "remotes": 0,
        "leafnodes": 0,
        "in_msgs": stats.in_msgs,
        "out_msgs": stats.out_msgs,
        "in_bytes": stats.in_bytes,
        "out_bytes": stats.out_bytes,
        "slow_consumers": stats.slow_consumers,
        "subscriptions": stats.subscriptions,
        "jetstream": if manager.jetstream.is_some() { jetstream_config(manager) } else { json!({}) },
    })
}

/// Resident memory in bytes; 0 where /proc is not there.
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * PAGE
}

fn jetstream_config(manager: &Manager) -> Value {
    json!({
        "config": {
            "max_memory": 0,
            "max_storage": 0,
            "store_dir": manager.store.display().to_string(),
            "sync_always": true,
        },
        "stats": totals(manager),
    })
}

fn totals(manager: &Manager) -> Value {
    let (mut memory, mut storage) = (0, 0);
    for cell in manager.node.streams() {
        let stream = cell.lock();
        match stream.config.storage {
            millstream_streams::StorageType::Memory => memory += stream.bytes(),
            millstream_streams::StorageType::File => storage += stream.bytes(),
        }
    }
    json!({ "memory": memory, "storage": storage, "reserved_memory": 0, "reserved_storage": 0,
        "accounts": 1, "ha_assets": 0, "api": { "level": 2, "total": 0, "errors": 0 } })
}

fn connz(manager: &Manager, query: &MonitorQuery) -> Value {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let flag = |name: &str| {
        query
            .get(name)
            .is_some_and(|text| matches!(text.as_str(), "1" | "true"))
    };
    let (offset, limit) = (
        number("offset").unwrap_or(0),
        number("limit").unwrap_or(CONNZ_LIMIT),
    );
    let all = manager.broker.connections();
    let wanted = number("cid");
    let chosen: Vec<&ConnectionInfo> = all
        .iter()
        .filter(|conn| wanted.is_none_or(|cid| conn.cid == cid as u64))
        .collect();
    let total = chosen.len();
    let some: Vec<Value> = chosen
        .into_iter()
        .skip(offset)
        .take(limit)
        .map(|conn| connection(conn, flag("subs"), flag("auth")))
        .collect();
    json!({
        "server_id": manager.broker.server_id(),
        "now": now(),
        "num_connections": some.len(),
        "total": total,
        "offset": offset,
        "limit": limit,
        "connections": some,
    })
}

fn connection(conn: &ConnectionInfo, subscriptions: bool, auth: bool) -> Value {
    let age = |since: Timestamp| {
        let age = Timestamp::now().since(since).as_secs();
        millstream_types::format_duration(std::time::Duration::from_secs(age))
    };
    let mut value = Map::new();
    let mut put = |name: &str, item: Value| {
        value.insert(name.to_owned(), item);
    };
    put("cid", conn.cid.into());
    put("kind", "Client".into());
    put("type", "nats".into());
    put("ip", conn.peer.ip().to_string().into());
    put("port", conn.peer.port().into());
    put("start", conn.start.to_rfc3339().into());
    put("last_activity", conn.last_activity.to_rfc3339().into());
    put("rtt", format!("{:?}", conn.rtt).into());
    put("uptime", age(conn.start).into());
    put("idle", age(conn.last_activity).into());
    put("pending_bytes", conn.pending_bytes.into());
    put("in_msgs", conn.in_msgs.into());
    put("out_msgs", conn.out_msgs.into());
    put("in_bytes", conn.in_bytes.into());
    put("out_bytes", conn.out_bytes.into());
    put("subscriptions", conn.subscriptions.len().into());
    for (name, text) in [
        ("name", &conn.name),
        ("lang", &conn.lang),
        ("version", &conn.version),
    ] {
        if !text.is_empty() {
            put(name, text.clone().into());
        }
    }
    if auth && let Some(user) = &conn.user {
        put("authorized_user", user.clone().into());
    }
    if subscriptions {
        let list: Vec<&str> = conn
            .subscriptions
            .iter()
            .map(|own| own.subject.as_str())
            .collect();
        put("subscriptions_list", list.into());
    }
    value.into()
}

fn jsz(manager: &Manager, query: &MonitorQuery) -> Value {
    let flag = |name: &str| {
        query
            .get(name)
            .is_some_and(|text| matches!(text.as_str(), "1" | "true"))
    };
    let streams = manager.node.streams();
    let (mut messages, mut bytes, mut consumers) = (0, 0, 0);
    for cell in &streams {
        let stream = cell.lock();
        messages += stream.messages();
        bytes += stream.bytes();
        consumers += stream.consumers.len();
    }
    let mut value = json!({
        "server_id": manager.broker.server_id(),
        "now": now(),
        "config": jetstream_config(manager)["config"],
        "disabled": manager.jetstream.is_none(),
        "streams": streams.len(),
        "consumers": consumers,
        "messages": messages,
        "bytes": bytes,
    });
    if let (Some(value), Some(totals)) = (value.as_object_mut(), totals(manager).as_object()) {
        value.extend(totals.clone());
    }
    if flag("streams") || flag("consumers") || flag("accounts") {
        let detail: Vec<Value> = streams
            .iter()
            .map(|cell| {
                let mut stream = cell.lock();
                let mut one = json!({ "name": cell.name, "created": stream.created.to_rfc3339(), "state": stream.state() });
                if flag("config") {
                    one["config"] = json!(stream.config);
                }
                if flag("consumers") {
                    let names: Vec<String> = stream.consumers.keys().cloned().collect();
                    let infos: Vec<_> =
                        names.iter().filter_map(|name| stream.consumer_info(name, Timestamp::now())).collect();
                    one["consumer_detail"] = json!(infos);
                }
                one
            })
            .collect();
        value["account_details"] = json!([{ "name": "$G", "id": "$G", "stream_detail": detail }]);
    }
    value
}

fn healthz(manager: &Manager) -> (u16, Value) {
    match manager.group.status().journal.failed {
        None => (200, json!({ "status": "ok" })),
        Some(error) => (
            503,
            json!({ "status": "unavailable", "error": format!("the log has stopped: {error}") }),
        ),
    }
}
