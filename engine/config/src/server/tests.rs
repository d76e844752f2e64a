//! From parsed configuration to settings: precedence, units, unknown and unsupported keys.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::{Expect, expect};

use super::{Authorization, Cipher, Config, Encryption, Flavor, Http, Secret};
use crate::conf::Surroundings;
use crate::flags::{Command, Flags, parse_flags};
use crate::problem::ConfigError;

struct Fake(BTreeMap<&'static str, String>);

impl Surroundings for Fake {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0
            .get(path.to_str().unwrap())
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "PASSWORD").then(|| "s3cret".to_owned())
    }
}

fn load(text: &str, args: &str, flavor: Flavor) -> Result<Config, ConfigError> {
    let words = args.split_whitespace().map(str::to_owned);
    let Ok(Command::Serve(flags)) = parse_flags(words) else {
        panic!("{args}")
    };
    let flags = Flags {
        config: Some("s.conf".into()),
        ..flags
    };
    Config::load_from(
        &flags,
        flavor,
        &Fake(BTreeMap::from([("s.conf", text.to_owned())])),
    )
}

fn nats(text: &str, args: &str) -> Config {
    load(text, args, Flavor::NatsServer).unwrap_or_else(|error| panic!("{error}"))
}

fn check(text: &str, args: &str, expected: Expect) {
    let shown = load(text, args, Flavor::NatsServer)
        .map_or_else(|error| error.to_string(), |_| "fine".into());
    expected.assert_eq(&shown);
}

#[test]
fn defaults() {
    let config = nats("", "");
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 4222));
    assert_eq!((config.http, config.jetstream), (None, None));
    assert!(
        config.notes[0].contains("loopback only"),
        "{:?}",
        config.notes
    );
    expect![[r#"
        Limits { max_payload: 1048576, max_control_line: 4096, max_pending: 67108864, max_connections: 65536, ping_interval: 120s, ping_max: 2, write_deadline: 10s, auth_timeout: 2s }
        Logging { debug: false, trace: false, time: true, file: None }"#]].assert_eq(&format!("{:?}\n{:?}", config.limits, config.logging));

    let ours = load("", "", Flavor::Millstream).unwrap();
    assert_eq!(
        ours.http,
        Some(Http {
            host: "127.0.0.1".into(),
            port: 8222
        })
    );
    assert_eq!(
        ours.jetstream.unwrap().store_dir,
        PathBuf::from("millstream-data")
    );
}

#[test]
fn every_supported_key() {
    let config = nats(
        "listen: \"0.0.0.0:4333\"\nserver_name: mill\nhttp: \"127.0.0.1:8333\"\n\
         jetstream { store_dir: /data, max_mem: 1GB, max_file: \"10G\", sync_interval: always, strict: true }\n\
         authorization { users [ {user: ann, password: a}, {user: bob, pass: $PASSWORD} ], timeout: 1.5 }\n\
         max_payload: 2MB\nmax_control_line: 8192\nmax_pending: 128mb\nmax_connections: 100\n\
         ping_interval: \"30s\"\nping_max: 5\nwrite_deadline: 3\n\
         debug: true\ntrace_verbose: yes\nlogtime: off\nlog_file: /l\npid_file: /p\nports_file_dir: /d\n\
         millstream { allow_private_addresses: true, journal_file_size: 16MB, journal_cache: 8MB, index_cache: 4MB, schema_registry: { listen: \"127.0.0.1:8085\" }, postgres: { listen: 5433 } }",
        "",
    );
    expect![[r#"Config { host: "0.0.0.0", port: 4333, server_name: Some("mill"), http: Some(Http { host: "127.0.0.1", port: 8333 }), jetstream: Some(JetStream { store_dir: "/data", max_memory: Some(1073741824), max_file: Some(10000000000), encryption: None }), authorization: Users([UserEntry { name: "ann", password: [secret] }, UserEntry { name: "bob", password: [secret] }]), limits: Limits { max_payload: 2097152, max_control_line: 8192, max_pending: 134217728, max_connections: 100, ping_interval: 30s, ping_max: 5, write_deadline: 3s, auth_timeout: 1.5s }, logging: Logging { debug: true, trace: true, time: false, file: Some("/l") }, pid_file: Some("/p"), ports_file_dir: Some("/d"), millstream: Millstream { allow_private_addresses: true, journal_file_size: Some(16777216), journal_cache: Some(8388608), index_cache: Some(4194304), schema_registry: Some(Http { host: "127.0.0.1", port: 8085 }), postgres: Some(Http { host: "127.0.0.1", port: 5433 }), postgres_tls: None }, file: Some("s.conf"), notes: ["`sync_interval` changes nothing: every message is synced before it is acknowledged"] }"#]].assert_eq(&format!("{config:?}"));
}

#[test]
fn spellings_are_alike() {
    let config = nats(
        "PORT = 1, Net: h, storedir: /s, jetstream: enabled, logfile: l, pidfile: p, max_conn: 3, monitor_port: 9",
        "",
    );
    assert_eq!((config.port, config.host.as_str()), (1, "h"));
    assert_eq!(config.jetstream.unwrap().store_dir, PathBuf::from("/s"));
    assert_eq!(config.limits.max_connections, 3);
    assert_eq!(
        config.http,
        Some(Http {
            host: "h".into(),
            port: 9
        })
    );
    assert_eq!(nats("port: 1\nport: 2", "").port, 2);
    assert_eq!(nats("listen: 4333", "").host, "127.0.0.1");
    assert_eq!(nats("listen: '[::1]:4333'", "").host, "::1");
    assert_eq!(nats("listen: '*:4333'", "").host, "0.0.0.0");
    assert!(nats("jetstream: true", "").jetstream.is_some());
    assert!(nats("jetstream { enabled: false }", "").jetstream.is_none());
}

#[test]
fn flags_win() {
    let config = nats(
        "port: 1, host: h, http_port: 2, server_name: a, debug: true, jetstream: off, log_file: a\n\
         authorization: { token: \"t\" }",
        "-p -1 -a 127.0.0.1 -m -1 -n b -D=false -js -sd /x -l b -P c --user u --pass p",
    );
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 0));
    assert_eq!(
        config.http,
        Some(Http {
            host: "127.0.0.1".into(),
            port: 0
        })
    );
    assert_eq!(config.server_name.as_deref(), Some("b"));
    assert!(!config.logging.debug);
    assert_eq!(config.jetstream.unwrap().store_dir, PathBuf::from("/x"));
    assert_eq!(config.logging.file, Some("b".into()));
    let Authorization::Users(users) = config.authorization else {
        panic!("users")
    };
    assert_eq!(
        (users[0].name.as_str(), &users[0].password),
        ("u", &Secret::new("p"))
    );
    assert_eq!(nats("", "-p 0").port, 4222);
}

#[test]
fn who_is_listened_to() {
    assert_eq!(
        nats("authorization: { user: a, password: b }", "").host,
        "0.0.0.0"
    );
    assert_eq!(nats("", "--auth t").host, "0.0.0.0");
    assert_eq!(nats("", "-a 0.0.0.0").notes.len(), 1);
    assert_eq!(nats("authorization { timeout: 2s }", "").host, "127.0.0.1");
    assert_eq!(
        nats("", "--auth t").authorization,
        Authorization::Token(Secret::new("t"))
    );
    assert_eq!(
        nats("authorization { timeout: 3 }", "").limits.auth_timeout,
        Duration::from_secs(3)
    );
    let exposed = load("", "--auth t", Flavor::Millstream).unwrap();
    assert!(exposed.http.unwrap().is_loopback());
    assert!(
        !format!(
            "{:?}",
            nats("authorization { user: a, password: $PASSWORD }", "")
        )
        .contains("s3cret")
    );
}

#[test]
fn unknown_and_later_keys() {
    check(
        "prot: 1\ncluster { port: 6222 }\njetstream { store_dri: x, domain: d }\ntls {}\nleaf {}\naccounts {}\nmqtt {}\n\
         authorization { users: [ { user: a, pasword: b } ], permissions: {} }\nSIZE: 1\nmax_payload: $SIZE\nfoo bar\n\
         millstream { colour: red }\n",
        "",
        expect![[r#"
            s.conf:1:1: unknown key `prot`; did you mean `port`?
            s.conf:2:1: key `cluster` is not supported yet; take it out
            s.conf:3:13: unknown key `store_dri` of `jetstream`; did you mean `store_dir`?
            s.conf:3:27: key `domain` of `jetstream` is not supported yet; take it out
            s.conf:4:1: key `tls` is not supported yet; take it out
            s.conf:5:1: key `leaf` is not supported yet; take it out
            s.conf:6:1: key `accounts` is not supported yet; take it out
            s.conf:7:1: key `mqtt` is not supported yet; take it out
            s.conf:8:28: a user needs a `password`
            s.conf:8:37: unknown key `pasword` of a user; did you mean `password`?
            s.conf:8:53: key `permissions` of `authorization` is not supported yet; take it out
            s.conf:11:1: unknown key `foo`
            s.conf:12:14: unknown key `colour` of `millstream`"#]],
    );
}

#[test]
fn wrong_values() {
    check(
        "port: 70000\nhost: [1]\nserver_name: 'a b'\nhttp: here\njetstream: 5\nmax_payload: lots\nmax_pending: 0\n\
         ping_interval: never\nping_max: 0\ndebug: 1\nlisten: 'h:x'\nwrite_deadline: -1\nmillstream: 1\nmax_control_line: 1\nmax_connections: x",
        "",
        expect![[r#"
            s.conf:1:7: `port` must be -1 to 65535, not 70000
            s.conf:2:7: `host` must be a text; put it in quotes, not a list
            s.conf:3:14: `server_name` must be one word without blanks
            s.conf:4:7: `http` must be `host:port` or a port
            s.conf:5:12: `jetstream` must be a block `{ … }`, not a whole number
            s.conf:6:14: `max_payload` must be a size such as `512MB`, not a text
            s.conf:7:14: `max_pending` must be more than 0
            s.conf:8:16: `ping_interval` must be a duration above 0, such as `"2s"` or 2
            s.conf:9:11: `ping_max` must be 1 to 1000, not 0
            s.conf:10:8: `debug` must be `true` or `false`, not a whole number
            s.conf:11:9: `listen` must be `host:port` or a port
            s.conf:12:17: `write_deadline` must be a duration above 0, such as `"2s"` or 2
            s.conf:13:13: `millstream` must be a block `{ … }`, not a whole number
            s.conf:14:19: `max_control_line` must be 128 to 2147483647, not 1
            s.conf:15:18: `max_connections` must be a whole number, not a text"#]],
    );
    check(
        "max_payload: 128MB",
        "",
        expect!["s.conf:1:14: `max_payload` must be at most `max_pending`, which is 67108864"],
    );
}

fn encryption(block: &str) -> (Option<Encryption>, Vec<String>) {
    let config = nats(&format!("jetstream {{ {block} }}"), "");
    let mut notes = config.notes;
    notes.retain(|note| note.contains("key"));
    (config.jetstream.expect("on").encryption, notes)
}

#[test]
fn encryption_under_nats_servers_names() {
    let long = "0123456789abcdef0123456789abcdef";
    assert_eq!(encryption("strict: true, cipher: aes").0, None);
    for names in [
        ("key", "prev_key"),
        ("ek", "prev_ek"),
        ("encryption_key", "prev_encryption_key"),
    ] {
        let (key, previous) = names;
        let read = encryption(&format!(
            "{key}: {long}, {previous}: \"the old one\", cipher: AES"
        ));
        let expected = Encryption {
            cipher: Cipher::Aes,
            key: Some(Secret::new(long)),
            previous: vec![Secret::new("the old one")],
        };
        assert_eq!(read, (Some(expected), Vec::new()));
    }
    // From the environment, several of before, the default cipher; and a remark that the key is short.
    let (read, notes) = encryption("key: $PASSWORD, prev_key: [one, two]");
    let read = read.expect("keys");
    assert_eq!(
        (read.cipher, read.key),
        (Cipher::ChaCha, Some(Secret::new("s3cret")))
    );
    assert_eq!(read.previous, [Secret::new("one"), Secret::new("two")]);
    expect!["`key` of `jetstream` has 6 bytes; 32 random ones cannot be guessed, such as `openssl rand -base64 32` gives"].assert_eq(&notes.join("\n"));
    // Reading what was encrypted and encrypting no more.
    let (read, _) = encryption("prev_key: one, cipher: ChaChaPoly");
    assert_eq!(
        read.map(|read| (read.key, read.previous.len())),
        Some((None, 1))
    );
    let shown = format!(
        "{:?}",
        nats(&format!("jetstream {{ key: {long}, prev_key: hush }}"), "")
    );
    assert!(!shown.contains(long) && !shown.contains("hush"), "{shown}");
}

#[test]
fn wrong_keys() {
    check(
        "jetstream {\n key: ''\n prev_key: [5, '', {}]\n cipher: rot13\n}",
        "",
        expect![[r#"
            s.conf:2:7: `key` is empty
            s.conf:3:13: `prev_key` must be a text; put it in quotes, not a whole number
            s.conf:3:16: `prev_key` is empty
            s.conf:3:20: `prev_key` must be a text; put it in quotes, not a block
            s.conf:4:10: `cipher` must be `aes` or `chachapoly`, not a text"#]],
    );
    check(
        "jetstream { key: [a], cipher: 3 }",
        "",
        expect![[r#"
        s.conf:1:18: `key` must be a text; put it in quotes, not a list
        s.conf:1:31: `cipher` must be `aes` or `chachapoly`, not a whole number"#]],
    );
    check(
        "jetstream { key: 007 }",
        "",
        expect!["s.conf:1:18: `key` must be a text; put it in quotes, not a whole number"],
    );
    check(
        "jetstream { key: $NOWHERE }",
        "",
        expect![
            "s.conf:1:18: `$NOWHERE` is neither a key written above nor set in the environment"
        ],
    );
}

#[test]
fn a_certificate_for_postgres() {
    check(
        "millstream { postgres { listen: 5433, tls { cert_file: '/c.pem' } } }",
        "",
        expect!["s.conf:1:43: `tls` needs `cert_file` and `key_file`"],
    );
    check(
        "millstream { postgres { listen: 5433, tls: true } }",
        "",
        expect!["s.conf:1:44: `tls` must be a block `{ … }`, not a truth value"],
    );
}

#[test]
fn wrong_credentials() {
    check(
        "authorization { user: a }",
        "",
        expect!["s.conf:1:17: a user needs a `password`"],
    );
    check(
        "authorization { token: t, users: [] }",
        "",
        expect![[r#"
            s.conf:1:27: `token` and `users` cannot go together; give one of them
            s.conf:1:34: `users` is empty: nobody could connect"#]],
    );
    check(
        "authorization { users: [ {user: a, password: b}, {user: a, password: c}, {}, 5, {user: '', pass: x} ] }",
        "",
        expect![[r#"
            s.conf:1:50: user `a` stands twice
            s.conf:1:74: a user needs `user` and `password`
            s.conf:1:78: a user must be a block `{ … }`, not a whole number
            s.conf:1:88: the user's name is empty"#]],
    );
    check(
        "authorization { user: a, password: $2a$11$abc }",
        "",
        expect![
            "s.conf:1:36: `password` is a bcrypt hash, which is not supported yet; give the password itself, for example from the environment: `$PASSWORD`"
        ],
    );
    check(
        "authorization { token: 12345 }",
        "",
        expect!["s.conf:1:24: `token` must be a text; put it in quotes, not a whole number"],
    );
    check(
        "",
        "--user a",
        expect!["flags `--user` and `--pass` need each other"],
    );
    check(
        "",
        "--user a --pass b --auth c",
        expect!["flag `--auth` cannot go together with `--user` and `--pass`; give one of them"],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let flags = Flags {
        config: Some("missing.conf".into()),
        ..Flags::default()
    };
    let error = Config::load_from(&flags, Flavor::Millstream, &Fake(BTreeMap::new())).unwrap_err();
    expect!["cannot read configuration file `missing.conf`: entity not found; give an existing file with `-c`"].assert_eq(&error.to_string());
    check(
        "a {",
        "",
        expect!["s.conf:1:4: the text ends inside a block; a `}` is missing"],
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("real.conf");
    std::fs::write(&path, "port: 4555").unwrap();
    let flags = Flags {
        config: Some(path),
        ..Flags::default()
    };
    assert_eq!(Config::load(&flags, Flavor::NatsServer).unwrap().port, 4555);
    let flags = Flags {
        config: Some(dir.path().to_owned()),
        ..Flags::default()
    };
    assert!(Config::load(&flags, Flavor::NatsServer).is_err());
}
