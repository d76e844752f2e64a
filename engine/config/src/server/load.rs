//! From entries and flags to a [`Config`].

use std::path::PathBuf;
use std::time::Duration;

use crate::conf::{Data, Entry};
use crate::flags::Flags;
use crate::problem::ConfigError;

use super::keys::{CERTIFICATE, DOOR, JETSTREAM, Key, MILLSTREAM, POSTGRES, TOP};
use super::table::{Notes, Table};
use super::{
    Authorization, Certificate, Config, Flavor, Http, JetStream, Limits, Logging, Millstream, auth,
    encryption,
};

const CLIENT_PORT: u16 = 4222;
const HTTP_PORT: u16 = 8222;
/// Where clients of a schema registry look first.
const SCHEMA_REGISTRY_PORT: u16 = 8081;
/// Where clients of PostgreSQL look first.
const POSTGRES_PORT: u16 = 5432;
const LOOPBACK: &str = "127.0.0.1";
const ANY: &str = "0.0.0.0";
/// nats-server warns above this, as large messages make everyone behind them wait.
const LARGE_PAYLOAD: usize = 8 << 20;

pub(super) fn load(
    entries: &[Entry],
    flags: &Flags,
    flavor: Flavor,
) -> Result<Config, ConfigError> {
    let notes = Notes::default();
    let top = Table::new(entries, TOP, "", &notes);
    let (authorization, auth_timeout) = auth::load(&top, flags, &notes);
    let mut config = Config {
        host: String::new(),
        port: 0,
        server_name: server_name(&top, flags),
        http: None,
        jetstream: jetstream(&top, flags, flavor),
        authorization,
        limits: limits(&top, auth_timeout),
        logging: logging(&top, flags),
        pid_file: path(&top, "pid_file", flags.pid_file.as_ref()),
        ports_file_dir: path(&top, "ports_file_dir", flags.ports_file_dir.as_ref()),
        millstream: millstream(&top),
        file: flags.config.clone(),
        notes: Vec::new(),
    };
    clients(&top, flags, &mut config);
    config.http = http(&top, flags, flavor, &config.host);
    remarks(&top, &mut config);
    let mut problems = notes.into_inner();
    problems.sort_by_key(|problem| {
        let at = problem.at.as_ref();
        (
            at.is_none(),
            at.map(|at| (at.file.clone(), at.line, at.column)),
        )
    });
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { problems })
    }
}

/// nats-server's port numbers: -1 is any free one, 0 is the default.
fn port(number: i64, default: u16) -> u16 {
    match number {
        -1 => 0,
        0 => default,
        other => u16::try_from(other).unwrap_or(default),
    }
}

fn clients(top: &Table<'_>, flags: &Flags, config: &mut Config) {
    let (listen_host, listen_port) = top.address("listen").unzip();
    let host = flags
        .host
        .clone()
        .or_else(|| top.text("host"))
        .or(listen_host.flatten());
    let number = top.number("port", -1, 65_535);
    let number = flags.port.or(number).or(listen_port).unwrap_or(0);
    config.port = port(number, CLIENT_PORT);
    config.host = match (host, &config.authorization) {
        (Some(host), _) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        (None, Authorization::None) => {
            let note = "no authentication is configured: listening on loopback only; \
                        configure `authorization` or give a host with `-a` to be reached from elsewhere";
            config.notes.push(note.to_owned());
            LOOPBACK.to_owned()
        }
        (None, _) => ANY.to_owned(),
    };
    if config.authorization == Authorization::None && !config.is_loopback() {
        let note = format!(
            "anyone who reaches `{}` may connect: no authentication is configured",
            config.host
        );
        config.notes.push(note);
    }
}

/// Monitoring follows the clients' host under nats-server's name. Otherwise the port also manages
/// the server, so it stays on loopback unless an address says otherwise.
fn http(top: &Table<'_>, flags: &Flags, flavor: Flavor, host: &str) -> Option<Http> {
    let (own_host, own_port) = top.address("http").unzip();
    let number = top.number("http_port", -1, 65_535);
    let number = flags.http_port.or(number).or(own_port);
    let default_host = match flavor {
        Flavor::Millstream => LOOPBACK,
        Flavor::NatsServer => host,
    };
    let number = match (number, flavor) {
        (Some(number), _) => number,
        (None, Flavor::Millstream) => i64::from(HTTP_PORT),
        (None, Flavor::NatsServer) => return None,
    };
    // Port 0 switches it off, as in nats-server.
    (number != 0).then(|| Http {
        host: own_host
            .flatten()
            .unwrap_or_else(|| default_host.to_owned()),
        port: port(number, HTTP_PORT),
    })
}

fn server_name(top: &Table<'_>, flags: &Flags) -> Option<String> {
    let from_file = top.text("server_name").filter(|name| {
        let blank = name.contains(char::is_whitespace) || name.is_empty();
        if let Some(entry) = top.entry("server_name").filter(|_| blank) {
            top.note(
                &entry.value.at,
                "`server_name` must be one word without blanks",
            );
        }
        !blank
    });
    flags.server_name.clone().or(from_file)
}

fn jetstream(top: &Table<'_>, flags: &Flags, flavor: Flavor) -> Option<JetStream> {
    let mut on = flavor == Flavor::Millstream;
    let mut dir = top.text("store_dir").map(PathBuf::from);
    let (mut max_memory, mut max_file) = (None, None);
    let mut encryption = None;
    if let Some(entry) = top.entry("jetstream") {
        match &entry.value.data {
            Data::Bool(value) => on = *value,
            Data::Text(word) if word.eq_ignore_ascii_case("enabled") => on = true,
            Data::Text(word) if word.eq_ignore_ascii_case("disabled") => on = false,
            _ => {
                let block = top.block(&entry.value, JETSTREAM, "`jetstream`");
                on = true;
                if let Some(block) = block {
                    on = block.truth("enabled").unwrap_or(true);
                    dir = block.text("store_dir").map(PathBuf::from).or(dir);
                    max_memory = block.size("max_memory_store");
                    max_file = block.size("max_file_store");
                    block.truth("strict");
                    sync(&block);
                    encryption = encryption::load(&block);
                }
            }
        }
    }
    if let Some(flag) = flags.jetstream {
        on = flag;
    }
    let given = flags.store_dir.clone().or(dir);
    let store_dir = given.unwrap_or_else(|| flavor.store_dir());
    on.then_some(JetStream {
        store_dir,
        max_memory,
        max_file,
        encryption,
    })
}

/// Every acknowledged message is synced to disk, so any interval is kept; only its form is checked.
fn sync(block: &Table<'_>) {
    let always = |entry: &Entry| matches!(&entry.value.data, Data::Text(word) if word.eq_ignore_ascii_case("always"));
    if block
        .entry("sync_interval")
        .is_some_and(|entry| !always(entry))
    {
        block.duration("sync_interval");
    }
}

fn limits(top: &Table<'_>, auth_timeout: Option<Duration>) -> Limits {
    let number = |key, min, max, default: usize| {
        let value = top
            .number(key, min, max)
            .and_then(|value| usize::try_from(value).ok());
        value.unwrap_or(default)
    };
    let size = |key, default: usize| {
        let value = top.size(key).and_then(|value| usize::try_from(value).ok());
        value.unwrap_or(default)
    };
    let time = |key, seconds| top.duration(key).unwrap_or(Duration::from_secs(seconds));
    let largest = i64::from(i32::MAX);
    let limits = Limits {
        max_payload: size("max_payload", 1 << 20),
        max_control_line: number("max_control_line", 128, largest, 4096),
        max_pending: size("max_pending", 64 << 20),
        max_connections: max_connections(top),
        ping_interval: time("ping_interval", 120),
        ping_max: u32::try_from(top.number("ping_max", 1, 1000).unwrap_or(2)).unwrap_or(2),
        write_deadline: time("write_deadline", 10),
        auth_timeout: auth_timeout.unwrap_or(Duration::from_secs(2)),
    };
    for (key, value) in [
        ("max_payload", limits.max_payload),
        ("max_pending", limits.max_pending),
    ] {
        if let Some(entry) = top.entry(key).filter(|_| value == 0) {
            top.note(&entry.value.at, format!("`{key}` must be more than 0"));
        }
    }
    let pending = limits.max_pending;
    if let Some(entry) = top
        .entry("max_payload")
        .filter(|_| 0 < pending && pending < limits.max_payload)
    {
        let message = format!("`max_payload` must be at most `max_pending`, which is {pending}");
        top.note(&entry.value.at, message);
    }
    limits
}

/// nats-server's words: 0 is the default, -1 no limit.
fn max_connections(top: &Table<'_>) -> usize {
    match top.number("max_connections", -1, i64::from(i32::MAX)) {
        None | Some(0) => 64 << 10,
        Some(number) => usize::try_from(number).unwrap_or(u32::MAX as usize),
    }
}

fn logging(top: &Table<'_>, flags: &Flags) -> Logging {
    let truth =
        |key, flag: Option<bool>, default| flag.or_else(|| top.truth(key)).unwrap_or(default);
    // Verbose adds the messages of a system account, which there is none of.
    let verbose = truth("trace_verbose", flags.trace_verbose, false);
    Logging {
        debug: truth("debug", flags.debug, false),
        trace: truth("trace", flags.trace, false) || verbose,
        time: truth("logtime", flags.logtime, true),
        file: path(top, "log_file", flags.log_file.as_ref()),
    }
}

fn path(top: &Table<'_>, key: &str, flag: Option<&PathBuf>) -> Option<PathBuf> {
    let from_file = top
        .text(key)
        .filter(|text| !text.is_empty())
        .map(PathBuf::from);
    flag.cloned().or(from_file)
}

fn millstream(top: &Table<'_>) -> Millstream {
    let entry = top.entry("millstream");
    let block = entry.and_then(|entry| top.block(&entry.value, MILLSTREAM, "`millstream`"));
    block.map_or_else(Millstream::default, |block| Millstream {
        allow_private_addresses: block.truth("allow_private_addresses").unwrap_or(false),
        journal_file_size: block.size("journal_file_size"),
        journal_cache: block.size("journal_cache"),
        index_cache: block.size("index_cache"),
        schema_registry: door(&block, "schema_registry", DOOR, SCHEMA_REGISTRY_PORT),
        postgres: door(&block, "postgres", POSTGRES, POSTGRES_PORT),
        postgres_tls: certificate(&block),
    })
}

/// A port of its own for the schema registry, or for clients of PostgreSQL. A number alone listens on loopback, as the HTTP port
/// does.
fn door(millstream: &Table<'_>, key: &str, keys: &'static [Key], default: u16) -> Option<Http> {
    let entry = millstream.entry(key)?;
    let block = millstream.block(&entry.value, keys, &format!("`{key}`"))?;
    let (host, number) = block.address("listen")?;
    Some(Http {
        host: host.unwrap_or_else(|| LOOPBACK.to_owned()),
        port: port(number, default),
    })
}

/// The certificate for PostgreSQL's clients.
fn certificate(millstream: &Table<'_>) -> Option<Certificate> {
    let entry = millstream.entry("postgres")?;
    // What else is wrong with the block is told where its address is read.
    let Data::Map(entries) = &entry.value.data else {
        return None;
    };
    let tls = entries
        .iter()
        .find(|entry| entry.key.eq_ignore_ascii_case("tls"))?;
    let block = millstream.block(&tls.value, CERTIFICATE, "`tls`")?;
    match (block.text("cert_file"), block.text("key_file")) {
        (Some(cert), Some(key)) => Some(Certificate {
            cert_file: cert.into(),
            key_file: key.into(),
        }),
        _ => {
            let why = "`tls` needs `cert_file` and `key_file`";
            millstream.note(&tls.value.at, why.to_owned());
            None
        }
    }
}

/// What is allowed but should be known.
fn remarks(top: &Table<'_>, config: &mut Config) {
    let payload = config.limits.max_payload;
    if payload > LARGE_PAYLOAD {
        let note = format!(
            "`max_payload` is {payload} bytes; above {LARGE_PAYLOAD} other clients wait noticeably"
        );
        config.notes.push(note);
    }
    let jetstream = top.entry("jetstream").map(|entry| &entry.value.data);
    if let Some(Data::Map(entries)) = jetstream
        && entries
            .iter()
            .any(|entry| entry.key.to_ascii_lowercase().starts_with("sync"))
    {
        let note =
            "`sync_interval` changes nothing: every message is synced before it is acknowledged";
        config.notes.push(note.to_owned());
    }
    let jetstream = config.jetstream.as_ref();
    let encryption = jetstream.and_then(|jetstream| jetstream.encryption.as_ref());
    config.notes.extend(encryption.and_then(encryption::remark));
    if config.http.as_ref().is_some_and(|http| !http.is_loopback()) {
        config
            .notes
            .push("monitoring over HTTP can be reached from other machines".to_owned());
    }
    let registry = config.millstream.schema_registry.as_ref();
    if registry.is_some_and(|own| !own.is_loopback()) {
        config
            .notes
            .push("the schema registry can be reached from other machines".to_owned());
    }
    let postgres = config.millstream.postgres.as_ref();
    if postgres.is_some_and(|own| !own.is_loopback()) {
        let open = config.authorization == Authorization::None;
        let note = if open {
            "anyone who reaches the port for PostgreSQL clients may read everything: no authentication is configured"
        } else if config.millstream.postgres_tls.is_none() {
            "PostgreSQL clients send their passwords in clear text, from other machines as well: configure `tls` for them"
        } else {
            return;
        };
        config.notes.push(note.to_owned());
    }
}
