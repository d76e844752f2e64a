"""Reads the flights back: python consume.py [nats://127.0.0.1:4222]

The third consumer asks the broker for JSON, whatever is stored: it needs no schema and no library.
"""

import asyncio
import io
import json
import pathlib
import sys

import fastavro
import nats
from flight_message import Airport, Flight
from nats.js.api import ConsumerConfig

HERE = pathlib.Path(__file__).resolve().parent
AVRO = fastavro.schema.load_schema(HERE.parent / "flight.avsc")


async def read(stream, station, decode, metadata=None):
    config = ConsumerConfig(metadata=metadata)
    consumer = await stream.pull_subscribe("", stream=station, config=config)
    waiting = (await stream.stream_info(station)).state.messages
    flights = []
    while len(flights) < waiting:
        for message in await consumer.fetch(min(100, waiting - len(flights)), timeout=10):
            flights.append(decode(message.data))
            await message.ack()
    await consumer.unsubscribe()
    return flights


async def main():
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    connection = await nats.connect(server)
    stream = connection.jetstream()
    avro = await read(stream, "flights-avro", lambda data: fastavro.schemaless_reader(io.BytesIO(data), AVRO))
    messages = await read(stream, "flights-protobuf", Flight.FromString)
    as_json = await read(stream, "flights-avro", json.loads, {"ms.decode": "json"})
    stored = await read(stream, "flights-json", json.loads)
    for one, message, told, plain in zip(avro, messages, as_json, stored, strict=True):
        assert one["carrier"] == message.carrier == told["carrier"] == plain["carrier"]
        assert one["origin"] == Airport.Name(message.origin) == told["origin"] == plain["origin"]
        assert one["dep_delay"] == told["dep_delay"] == plain["dep_delay"]
        assert message.HasField("dep_delay") == (plain["dep_delay"] is not None)
        assert one["time_hour"] == message.time_hour.ToDatetime(one["time_hour"].tzinfo)
        assert told["time_hour"] == plain["time_hour"]
    print(f"read {len(stored)} flights four times; they are the same")
    await connection.close()


asyncio.run(main())
