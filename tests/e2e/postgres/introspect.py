"""SQLAlchemy's reflection, and questions that it makes of what it found."""

import sys

from sqlalchemy import Integer, MetaData, Table, cast, create_engine, func, inspect, select, text

url, united = sys.argv[1], int(sys.argv[2])
engine = create_engine(url)
found = inspect(engine)
assert found.default_schema_name == "stations"
schemas = found.get_schema_names()
assert {"stations", "system", "information_schema"} <= set(schemas) and "pg_catalog" not in schemas, schemas
assert "flights" in found.get_table_names()
assert "streams" in found.get_table_names(schema="system")
assert found.get_view_names() == [] and found.get_materialized_view_names() == []
columns = {column["name"]: column for column in found.get_columns("flights")}
types = {name: str(column["type"]) for name, column in columns.items()}
assert types["carrier"] == "TEXT" and types["flight"] == "BIGINT" and types["_headers"] == "JSON", types
assert types["_time"].startswith("TIMESTAMP") and columns["_time"]["type"].timezone, types
assert columns["carrier"]["nullable"] and columns["carrier"]["default"] is None
assert len(found.get_columns("flights", schema="stations")) == len(columns)
assert found.get_pk_constraint("flights")["constrained_columns"] == []
for nothing in (
    found.get_foreign_keys("flights"), found.get_indexes("flights"), found.get_unique_constraints("flights"),
    found.get_check_constraints("flights"), found.get_enums(), found.get_domains(), found.get_sequence_names(),
):
    assert nothing == [], nothing
assert found.get_table_comment("flights") == {"text": None}
assert found.has_table("flights") and not found.has_table("nobody")
flights = Table("flights", MetaData(), autoload_with=engine)
with engine.connect() as conn:
    question = select(flights.c.carrier, func.count()).where(flights.c.carrier.in_(["UA", "AA"]))
    question = question.group_by(flights.c.carrier).order_by(flights.c.carrier)
    rows = conn.execute(question).fetchall()
    assert [row[0] for row in rows] == ["AA", "UA"] and rows[1][1] == united, rows
    question = select(flights.c.carrier.label("x"), cast(flights.c.flight, Integer)).where(flights.c._time < func.now())
    assert conn.execute(question.limit(3)).fetchall()
    found = conn.execute(text("SELECT count(*) FROM flights WHERE carrier = :carrier"), {"carrier": "UA"})
    assert found.scalar() == united
with engine.connect().execution_options(stream_results=True) as conn:
    found = conn.execute(text("SELECT * FROM flights WHERE carrier = 'UA'"))
    assert sum(1 for _ in found) == united
print("all done")
