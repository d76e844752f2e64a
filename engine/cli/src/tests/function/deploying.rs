//! `function deploy`, with and without `--dry-run`.

use clap::Parser;
use expect_test::{Expect, expect};
use serde_json::Value;

use super::super::{Cli, type_in};
use super::{check, start};

const FILE: &str =
    "kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n";

/// What is shown for a function in a folder `DIR`, and what the server was asked.
async fn ran(words: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("function.yaml");
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join("band.wasm"), "wasm").unwrap();
    std::fs::write(dir.path().join("tests.yaml"), "tests: []\n").unwrap();
    let (server, asked) = start().await;
    let mut args = vec!["function", "deploy", "-f", path.to_str().unwrap()];
    args.extend(words.split_whitespace());
    let shown = type_in(&server, &args, "").await;
    let asked = asked.lock().unwrap().join("\n");
    format!("{shown}{asked}\n").replace(dir.path().to_str().unwrap(), "DIR")
}

async fn check_file(words: &str, text: &str, expected: Expect) {
    expected.assert_eq(&ran(words, text).await);
}

/// What the server was asked, after the file and what belongs to it.
async fn check_sent(words: &str, expected: Expect) {
    let all = ran(words, FILE).await;
    let (_, rest) = all
        .split_once("\"variables\":{\"HOST\":\"api.example.org\"},")
        .unwrap();
    expected.assert_eq(rest);
}

#[tokio::test]
async fn deploying() {
    check_file("", FILE, expect![[r#"
        ACTION     KIND      NAME     VERSION
        changed    function  band     4
        unchanged  station   flights

        function band
          component: 3f2a -> 99b1
        = 0
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk"}
    "#]]).await;
    check_file("--canary 2.5% -o json", FILE, expect![[r#"
        {
          "changes": [
            {
              "kind": "function",
              "name": "band",
              "action": "changed",
              "diff": [
                "component: 3f2a -> 99b1"
              ],
              "version": 4
            },
            {
              "kind": "station",
              "name": "flights",
              "action": "unchanged",
              "diff": []
            }
          ],
          "problems": []
        }
        = 0
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk","trial":{"mode":"canary","percent":2.5}}
    "#]]).await;
    let file = FILE.replace("band\n", "refuse\n");
    check_file("--shadow", &file, expect![[r#"
        f.yaml:2:7: test `a late flight`: expected `drop`, got `keep`
        error: 1 problem
        hint: mend it
        = 4
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: refuse\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk","trial":{"mode":"shadow"}}
    "#]]).await;
}

#[tokio::test]
async fn trials() {
    check_file("--shadow", FILE, expect![[r#"
        ACTION     KIND      NAME     VERSION
        changed    function  band     4
        unchanged  station   flights

        function band
          component: 3f2a -> 99b1

        version 4 of `band` is tried: `millstream describe function band` shows how it does, `millstream function promote band` makes it run, `millstream function stop band` ends the trial
        = 0
        POST /api/v1/apply {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"by":"ann@desk","trial":{"mode":"shadow"}}
    "#]]).await;
    let canary = "--canary 2.5% --why 15_minutes --max-error-rate 1% --min-messages 50";
    check_sent(canary, expect![[r#"
        "by":"ann@desk","why":"15_minutes","trial":{"mode":"canary","percent":2.5,"max_error_rate":0.01,"min_messages":50}}
    "#]]).await;
    let subjects = "--canary-subjects flights.UA.> --max-error-rate 0.5";
    check_sent(
        subjects,
        expect![[r#"
        "by":"ann@desk","trial":{"mode":"canary","subjects":"flights.UA.>","max_error_rate":0.5}}
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_deployed_shows_without_a_server() {
    let station = "kind: station\nname: a\nsubjects: [a]\n";
    check_file(
        "",
        station,
        expect![[r#"
        error: `DIR/function.yaml` describes no function
        hint: `kind: function` begins one
        = 1

    "#]],
    )
    .await;
    let file = FILE.replace("tests.yaml", "test.yaml");
    check_file(
        "",
        &file,
        expect![[r#"
        DIR/function.yaml:4:8: cannot read `DIR/test.yaml`: No such file or directory (os error 2)
            paths are relative to the station file's folder
        error: 1 problem in the files; nothing was applied
        = 4

    "#]],
    )
    .await;
    let file = FILE.replace("band.wasm", "bend.wasm");
    check_file(
        "",
        &file,
        expect![[r#"
        DIR/function.yaml:3:12: cannot read `DIR/bend.wasm`: No such file or directory (os error 2)
            `millstream function build` makes it; paths are relative to the station file's folder
        error: 1 problem in the files; nothing was applied
        = 4

    "#]],
    )
    .await;
    check(
        "function deploy",
        expect![[r#"
        error: cannot read `function.yaml`: No such file or directory (os error 2)
        hint: `millstream function init` begins a function
        = 1

    "#]],
    )
    .await;
}

#[tokio::test]
async fn dry_runs() {
    check_file("--dry-run --station flights", FILE, expect![[r#"
        10 messages looked at; 1 with another outcome than the version that runs gives

                        CANDIDATE  LIVE
        keep            6          6
        replace         3          3
        emit            0          0
        drop            0          0
        retry           0          0
        reject          1          0
        errors          0          0
        us per message  3.2        2.0
        us, p50         3.0
        us, p99         9.0

        rejected:
        COUNT  CODE      FIRST SEQ  REASON
        1      not_json  7          expected\nvalue

        differences:
          flights.AA  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
            - keep
            + reject not_json

        samples:
          3  flights.UA  {"dep_delay":20}
            replace {"band":"late"}
        = 0
        POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"flights"}
    "#]]).await;
    check_file("--dry-run --station flights --limit 1", FILE, expect![[r#"
        10 messages looked at; no version runs to compare with

                        CANDIDATE
        keep            6
        replace         3
        emit            0
        drop            0
        retry           0
        reject          1
        errors          0
        us per message  3.2
        us, p50         3.0
        us, p99         9.0
        = 0
        POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"flights","limit":1}
    "#]]).await;
    check_file("--dry-run --station nowhere", FILE, expect![[r#"
        error: there is no station `nowhere`
        hint: did you mean `here`?
        = 3
        POST /api/v1/functions-dry-run {"files":[{"name":"DIR/function.yaml","text":"kind: function\nname: band\ncomponent: band.wasm\ntests: tests.yaml\nhttp: [\"${HOST}\"]\n"}],"attachments":{"DIR/band.wasm":"d2FzbQ==","DIR/tests.yaml":"dGVzdHM6IFtdCg=="},"variables":{"HOST":"api.example.org"},"station":"nowhere"}
    "#]]).await;
    let json = ran("--dry-run --station flights -o json", FILE).await;
    let (report, _) = json.split_once("= 0\n").unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["candidate"]["messages"], 10);
}

#[tokio::test]
async fn where_a_dry_run_starts() {
    let words = "--dry-run --station flights -o json";
    check_sent(
        &format!("{words} --from beginning"),
        expect![[r#"
        "station":"flights"}
    "#]],
    )
    .await;
    check_sent(
        &format!("{words} --from 7 --limit 9"),
        expect![[r#"
        "station":"flights","from_seq":7,"limit":9}
    "#]],
    )
    .await;
    check_sent(
        &format!("{words} --from 2026-11-23T07:45:00Z"),
        expect![[r#"
            "station":"flights","from_time":"2026-11-23T07:45:00Z"}
        "#]],
    )
    .await;
    let now = millstream_types::Timestamp::now();
    let all = ran(&format!("{words} --from 1h"), FILE).await;
    let (_, rest) = all.split_once("\"from_time\":\"").unwrap();
    let (from, _) = rest.split_once('"').unwrap();
    let from = millstream_types::Timestamp::parse_rfc3339(from).unwrap();
    let ago = now.since(from).as_secs();
    assert!((3590..=3600).contains(&ago), "{ago}");
}

#[tokio::test]
async fn long_work_shows_on_a_terminal_how_far_it_is() {
    let (server, _) = start().await;
    let words = "--dry-run --station flights -o json -f -";
    let words = format!("millstream --server {server} function deploy {words}");
    let cli = Cli::try_parse_from(words.split(' ')).unwrap();
    let file = "kind: function\nname: band\ncomponent: /dev/null\n";
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = crate::Console {
        out: &mut out,
        err: &mut err,
        input: &mut file.as_bytes(),
        terminal: true,
        typed: false,
        variables: &|_| None,
    };
    let status = crate::run(&cli.connection, &cli.command, &mut console).await;
    assert_eq!(status, 0);
    let shown = String::from_utf8(err).unwrap().replace("\r\u{1b}[K", "|");
    assert_eq!(shown, "|compiling …|5 messages looked at|");
}
