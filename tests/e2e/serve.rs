//! The face nats-server's tools know: flags, log lines, files, signals, monitoring; and clear errors when it cannot start.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use async_nats::jetstream;
use serde_json::Value;

use crate::harness::{Server, binary, eventually, folder, http, text};

#[test]
fn version_and_pid_file_and_clean_stop() {
    let output = Command::new(binary())
        .args(["serve", "-v"])
        .output()
        .expect("it runs");
    assert!(
        text(&output).starts_with("nats-server: v2."),
        "{}",
        text(&output)
    );

    let folder = folder();
    let pid_file = folder.path().join("pid");
    let server = Server::start_with(folder.path(), &["-P", pid_file.to_str().expect("path")]);
    assert_eq!(
        fs::read_to_string(&pid_file).expect("pid file"),
        server.pid().to_string()
    );
    let log = server.log();
    assert!(
        log.contains("[INF] Listening for client connections on 127.0.0.1:"),
        "{log}"
    );
    assert!(log.contains("[INF] Server is ready"), "{log}");
    assert!(server.terminate().success());
}

#[test]
fn called_nats_server_it_behaves_as_nats_server() {
    let folder = folder();
    let link = folder.path().join("nats-server");
    symlink(binary(), &link).expect("link");
    let output = Command::new(link).arg("-v").output().expect("it runs");
    assert!(output.status.success());
    assert!(
        text(&output).starts_with("nats-server: v2."),
        "{}",
        text(&output)
    );
}

/// A thread waits until all of such a page is zeroed.
#[test]
fn a_server_gets_no_huge_pages() {
    let folder = folder();
    let server = Server::start(folder.path());
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("THP_enabled:"));
    let Some(enabled) = line else {
        eprintln!("skipped: this kernel does not tell who gets huge pages");
        return;
    };
    assert_eq!(enabled.trim(), "0");
}

#[tokio::test]
async fn monitoring_pages_have_what_clients_read() {
    let folder = folder();
    let server = Server::start(folder.path());
    let client = server.client().await;
    client.flush().await.expect("flush");
    for (page, fields) in [
        (
            "/varz",
            &[
                "server_id",
                "version",
                "connections",
                "in_msgs",
                "max_payload",
                "jetstream",
            ][..],
        ),
        ("/connz", &["num_connections", "connections", "total"]),
        ("/jsz", &["streams", "consumers", "messages", "config"]),
        ("/healthz", &["status"]),
    ] {
        let (status, body) = server.get(page).await;
        assert_eq!(status, 200, "{page}: {body}");
        let value: Value = serde_json::from_str(&body).expect("JSON");
        for field in fields {
            assert!(
                value.get(field).is_some(),
                "{page} has no `{field}`: {body}"
            );
        }
    }
    let (_, varz) = server.get("/varz").await;
    let varz: Value = serde_json::from_str(&varz).expect("JSON");
    assert_eq!(varz["connections"], 1);
    let (status, openapi) = server.get("/openapi.json").await;
    assert_eq!(status, 200);
    assert!(openapi.contains("/api/v1/apply"));
    let (status, metrics) = server.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("millstream_connections"), "{metrics}");
    let (status, _) = server.get("/nowhere").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn changes_are_logged_with_their_request() {
    let folder = folder();
    let server = Server::start(folder.path());
    let publish = format!("{}/api/v1/publish", server.http);
    for (id, named) in [("audit-7", true), (&*"x".repeat(65), false)] {
        let request = http().post(&publish).header("X-Request-Id", id).body("{");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        let given = answer.headers()["x-request-id"].to_str().expect("text");
        assert_eq!(given == id, named, "{given}");
        let line = format!("[INF] POST /api/v1/publish request={given} status=400");
        assert!(server.log().contains(&line), "{line}\n{}", server.log());
    }
}

/// Runs `serve` where it must fail, and answers what it says.
fn refused(arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .arg("serve")
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(!output.status.success(), "{}", text(&output));
    text(&output)
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let folder = folder();
    let store = folder.path().join("store");
    let said = refused(&[
        "-p",
        &port,
        "-m",
        "-1",
        "-sd",
        store.to_str().expect("path"),
    ]);
    assert!(said.contains(&port) && said.contains("in use"), "{said}");
    assert!(said.contains("-p"), "says what to do: {said}");
}

#[test]
fn an_unusable_store_folder_is_named() {
    let folder = folder();
    // A file where a folder is needed stops even the superuser, whom permissions do not.
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, "").expect("file");
    fs::set_permissions(&blocked, fs::Permissions::from_mode(0o400)).expect("permissions");
    let store = blocked.join("store");
    let said = refused(&[
        "-p",
        "-1",
        "-m",
        "-1",
        "-js",
        "-sd",
        store.to_str().expect("path"),
    ]);
    assert!(said.contains("blocked"), "{said}");
}

#[test]
fn a_store_has_one_server() {
    let folder = folder();
    let server = Server::start(folder.path());
    let store = folder.path().join("store");
    let said = refused(&[
        "-p",
        "-1",
        "-m",
        "-1",
        "-js",
        "-sd",
        store.to_str().expect("path"),
    ]);
    assert!(said.contains("in use"), "{said}");
    assert!(server.terminate().success());
}

#[test]
fn bad_configuration_names_key_and_line() {
    let folder = folder();
    let file = folder.path().join("bad.conf");
    fs::write(&file, "port: 4222\nmax_paylod: 1MB\ngateway { name: x }\n").expect("file");
    let said = refused(&["-c", file.to_str().expect("path")]);
    assert!(
        said.contains("max_paylod") && said.contains("bad.conf:2"),
        "{said}"
    );
    assert!(
        said.contains("max_payload"),
        "names the nearest key: {said}"
    );
    assert!(
        said.contains("gateway") && said.contains("not supported"),
        "{said}"
    );
    let said = refused(&["--prot", "4222"]);
    assert!(said.contains("--prot") || said.contains("prot"), "{said}");
}

#[tokio::test]
async fn users_and_tokens_are_checked() {
    let folder = folder();
    let server = Server::start_with(folder.path(), &["--user", "ann", "--pass", "s3cret"]);
    assert!(async_nats::connect(&server.nats).await.is_err());
    let wrong = async_nats::ConnectOptions::with_user_and_password("ann".into(), "wrong".into());
    assert!(wrong.connect(&server.nats).await.is_err());
    let right = async_nats::ConnectOptions::with_user_and_password("ann".into(), "s3cret".into());
    right
        .connect(&server.nats)
        .await
        .expect("allowed")
        .flush()
        .await
        .expect("served");

    // Who manages the server over HTTP says who they are, too; monitoring is open, as nats-server's is.
    let (status, body) = server.get("/api/v1/status").await;
    assert_eq!(status, 401, "{body}");
    assert!(body.contains("--server http://USER:PASSWORD@"), "{body}");
    assert_eq!(server.get("/varz").await.0, 200);
    for (login, status) in [("ann:s3cret", 0), ("ann:wrong", 4), ("s3cret", 4)] {
        let address = server.http.replace("http://", &format!("http://{login}@"));
        let output = Command::new(binary())
            .args(["status", "--server", &address])
            .output()
            .expect("it runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(status), "{login}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

/// Runs what follows in a mount namespace of its own, whose store is a file system of 12 MiB with a filler in it.
const SMALL_DISK: &str =
    r#"mount -t tmpfs -o size=12m tmpfs "$1" && fallocate -l 6m "$1/filler" && shift && exec "$@""#;

const NO_SMALL_DISK: &str = "SKIPPED: a full disk needs `unshare -rm` to mount a small one";

/// A server on it, where one can be mounted.
fn on_a_small_disk(folder: &Path) -> Option<Server> {
    let namespaces = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .output();
    if !namespaces.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let store = folder.join("store");
    fs::create_dir(&store).expect("store");
    let configuration = folder.join("small.conf");
    fs::write(&configuration, "millstream { journal_file_size: 1MB }\n").expect("configuration");
    let store = store.to_str().expect("path");
    let wrapper = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", store];
    let configuration = configuration.to_str().expect("path");
    Some(Server::start_under(
        &wrapper,
        folder,
        &["-c", configuration],
    ))
}

async fn disk_stream(server: &Server) -> (jetstream::Context, jetstream::stream::Stream) {
    let context = jetstream::new(server.client().await);
    let config = jetstream::stream::Config {
        name: "disk".to_owned(),
        subjects: vec!["disk.*".to_owned()],
        ..Default::default()
    };
    let stored = context.create_stream(config).await.expect("stream");
    (context, stored)
}

#[tokio::test]
async fn a_full_disk_takes_a_purge_and_has_room_again() {
    let folder = folder();
    let Some(server) = on_a_small_disk(folder.path()) else {
        println!("{NO_SMALL_DISK}");
        return;
    };
    let (stream, stored) = disk_stream(&server).await;
    let publish = async |size: usize| {
        let body = "x".repeat(size);
        let ack = stream.publish("disk.a", body.into()).await.expect("sent");
        ack.await.map(|ack| ack.sequence)
    };
    // As far as it goes.
    let mut held = 0;
    for size in [20_000, 1000, 1] {
        while let Ok(sequence) = publish(size).await {
            held = sequence;
        }
    }
    assert!(held > 200, "{held}");
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("\nmillstream_log_full 1\n"), "{metrics}");
    let (_, status) = server.get("/api/v1/status").await;
    assert!(status.contains("\"full\":true"), "{status}");
    stored.purge().await.expect("there is room for it");
    let next = eventually("room for more", async || publish(20_000).await.ok()).await;
    assert_eq!(next, held + 1);
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("\nmillstream_log_full 0\n"), "{metrics}");
    assert!(server.terminate().success());
}

#[tokio::test]
async fn a_full_disk_refuses_and_harms_nothing() {
    let folder = folder();
    let Some(server) = on_a_small_disk(folder.path()) else {
        println!("{NO_SMALL_DISK}");
        return;
    };
    let store = folder.path().join("store");
    let store = store.to_str().expect("path");
    let (stream, stored) = disk_stream(&server).await;
    let publish = async |number: u64| {
        let body = format!("{number:0>60000}");
        let ack = stream.publish("disk.a", body.into()).await.expect("sent");
        ack.await.map(|ack| ack.sequence)
    };
    let mut held = 0;
    let refusal = loop {
        match publish(held + 1).await {
            Ok(sequence) => held = sequence,
            Err(error) => break error.to_string(),
        }
        assert!(held < 200, "12 MiB hold more than they can");
    };
    assert!(held > 10, "{held}");
    assert!(refusal.contains("disk is full"), "{refusal}");
    for number in 1..=held {
        let message = stored.get_raw_message(number).await.expect("readable");
        assert_eq!(message.payload, format!("{number:0>60000}"));
    }
    let filler = format!("/proc/{}/root{store}/filler", server.pid());
    fs::remove_file(filler).expect("room is made");
    let next = eventually("room for more", async || publish(held + 1).await.ok()).await;
    assert_eq!(next, held + 1);
    assert!(server.terminate().success());
}
