//! Every flag nats-server has, what it takes, and whether this release does it.

/// What a supported flag sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    Host,
    Port,
    Name,
    HttpPort,
    Config,
    JetStream,
    StoreDir,
    LogFile,
    PidFile,
    PortsFileDir,
    LogTime,
    Debug,
    Trace,
    TraceVerbose,
    DebugTrace,
    DebugTraceVerbose,
    User,
    Pass,
    Auth,
    TestConfig,
    Version,
    Help,
}

/// Whether a value follows; its name is for the help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value(&'static str),
}

/// One flag with all its spellings, the shortest first.
#[derive(Debug)]
pub(super) struct Known {
    names: &'static [&'static str],
    pub(super) takes: Takes,
    /// None: known to nats-server, not supported here yet.
    pub(super) flag: Option<Flag>,
    help: &'static str,
}

const fn does(
    names: &'static [&'static str],
    takes: Takes,
    flag: Flag,
    help: &'static str,
) -> Known {
    Known {
        names,
        takes,
        flag: Some(flag),
        help,
    }
}

const fn later(names: &'static [&'static str], takes: Takes) -> Known {
    Known {
        names,
        takes,
        flag: None,
        help: "",
    }
}

use Takes::{Nothing, Value};

/// In the order of the help text.
const FLAGS: &[Known] = &[
    does(
        &["a", "addr", "net"],
        Value("HOST"),
        Flag::Host,
        "host to listen on (127.0.0.1 unless authentication is configured)",
    ),
    does(
        &["p", "port"],
        Value("PORT"),
        Flag::Port,
        "port for clients (4222); -1 for any free one",
    ),
    does(
        &["n", "name", "server_name"],
        Value("NAME"),
        Flag::Name,
        "the server's name (its id)",
    ),
    does(
        &["m", "http_port"],
        Value("PORT"),
        Flag::HttpPort,
        "port of monitoring and management over HTTP; -1 for any free one",
    ),
    does(
        &["c", "config"],
        Value("FILE"),
        Flag::Config,
        "configuration file, in nats-server's language",
    ),
    does(
        &["t"],
        Nothing,
        Flag::TestConfig,
        "test the configuration and end",
    ),
    does(
        &["js", "jetstream"],
        Nothing,
        Flag::JetStream,
        "streams and stations on",
    ),
    does(
        &["sd", "store_dir"],
        Value("DIR"),
        Flag::StoreDir,
        "folder for stored data",
    ),
    does(
        &["P", "pid"],
        Value("FILE"),
        Flag::PidFile,
        "file that gets the process id",
    ),
    does(
        &["ports_file_dir"],
        Value("DIR"),
        Flag::PortsFileDir,
        "folder that gets a file with the ports in use",
    ),
    does(
        &["l", "log"],
        Value("FILE"),
        Flag::LogFile,
        "log to a file instead of standard error",
    ),
    does(
        &["T", "logtime"],
        Nothing,
        Flag::LogTime,
        "times in the log (on)",
    ),
    does(&["D", "debug"], Nothing, Flag::Debug, "debug output"),
    does(&["V", "trace"], Nothing, Flag::Trace, "trace the protocol"),
    does(
        &["VV"],
        Nothing,
        Flag::TraceVerbose,
        "trace the protocol, also the server's own messages",
    ),
    does(&["DV"], Nothing, Flag::DebugTrace, "-D and -V"),
    does(&["DVV"], Nothing, Flag::DebugTraceVerbose, "-D and -VV"),
    does(
        &["user"],
        Value("NAME"),
        Flag::User,
        "user clients must give",
    ),
    does(
        &["pass"],
        Value("PASSWORD"),
        Flag::Pass,
        "that user's password",
    ),
    does(
        &["auth"],
        Value("TOKEN"),
        Flag::Auth,
        "token clients must give",
    ),
    does(&["h", "help"], Nothing, Flag::Help, "this text"),
    does(
        &["v", "version"],
        Nothing,
        Flag::Version,
        "print the version",
    ),
    later(&["ms", "https_port"], Value("PORT")),
    later(&["sl", "signal"], Value("COMMAND")),
    later(&["client_advertise"], Value("HOST")),
    later(&["logtime_utc"], Nothing),
    later(&["s", "syslog"], Nothing),
    later(&["r", "remote_syslog"], Value("URL")),
    later(&["log_size_limit"], Value("BYTES")),
    later(&["max_traced_msg_len"], Value("BYTES")),
    later(&["tls"], Nothing),
    later(&["tlscert"], Value("FILE")),
    later(&["tlskey"], Value("FILE")),
    later(&["tlsverify"], Nothing),
    later(&["tlscacert"], Value("FILE")),
    later(&["help_tls"], Nothing),
    later(&["routes"], Value("URLS")),
    later(&["cluster"], Value("URL")),
    later(&["cluster_listen"], Value("URL")),
    later(&["cluster_name"], Value("NAME")),
    later(&["cluster_advertise"], Value("HOST")),
    later(&["no_advertise"], Nothing),
    later(&["connect_retries"], Value("N")),
    later(&["profile"], Value("PORT")),
];

pub(super) fn find(name: &str) -> Option<&'static Known> {
    FLAGS.iter().find(|known| known.names.contains(&name))
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FLAGS
        .iter()
        .filter(|known| known.flag.is_some())
        .flat_map(|known| known.names.iter().copied())
}

/// What `-h` prints; `program` is how it was called (`millstream serve`, `nats-server`).
#[must_use]
pub fn help_text(program: &str) -> String {
    let mut text = format!("Usage: {program} [flags]\n\n");
    let spelt = |known: &Known| {
        let dashed: Vec<String> = known
            .names
            .iter()
            .map(|name| match name.len() {
                1 | 2 => format!("-{name}"),
                _ => format!("--{name}"),
            })
            .collect();
        match known.takes {
            Takes::Nothing => dashed.join(", "),
            Takes::Value(value) => format!("{} {value}", dashed.join(", ")),
        }
    };
    for known in FLAGS.iter().filter(|known| known.flag.is_some()) {
        text.push_str(&format!("  {:<34} {}\n", spelt(known), known.help));
    }
    text.push_str("\nA flag may be written with one or two dashes, its value after `=` or a blank. Flags win over the file.\n");
    text
}
