"""psycopg 3 against a server with flights: what its users write."""

import datetime
import decimal
import sys
import threading

import psycopg
from psycopg.types import TypeInfo

dsn, united, american = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def connect(**more):
    return psycopg.connect(dsn, **more)


def refused(conn, sql, parameters=None):
    try:
        conn.execute(sql, parameters)
    except psycopg.Error as error:
        return error
    raise AssertionError(f"{sql} was not refused")


def values(conn):
    utc = datetime.timezone.utc
    sql = """SELECT CAST(1.5 AS DECIMAL(10, 2)) AS d, CAST('2024-01-02' AS DATE) AS day, TRUE AS truth, NULL AS nothing,
             1.25 AS f, TIMESTAMP '2024-01-02 03:04:05' AS t, TIME '03:04:05' AS tt, make_array(1, 2, NULL) AS a,
             make_array('x', 'y, "z"') AS words, _headers, CAST(3 AS SMALLINT) AS s, _time, CAST('x' AS BYTEA) AS b
             FROM flights LIMIT 1"""
    for binary in (False, True):
        row = conn.cursor(binary=binary).execute(sql).fetchone()
        assert row[:11] == (
            decimal.Decimal("1.50"), datetime.date(2024, 1, 2), True, None, 1.25, datetime.datetime(2024, 1, 2, 3, 4, 5),
            datetime.time(3, 4, 5), [1, 2, None], ["x", 'y, "z"'], {}, 3,
        ), row
        assert abs(row[11] - datetime.datetime.now(utc)) < datetime.timedelta(hours=1), row
        assert row[12] == b"x", row
    shown = [(c.name, c.type_display) for c in conn.execute(sql).description[:2]]
    assert shown == [("d", "numeric(10,2)"), ("day", "date")], shown


def parameters(conn):
    def count(where, *given):
        return conn.execute(f"SELECT count(*) FROM flights WHERE {where}", given).fetchone()[0]

    assert count("carrier = %s", "UA") == united
    assert count("carrier = ANY(%s)", ["UA", "AA"]) == united + american
    assert count("flight = ANY(%s) OR carrier = %s", [], "AA") == american
    assert count("carrier <> ALL(%s)", ["UA"]) == count("carrier <> %s", "UA")
    assert count("flight = ANY(%s)", [1, 2, 3]) == count("flight IN (%s, %s, %s)", 1, 2, 3)
    assert count("flight = ANY(%b)", [1, 2, 3]) == count("flight IN (1, 2, 3)")
    assert count("dep_delay > %s::int", 10) == count("dep_delay > %s", decimal.Decimal("10.0"))
    assert count("carrier = %s", None) == 0
    now = datetime.datetime.now(datetime.timezone.utc)
    assert count("_time < %s", now + datetime.timedelta(days=1)) == count("%s", True)
    # The same statement again and again is prepared by the driver.
    for carrier in ["UA", "AA"] * 5:
        count("carrier = %s", carrier)
    found = conn.execute("SELECT carrier FROM flights LIMIT %s OFFSET %s", (2, 1)).fetchall()
    assert len(found) == 2
    found = conn.cursor()
    found.executemany("SELECT count(*) FROM flights WHERE carrier = %s", [("UA",), ("AA",)], returning=True)
    assert found.fetchone() == (united,)


def names(conn):
    found = conn.execute("SELECT count(*), max(flight), 1 AS a, 2 AS a, flight::text, flight::numeric FROM flights GROUP BY flight LIMIT 1")
    found = [column.name for column in found.description]
    assert found == ["count", "max", "a", "a", "flight", "flight"], found


def cursors():
    with connect() as conn:
        with conn.cursor("ours") as cursor:
            cursor.execute("SELECT _sequence FROM flights WHERE carrier = %s ORDER BY _sequence", ("UA",))
            assert [column.name for column in cursor.description] == ["_sequence"]
            first, second = cursor.fetchmany(2), cursor.fetchone()
            assert first[0] < first[1] < second, (first, second)
            assert sum(1 for _ in cursor) == united - 3
        with conn.cursor("theirs", binary=True) as cursor:
            cursor.execute("SELECT _sequence FROM flights ORDER BY _sequence")
            cursor.scroll(5)
            assert cursor.fetchone() == (6,)
        conn.execute("DECLARE plain CURSOR FOR SELECT 1 AS one")
        conn.rollback()
        error = refused(conn, "FETCH 1 FROM plain")
        assert error.sqlstate == "34000", error
    with connect(autocommit=True) as conn:
        error = refused(conn, "DECLARE a CURSOR FOR SELECT 1 AS one")
        assert error.sqlstate == "25P01", error
        # More than there are turns: those that were closed have given theirs back.
        for _ in range(10):
            with conn.cursor("held", withhold=True) as cursor:
                cursor.execute("SELECT _sequence FROM flights ORDER BY _sequence")
                assert cursor.fetchmany(2) == [(1,), (2,)]
        assert sum(1 for _ in conn.cursor().stream("SELECT _sequence FROM flights WHERE carrier = %s", ("UA",))) == united


def copies(conn):
    sql = "SELECT carrier, flight, NULL AS nothing FROM flights ORDER BY _sequence LIMIT 2"
    rows = conn.execute(sql).fetchall()
    with conn.cursor().copy(f"COPY ({sql}) TO STDOUT") as copy:
        assert [(a, int(b), c) for a, b, c in copy.rows()] == rows
    with conn.cursor().copy(f"COPY ({sql}) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int8", "text"])
        assert list(copy.rows()) == rows
    with conn.cursor().copy("COPY (SELECT carrier FROM flights WHERE carrier = %s) TO STDOUT", ("UA",)) as copy:
        assert sum(1 for _ in copy.rows()) == united


def transactions():
    with connect() as conn:
        conn.read_only = True
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert conn.execute("SELECT 1 AS a").fetchone() == (1,)
        with conn.transaction():
            conn.execute("SELECT 1 AS a")
        conn.commit()
        error = refused(conn, "SELECT nope FROM flights")
        assert error.sqlstate == "42703" and error.diag.statement_position == "8", error
        conn.rollback()
        assert conn.execute("SELECT 2 AS a").fetchone() == (2,)
        try:
            with conn.transaction():
                conn.execute("SELECT nope FROM flights")
        except psycopg.errors.UndefinedColumn:
            pass
        assert conn.execute("SELECT 2 AS a").fetchone() == (2,)


def errors(conn):
    for sql, code in [
        ("SELEC 1", "42601"), ("SELECT * FROM nope", "42P01"), ("SELECT nofn(1) AS a", "42883"), ("SELECT 1/0 AS a", "22012"),
        ("SELECT CAST('x' AS INT) AS a", "22P02"), ("INSERT INTO flights VALUES (1)", "25006"),
        ("SELECT carrier FROM flights GROUP BY dep_delay", "42803"), ("COPY flights FROM STDIN", "0A000"),
    ]:
        error = refused(conn, sql)
        assert error.sqlstate == code, (sql, error.sqlstate, error)
    with conn.pipeline():
        one = conn.execute("SELECT 1 AS a")
        two = conn.execute("SELECT count(*) FROM flights WHERE carrier = %s", ("UA",))
        assert (one.fetchone(), two.fetchone()) == ((1,), (united,))


ENDLESS = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b"


def limits():
    with connect(autocommit=True, options="-c statement_timeout=200") as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("200",)
        assert refused(conn, ENDLESS).sqlstate == "57014"
    with connect(autocommit=True) as conn:
        timer = threading.Timer(0.5, conn.cancel_safe)
        timer.start()
        error = refused(conn, ENDLESS)
        assert error.sqlstate == "57014" and "cancelled" in str(error), error
        conn.execute("SET application_name TO 'ours'")
        found = conn.execute("SELECT current_setting('application_name'), set_config('search_path', 'system', false)")
        assert found.fetchone() == ("ours", "system")
        assert conn.execute("SELECT current_schema()").fetchone() == ("system",)
        assert conn.execute("SELECT count(*) FROM streams").fetchone()[0] > 0
        conn.execute("RESET search_path")
        info = TypeInfo.fetch(conn, "timestamptz")
        assert (info.oid, info.array_oid, info.regtype) == (1184, 1185, "timestamp with time zone"), info


with connect(autocommit=True) as conn:
    assert conn.info.server_version >= 150000
    values(conn)
    parameters(conn)
    names(conn)
    copies(conn)
    errors(conn)
cursors()
transactions()
limits()
print("all done")
