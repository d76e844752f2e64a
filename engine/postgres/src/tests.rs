//! A server of this protocol over tables in memory, asked by a real client.

use std::sync::Arc;
use std::time::Duration;

use millstream_access::{Authenticator, User};
use millstream_pipeline::{Column, ColumnKind, Record};
use millstream_sql::query::{Bounds, Page, Pages, Table, Tables};
use millstream_types::{Message, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use crate::catalog::{Catalog, rewritten};
use crate::{Options, Postgres};

/// A station with so many messages `{"n": …, "word": …}`; every thousandth is no JSON.
#[derive(Clone, Copy, Debug)]
struct Numbers(u64);

impl Tables for Numbers {
    fn groups(&self) -> Vec<String> {
        vec!["stations".to_owned(), "system".to_owned()]
    }

    fn names(&self, group: &str) -> Vec<String> {
        let name = if group == "stations" {
            "numbers"
        } else {
            "streams"
        };
        vec![name.to_owned()]
    }

    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        Ok(match (group, name) {
            ("stations", "numbers") => Some(Arc::new(*self)),
            _ => None,
        })
    }
}

impl Table for Numbers {
    fn columns(&self) -> Vec<Column> {
        [
            ("n", ColumnKind::Int64),
            ("word", ColumnKind::String),
            ("more", ColumnKind::Json),
        ]
        .map(|(name, kind)| Column {
            name: name.to_owned(),
            kind,
            nullable: true,
        })
        .into()
    }

    fn is_stored(&self) -> bool {
        true
    }

    fn pages(&self, _: &Bounds) -> Box<dyn Pages> {
        Box::new(Read {
            next: 1,
            last: self.0,
        })
    }
}

struct Read {
    next: u64,
    last: u64,
}

impl Pages for Read {
    fn next(&mut self) -> Result<Page, String> {
        let mut page = Page::default();
        while self.next <= self.last && page.records.len() < 1000 {
            let n = self.next;
            let payload = if n.is_multiple_of(1000) {
                "no JSON".to_owned()
            } else {
                json!({ "n": n, "word": format!("w{n}"), "more": [n] }).to_string()
            };
            let message = Message {
                subject: "numbers.a".into(),
                payload: payload.into(),
                ..Message::default()
            };
            let time = Timestamp(i64::try_from(n).expect("small") * 1_000_000_000);
            page.records.push(Record::new(message, time));
            page.sequences.push(n);
            self.next += 1;
        }
        Ok(page)
    }
}

async fn server(count: u64, auth: Authenticator) -> Postgres {
    let options = Options {
        listen: "127.0.0.1:0".parse().expect("an address"),
        tls: None,
        auth,
        tables: Arc::new(Numbers(count)),
        turns: Arc::new(Semaphore::new(4)),
        memory: 64 << 20,
        time: Duration::from_secs(60),
        most_time: Duration::from_secs(600),
        connections: 3,
        version: "0.0".to_owned(),
    };
    Postgres::start(options).await.expect("it listens")
}

async fn connect(server: &Postgres, login: &str) -> Result<Client, Error> {
    let address = server.address();
    let (host, port) = (address.ip(), address.port());
    let config = format!("host={host} port={port} dbname=any {login}");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn client(count: u64) -> (Postgres, Client) {
    let server = server(count, Authenticator::none()).await;
    let client = connect(&server, "user=ann").await.expect("let in");
    (server, client)
}

fn code(error: &Error) -> &SqlState {
    error.code().unwrap_or_else(|| panic!("no code: {error}"))
}

#[tokio::test]
async fn prepared_statements_have_parameters_and_values_in_binary() {
    let (_server, client) = client(20).await;
    let sql = "SELECT n, word, more, _time, _subject, n / 4.0 AS part, n > 10 AS big, NULL AS nothing, CAST(n AS INT) AS small \
               FROM numbers WHERE n > $1 AND word <> $2 ORDER BY n LIMIT 2";
    let statement = client.prepare(sql).await.expect("prepared");
    let types: Vec<_> = statement.params().iter().map(|of| of.name()).collect();
    assert_eq!(types, ["int8", "text"]);
    let types: Vec<_> = statement
        .columns()
        .iter()
        .map(|column| column.type_().name())
        .collect();
    assert_eq!(
        types,
        [
            "int8",
            "text",
            "json",
            "timestamptz",
            "text",
            "float8",
            "bool",
            "text",
            "int4"
        ]
    );
    let rows = client
        .query(&statement, &[&9_i64, &"w10"])
        .await
        .expect("rows");
    assert_eq!(rows.len(), 2);
    let row = &rows[0];
    assert_eq!(row.get::<_, i64>(0), 11);
    assert_eq!(row.get::<_, &str>(1), "w11");
    assert_eq!(row.get::<_, Value>(2), json!([11]));
    let time: chrono::DateTime<chrono::Utc> = row.get(3);
    assert_eq!(time.timestamp(), 11);
    assert_eq!(row.get::<_, &str>(4), "numbers.a");
    assert!((row.get::<_, f64>(5) - 2.75).abs() < f64::EPSILON);
    assert!(row.get::<_, bool>(6));
    assert_eq!(row.get::<_, Option<&str>>(7), None);
    assert_eq!(row.get::<_, i32>(8), 11);
    // The same statement with other values.
    let rows = client
        .query(&statement, &[&18_i64, &"w19"])
        .await
        .expect("rows");
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn several_statements_of_a_text_are_answered_one_by_one() {
    let (_server, client) = client(2000).await;
    let text = "BEGIN; SET application_name = 'test'; SHOW application_name; SELECT count(n) AS n FROM numbers; COMMIT";
    let answers = client.simple_query(text).await.expect("answers");
    let value = |name: &str| {
        answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.try_get(name).ok().flatten().map(str::to_owned),
            _ => None,
        })
    };
    assert_eq!(value("application_name").as_deref(), Some("test"));
    assert_eq!(value("n").as_deref(), Some("1998"));
    let answers = client
        .simple_query("SELECT version()")
        .await
        .expect("answers");
    let said = format!("{answers:?}");
    assert!(said.contains("PostgreSQL 15.0 (Millstream)"), "{said}");
}

#[tokio::test]
async fn what_is_wrong_has_a_code_and_a_place() {
    let (_server, client) = client(5).await;
    for (sql, want, place) in [
        (
            "SELECT n,\n  whom FROM numbers",
            SqlState::UNDEFINED_COLUMN,
            Some(13),
        ),
        ("SELECT * FROM nobody", SqlState::UNDEFINED_TABLE, Some(15)),
        ("SELECT 'ä', FROM", SqlState::SYNTAX_ERROR, None),
        (
            "DELETE FROM numbers",
            SqlState::READ_ONLY_SQL_TRANSACTION,
            Some(1),
        ),
        (
            "SELECT shout(word) FROM numbers",
            SqlState::UNDEFINED_FUNCTION,
            Some(8),
        ),
        ("SHOW nothing.of_that", SqlState::UNDEFINED_OBJECT, None),
        (
            "SET statement_timeout = soon",
            SqlState::INVALID_PARAMETER_VALUE,
            None,
        ),
        (
            "SELECT pg_no_such_thing()",
            SqlState::UNDEFINED_FUNCTION,
            None,
        ),
    ] {
        for error in [
            client.simple_query(sql).await.expect_err(sql),
            client.query(sql, &[]).await.expect_err(sql),
        ] {
            assert_eq!(*code(&error), want, "{sql}: {error:?}");
            let found = error
                .as_db_error()
                .and_then(|error| error.position().cloned());
            if let Some(place) = place {
                let want = Some(tokio_postgres::error::ErrorPosition::Original(place));
                assert_eq!(found, want, "{sql}: {error:?}");
            }
        }
    }
    // The connection goes on.
    let row = client.query_one("SELECT 1 AS a", &[]).await.expect("a row");
    assert_eq!(row.get::<_, i64>(0), 1);
}

const ENDLESS: &str =
    "SELECT count(*) AS n FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b";

#[tokio::test]
async fn what_runs_is_cancelled_and_has_a_deadline() {
    let (_server, client) = client(5).await;
    let token = client.cancel_token();
    let running = client.query_one(ENDLESS, &[]);
    let cancel = async {
        loop {
            // Before it runs there is nothing to cancel.
            token.cancel_query(NoTls).await.expect("sent");
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::select! {
        answer = running => answer.expect_err("cancelled"),
        () = cancel => unreachable!("it goes on"),
    };
    assert_eq!(*code(&error), SqlState::QUERY_CANCELED);
    client
        .simple_query("SET statement_timeout = '50ms'")
        .await
        .expect("set");
    let error = client.simple_query(ENDLESS).await.expect_err("too slow");
    assert_eq!(*code(&error), SqlState::QUERY_CANCELED);
    let said = error.as_db_error().map(|error| error.message().to_owned());
    let said = said.unwrap_or_default();
    assert!(said.contains("took longer than 50ms"), "{said}");
}

#[tokio::test]
async fn a_large_answer_comes_in_parts_and_its_client_may_stop() {
    let (_server, mut client) = client(300_000).await;
    let transaction = client.transaction().await.expect("begun");
    let portal = transaction
        .bind("SELECT n FROM numbers", &[])
        .await
        .expect("bound");
    let mut last = 0;
    for _ in 0..3 {
        let rows = transaction.query_portal(&portal, 100).await.expect("rows");
        assert_eq!(rows.len(), 100);
        last = rows[99].get::<_, i64>(0);
    }
    assert_eq!(last, 300);
    transaction.rollback().await.expect("ended");
    // What nobody reads any more has given its turn back: there are four.
    for _ in 0..8 {
        let transaction = client.transaction().await.expect("begun");
        let portal = transaction
            .bind("SELECT n FROM numbers", &[])
            .await
            .expect("bound");
        let rows = transaction.query_portal(&portal, 1).await.expect("rows");
        assert_eq!(rows.len(), 1);
        transaction.rollback().await.expect("ended");
    }
    let rows = client
        .query("SELECT n FROM numbers", &[])
        .await
        .expect("all of them");
    assert_eq!(rows.len(), 299_700);
}

#[tokio::test]
async fn only_who_may_is_let_in() {
    let user = User {
        name: "ann".to_owned(),
        password: "pw".to_owned(),
    };
    let own = server(1, Authenticator::users(vec![user])).await;
    for login in [
        "user=ann password=wrong",
        "user=bob password=pw",
        "user=ann password=''",
    ] {
        let error = connect(&own, login)
            .await
            .err()
            .unwrap_or_else(|| panic!("{login}"));
        if login != "user=ann password=''" {
            assert_eq!(*code(&error), SqlState::INVALID_PASSWORD, "{login}");
        }
    }
    let client = connect(&own, "user=ann password=pw").await.expect("let in");
    client.query_one("SELECT 1 AS a", &[]).await.expect("a row");
    // A token is the password of whoever.
    let own = server(1, Authenticator::token("secret")).await;
    assert!(connect(&own, "user=any password=no").await.is_err());
    connect(&own, "user=any password=secret")
        .await
        .expect("let in");
}

#[tokio::test]
async fn there_are_only_so_many_connections() {
    let server = server(1, Authenticator::none()).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(connect(&server, "user=a").await.expect("let in"));
    }
    let error = connect(&server, "user=a").await.expect_err("one too many");
    assert_eq!(*code(&error), SqlState::TOO_MANY_CONNECTIONS);
    server.stop();
}

/// Questions that `psql` 15, drivers and BI tools ask; each is answered with so many rows.
const ASKED: &[(&str, usize)] = &[
    (
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.~) '^(numbers)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid) \
         ORDER BY 2, 3",
        1,
    ),
    (
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) \
         FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
         (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t WHERE c.oid = a.attcollation AND t.oid = a.atttypid \
         AND a.attcollation <> t.typcollation) AS attcollation, a.attidentity, a.attgenerated FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = 'numbers'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        7,
    ),
    (
        "SELECT pubname, NULL, NULL FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_namespace pn ON p.oid = pn.pnpubid \
      UNION SELECT pubname, pg_get_expr(pr.prqual, c.oid), NULL FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel pr \
      ON p.oid = pr.prpubid JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid ORDER BY 1",
        0,
    ),
    (
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
        2,
    ),
    (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'numbers' ORDER BY ordinal_position",
        7,
    ),
    (
        "select nspname from pg_namespace where nspname = any(current_schemas(false))",
        1,
    ),
    (
        "SELECT t.oid, typname FROM pg_type t WHERE t.typname = 'timestamptz'",
        1,
    ),
    (
        "SELECT current_schema(), session_user, current_database()",
        1,
    ),
    ("SELECT count(*) AS n FROM pg_index", 1),
    (
        "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'postgis') AS found",
        1,
    ),
    ("SHOW ALL", 25),
];

#[tokio::test]
async fn what_tools_ask_of_the_catalog_is_answered() {
    let (_server, client) = client(5).await;
    for (sql, want) in ASKED {
        let answers = client.simple_query(sql).await;
        let answers = answers.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = answers
            .iter()
            .filter(|answer| matches!(answer, SimpleQueryMessage::Row(_)));
        assert_eq!(rows.count(), *want, "{sql}: {answers:?}");
    }
}

#[test]
fn only_questions_to_the_catalog_are_put_in_other_words() {
    let tables: Arc<dyn Tables> = Arc::new(Numbers(1));
    let catalog = Catalog::new(&tables, &Arc::default(), &Arc::default());
    assert_eq!(
        rewritten("SELECT * FROM numbers WHERE word = 'pg_class'", &catalog),
        None
    );
    let found = rewritten(
        "SELECT 'pg_class'::regclass, n.oid::text FROM pg_namespace n",
        &catalog,
    );
    assert_eq!(
        found.as_deref(),
        Some(r#"SELECT 1259 AS "regclass", n.oid::TEXT AS "oid" FROM pg_catalog.pg_namespace n"#)
    );
}
