//! Options are checked against their descriptors, and secrets never print.

use serde_json::json;

use super::{OptionDescriptor, OptionType, REDACTED, check_options, redact};
use crate::{Config, Settings};

fn option(name: &'static str, kind: OptionType) -> OptionDescriptor {
    OptionDescriptor {
        name,
        kind,
        default: None,
        required: false,
        secret: false,
        doc: "what it is",
    }
}

fn options() -> Vec<OptionDescriptor> {
    vec![
        OptionDescriptor {
            required: true,
            ..option("path", OptionType::Path)
        },
        OptionDescriptor {
            default: Some("7"),
            ..option("rate", OptionType::Integer { min: 1, max: 10 })
        },
        OptionDescriptor {
            secret: true,
            ..option("secret", OptionType::Text)
        },
        option("url", OptionType::Url),
        option("listen", OptionType::Listen),
        option("subject", OptionType::SubjectTemplate),
        option("follow", OptionType::Bool),
        OptionDescriptor {
            default: Some("1MiB"),
            ..option("size", OptionType::Bytes)
        },
        option("wait", OptionType::Duration),
        option("format", OptionType::Choice(&["jsonl", "csv"])),
    ]
}

fn config(value: serde_json::Value) -> Config {
    value.as_object().expect("object").clone()
}

fn check(value: serde_json::Value, expected: &[&str]) {
    let problems: Vec<String> = check_options(&options(), &config(value))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(problems, expected);
}

#[test]
fn everything_wrong_is_told_at_once() {
    check(
        json!({"pth": "x", "rate": 11, "format": "json", "wait": 5, "follow": "maybe", "listen": "here", "url": "ftp://x"}),
        &[
            "unknown option `pth` (did you mean `path`?)",
            "option `rate` must be a whole number from 1 to 10, found `11` (what it is)",
            "option `format` must be one of `jsonl`, `csv`, found `\"json\"` (did you mean `jsonl`?)",
            "option `wait` must be a duration such as `50ms` or `7d`, found `5` (what it is)",
            "option `follow` must be `true` or `false`, found `\"maybe\"` (what it is)",
            "option `listen` must be an address and port such as `127.0.0.1:9000`, found `\"here\"` (what it is)",
            "option `url` must be an address that starts with `http://` or `https://`, found a value that does not fit (what it is)",
            "required option `path` is missing (what it is)",
        ],
    );
}

#[test]
fn good_values_pass_also_as_text() {
    check(
        json!({"path": "a", "rate": "3", "size": "16MiB", "wait": "1s", "follow": "true", "listen": "[::1]:80",
               "url": "https://h", "subject": "a.{b}", "format": "csv", "secret": "s"}),
        &[],
    );
}

#[test]
fn a_wrong_secret_is_not_shown() {
    check(
        json!({"path": "a", "secret": ["hush"]}),
        &[
            "option `secret` must be a text that is not empty, found a value that does not fit (what it is)",
        ],
    );
}

#[test]
fn secrets_passwords_and_unknown_keys_are_hidden() {
    let shown = redact(
        &options(),
        &config(
            json!({"path": "a", "secret": "hush", "secrt": "hush", "url": "http://me:hush@h/p@q"}),
        ),
    );
    assert_eq!(
        shown,
        config(
            json!({"path": "a", "secret": REDACTED, "secrt": REDACTED, "url": format!("http://{REDACTED}@h/{REDACTED}")})
        )
    );
}

#[test]
fn settings_give_values_and_defaults() {
    let settings =
        Settings::read(options(), &config(json!({"path": "a", "wait": "2s"}))).expect("valid");
    assert_eq!(settings.text("path"), "a");
    assert_eq!(settings.integer("rate"), 7);
    assert_eq!(settings.bytes("size"), 1 << 20);
    assert_eq!(settings.duration("wait"), std::time::Duration::from_secs(2));
    assert_eq!(settings.opt_text("secret"), None);
}
