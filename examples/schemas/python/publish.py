"""Publishes flights as JSON, Avro and Protobuf: python publish.py [nats://127.0.0.1:4222] [how many]

Needs: pip install nats-py fastavro protobuf grpcio-tools
"""

import asyncio
import datetime
import io
import itertools
import json
import pathlib
import sys

import fastavro
import nats
from flight_message import Flight, from_record

HERE = pathlib.Path(__file__).resolve().parent
RECORDS = HERE.parent.parent / "flights" / "flights.jsonl"
AVRO = fastavro.schema.load_schema(HERE.parent / "flight.avsc")


def as_json(record):
    return json.dumps(record).encode()


def as_avro(record):
    time = datetime.datetime.fromisoformat(record["time_hour"].replace("Z", "+00:00"))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, AVRO, {**record, "time_hour": time})
    return out.getvalue()


def as_protobuf(record):
    return from_record(record).SerializeToString()


async def main():
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    connection = await nats.connect(server)
    stream = connection.jetstream()
    with open(RECORDS) as file:
        records = [json.loads(line) for line in itertools.islice(file, count)]
    for word, encode in [("json", as_json), ("avro", as_avro), ("protobuf", as_protobuf)]:
        for record in records:
            await stream.publish(f"flights.{word}.{record['carrier']}", encode(record))
        print(f"published {len(records)} flights as {word}")

    # What does not fit is refused, with the place and the reason.
    wrong = [
        ("json", as_json({**records[0], "origin": "LHR"})),
        ("avro", as_avro(records[0])[:-1]),
        ("protobuf", b"\x0a\xff"),
    ]
    for word, payload in wrong:
        try:
            await stream.publish(f"flights.{word}.wrong", payload)
        except nats.js.errors.Error as error:
            print(f"refused as {word}: {error.description}")
        else:
            sys.exit(f"a wrong flight was stored as {word}")
    await connection.close()


asyncio.run(main())
