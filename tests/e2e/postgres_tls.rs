//! The door for PostgreSQL's clients with a certificate: psql checks it, and nobody gets in without TLS.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{binary, folder, text};
use crate::postgres::{has_psql, start_door};
use crate::python::run;

/// A certificate for `localhost`, signed by itself, and its key.
fn certificate(place: &Path) -> Result<String, String> {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(place).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]);
    run(&mut openssl)?;
    let place = place.display();
    Ok(format!(
        ", tls {{ cert_file: \"{place}/cert.pem\", key_file: \"{place}/key.pem\" }}"
    ))
}

/// Asks psql with a connection of these parts besides the user.
fn psql(parts: &str, password: &str, command: &str) -> Output {
    Command::new("psql")
        .arg(format!("user=ann dbname=millstream {parts}"))
        .args(["-X", "-A", "-t", "-c", command])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "20")
        .stdin(Stdio::null())
        .output()
        .expect("psql runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_connects_with_tls_and_nobody_without() {
    if !has_psql() {
        return;
    }
    let place = folder();
    let door = match certificate(place.path()) {
        Ok(door) => door,
        Err(why) => {
            let _closed = writeln!(
                std::io::stderr(),
                "SKIPPED: TLS for PostgreSQL clients was NOT tested, no certificate can be made here: {why}"
            );
            return;
        }
    };
    let login = "authorization { user: ann, password: pw }\n";
    let (server, address) = start_door(place.path(), &door, login);
    let (_, port) = address.rsplit_once(':').expect("a port");
    let root = place.path().join("cert.pem");
    let root = root.display();
    let here = format!("hostaddr=127.0.0.1 port={port}");
    let plain = format!("{here} host=127.0.0.1");
    for parts in [
        format!("{plain} sslmode=require"),
        format!("{plain} sslmode=prefer"),
        format!("{here} host=localhost sslmode=verify-full sslrootcert={root}"),
    ] {
        let output = psql(&parts, "pw", "SELECT 1 + 1");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "2\n",
            "{parts}: {}",
            text(&output)
        );
    }
    let output = psql(&format!("{plain} sslmode=require"), "pw", "\\conninfo");
    assert!(
        text(&output).contains("SSL connection (protocol: TLSv1.3"),
        "{}",
        text(&output)
    );
    for (parts, password, why) in [
        (
            format!("{plain} sslmode=disable"),
            "pw",
            "connections are secret here: connect with `sslmode=require`",
        ),
        (
            format!("{plain} sslmode=require"),
            "wrong",
            "password authentication failed",
        ),
        // The certificate is for another name, and signed by nobody that is known.
        (
            format!("{here} host=elsewhere sslmode=verify-full sslrootcert={root}"),
            "pw",
            "does not match host name",
        ),
        (
            format!("{here} host=localhost sslmode=verify-full sslrootcert=/dev/null"),
            "pw",
            "",
        ),
    ] {
        let output = psql(&parts, password, "SELECT 1");
        assert!(!output.status.success(), "{parts}: {}", text(&output));
        assert!(text(&output).contains(why), "{parts}: {}", text(&output));
    }
    drop(server);
    // A key that is none is told before anybody connects.
    fs::write(place.path().join("key.pem"), "no key").expect("a file");
    let config = place.path().join("server.conf");
    let output = Command::new(binary())
        .args(["serve", "-c"])
        .arg(&config)
        .args(["-p", "-1", "-sd"])
        .arg(place.path().join("other"))
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(
        !output.status.success() && text(&output).contains("no private key in PEM"),
        "{}",
        text(&output)
    );
}
