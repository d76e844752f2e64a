//! The face nats-server's tools know: flags, log lines, files, signals, monitoring; and clear errors when it cannot start.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, binary, folder, text};

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
}
