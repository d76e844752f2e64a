//! Clients of PostgreSQL that people have, unmodified and from their registries, against a server with real flights: psycopg,
//! SQLAlchemy, node's `pg`, JDBC; and what BI tools ask of the catalog.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Server, folder, text};
use crate::postgres::{has_psql, start};
use crate::python::{environment, run};
use crate::queries::fill;

const PYTHON: &str = include_str!("postgres/client.py");
const REFLECTION: &str = include_str!("postgres/introspect.py");
const NODE: &str = include_str!("postgres/client.js");
const JAVA: &str = include_str!("postgres/Client.java");
const CATALOG: &str = include_str!("postgres/catalog.sql");

/// A server with flights, its address, and how many of two carriers there are.
async fn flights(place: &Path) -> (Server, String, [String; 2]) {
    let (server, address) = start(place, "");
    let flights = fill(&server).await;
    let count = |carrier: &str| {
        let own = flights.iter().filter(|flight| flight["carrier"] == carrier);
        own.count().to_string()
    };
    (server, address, [count("UA"), count("AA")])
}

fn skipped(what: &str, why: &str) {
    let _closed = writeln!(
        std::io::stderr(),
        "SKIPPED: {what} was NOT tested, it cannot be had here: {why}"
    );
}

fn ends_well(command: &mut Command, server: &Server) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(
        output.status.success() && text(&output).ends_with("all done\n"),
        "{}\n{}",
        text(&output),
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_and_sqlalchemy_work_unmodified() {
    let place = folder();
    let mut python = match environment(place.path(), "psycopg[binary]==3.3.9") {
        Ok(python) => python,
        Err(why) => return skipped("psycopg", &why),
    };
    let (server, address, counts) = flights(place.path()).await;
    let script = place.path().join("client.py");
    fs::write(&script, PYTHON).expect("script");
    let dsn = format!("{address}/millstream?user=ann");
    python.arg(&script).arg(&dsn).args(&counts);
    ends_well(&mut python, &server);
    let program = place.path().join("venv/bin/python");
    let more = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "sqlalchemy==2.1.9",
    ];
    if let Err(why) = run(Command::new(&program).args(more)) {
        return skipped("SQLAlchemy", &why);
    }
    let script = place.path().join("introspect.py");
    fs::write(&script, REFLECTION).expect("script");
    let url = address.replace("postgres://", "postgresql+psycopg://ann@");
    let mut python = Command::new(&program);
    python.arg(&script).arg(format!("{url}/millstream"));
    ends_well(python.arg(&counts[0]), &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_works_unmodified() {
    let place = folder();
    let folder = place.path().join("node");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("package.json"), "{\"private\":true}").expect("a file");
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "pg@8",
        "pg-cursor@2",
    ]);
    if let Err(why) = run(&mut npm) {
        return skipped("node's `pg`", &why);
    }
    let (server, address, counts) = flights(place.path()).await;
    let script = folder.join("client.js");
    fs::write(&script, NODE).expect("script");
    let (host, port) = address
        .trim_start_matches("postgres://")
        .rsplit_once(':')
        .expect("a port");
    let mut node = Command::new("node");
    ends_well(node.arg(&script).args([host, port]).args(&counts), &server);
}

/// The driver: where Debian puts it, or from Debian's registry.
fn jdbc(place: &Path) -> Result<PathBuf, String> {
    let installed = PathBuf::from("/usr/share/java/postgresql.jar");
    if installed.is_file() {
        return Ok(installed);
    }
    let package = "libpostgresql-jdbc-java";
    run(Command::new("apt-get")
        .current_dir(place)
        .args(["download", package]))?;
    let files = fs::read_dir(place).map_err(|error| error.to_string())?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
    let found = files.flatten().map(|file| file.path()).find(is_package);
    let found = found.ok_or("no package was downloaded")?;
    run(Command::new("dpkg").arg("-x").arg(found).arg(place))?;
    Ok(place.join("usr/share/java/postgresql.jar"))
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_works_unmodified() {
    let place = folder();
    let driver = match jdbc(place.path()) {
        Ok(driver) => driver,
        Err(why) => return skipped("JDBC", &why),
    };
    let source = place.path().join("Client.java");
    fs::write(&source, JAVA).expect("a file");
    let mut compile = Command::new("javac");
    compile.arg("-cp").arg(&driver).arg("-d").arg(place.path());
    match run(compile.arg(&source)) {
        Err(why) if why.contains("No such file") => return skipped("JDBC", &why),
        compiled => compiled.expect("it compiles"),
    }
    let (server, address, counts) = flights(place.path()).await;
    let address = address.replace("postgres://", "jdbc:postgresql://");
    let path = format!("{}:{}", driver.display(), place.path().display());
    let mut java = Command::new("java");
    java.args(["-cp", &path, "Client"])
        .arg(format!("{address}/millstream?user=ann"));
    ends_well(java.args(&counts), &server);
}

/// What tools ask, each behind a line that says who asks and what must be in the answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_bi_tools_ask_of_the_catalog_is_answered() {
    if !has_psql() {
        return;
    }
    let place = folder();
    let (_server, address, _) = flights(place.path()).await;
    let mut count = 0;
    for asked in CATALOG.split("-- ask: ").skip(1) {
        let (who, rest) = asked.split_once('\n').expect("who asks");
        let (want, sql) = rest.split_once('\n').expect("what is wanted");
        let want = want.strip_prefix("-- want: ").expect("what is wanted");
        let output = Command::new("psql")
            .args([&address, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c"])
            .args([sql.trim(), "-U", "ann"])
            .stdin(Stdio::null())
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{who}: {}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout);
        match want {
            "nothing" => assert_eq!(said.trim(), "", "{who}"),
            want => assert!(
                said.lines().any(|line| line.starts_with(want)),
                "{who} wants `{want}`:\n{said}"
            ),
        }
        count += 1;
    }
    assert!(count > 10, "{count} questions");
}
