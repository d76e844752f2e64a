//! The command line: each flag in its short and long form, and the errors.

use super::{Command, FlagError, Flags, help_text, parse_flags};
use crate::server::Secret;

fn args(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn flags(line: &str) -> Flags {
    match parse_flags(args(line)) {
        Ok(Command::Serve(flags)) => flags,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_spelling() {
    for line in [
        "-p 4333 -js -sd=/x",
        "--port=4333 --jetstream --store_dir /x",
        "-port 4333 -jetstream=true --sd=/x",
    ] {
        let read = flags(line);
        assert_eq!(
            (read.port, read.jetstream),
            (Some(4333), Some(true)),
            "{line}"
        );
        assert_eq!(read.store_dir, Some("/x".into()), "{line}");
    }
    assert_eq!(flags("-p -1").port, Some(-1));
    assert_eq!(flags("-js=false").jetstream, Some(false));
    let read = flags(
        "-a h -n s -m 8222 -c f -l log -P pid --ports_file_dir d -T=false --user u --pass p --auth t",
    );
    assert_eq!(read.host.as_deref(), Some("h"));
    assert_eq!(read.http_port, Some(8222));
    assert_eq!(
        (read.logtime, read.pass),
        (Some(false), Some(Secret::new("p")))
    );
    assert_eq!(flags(""), Flags::default());
}

#[test]
fn debug_and_trace() {
    let set = |line| {
        let read = flags(line);
        [read.debug, read.trace, read.trace_verbose]
    };
    let yes = Some(true);
    assert_eq!(set("-D"), [yes, None, None]);
    assert_eq!(set("-V"), [None, yes, None]);
    assert_eq!(set("-VV"), [None, yes, yes]);
    assert_eq!(set("-DV"), [yes, yes, None]);
    assert_eq!(set("-DVV"), [yes, yes, yes]);
}

#[test]
fn ends() {
    assert_eq!(parse_flags(args("-p x -h")), Ok(Command::Help));
    assert_eq!(parse_flags(args("--version")), Ok(Command::Version));
    assert_eq!(parse_flags(args("help")), Ok(Command::Help));
    let test = Flags {
        config: Some("f".into()),
        ..Flags::default()
    };
    assert_eq!(parse_flags(args("-t -c f")), Ok(Command::TestConfig(test)));
}

#[test]
fn all_problems_at_once() {
    let errors = parse_flags(args(
        "--prot 1 --tlscert x -m 99999 -js=maybe more --sd= -p",
    ))
    .unwrap_err();
    let lines: Vec<String> = errors.0.iter().map(FlagError::to_string).collect();
    assert_eq!(
        lines,
        [
            "unknown flag `--prot`; did you mean `-port`?",
            "unexpected argument `1`; flags start with `-`, try `--help`",
            "flag `--tlscert` is not supported yet; leave it out",
            "flag `-m`: `99999` is not a port: 1 to 65535, or -1 for any free one",
            "flag `-js`: `maybe` is not `true` or `false`",
            "unexpected argument `more`; flags start with `-`, try `--help`",
            "flag `--sd`: `` is not a path",
            "flag `-p` needs a value",
        ]
    );
}

#[test]
fn help_names_every_flag_the_issue_asks_for() {
    let text = help_text("millstream serve");
    for flag in [
        "-p,", "-a,", "-n,", "-js,", "-sd,", "-c,", "-l,", "-P,", "-m,", "-D,", "-V,", "-DV ",
        "-v,",
    ] {
        assert!(text.contains(&format!("  {flag}")), "{flag}");
    }
    assert!(!text.contains("tls"));
}
