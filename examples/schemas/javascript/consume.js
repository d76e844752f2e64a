// Reads the flights back: node consume.js [127.0.0.1:4222]
// The last consumer asks the broker for JSON, whatever is stored: it needs no schema and no library.
import assert from "node:assert";
import { AckPolicy, connect } from "nats";
import { avroBinary, json, protobufBinary } from "./flight.js";

const [servers = "127.0.0.1:4222"] = process.argv.slice(2);
const connection = await connect({ servers });
const stream = connection.jetstream();
const manager = await connection.jetstreamManager();

async function read(station, form, metadata) {
  const made = await manager.consumers.add(station, { ack_policy: AckPolicy.Explicit, metadata });
  const consumer = await stream.consumers.get(station, made.name);
  const { state } = await manager.streams.info(station);
  const flights = [];
  while (flights.length < state.messages) {
    const messages = await consumer.fetch({ max_messages: Math.min(100, state.messages - flights.length) });
    for await (const message of messages) {
      flights.push(form.decode(message.data));
      message.ack();
    }
  }
  await manager.consumers.delete(station, made.name);
  return flights;
}

const stored = await read("flights-json", json);
const inAvro = await read("flights-avro", avroBinary);
const inProtobuf = await read("flights-protobuf", protobufBinary);
const asJson = await read("flights-protobuf", json, { "ms.decode": "json" });
stored.forEach((flight, at) => {
  for (const other of [inAvro[at], inProtobuf[at], asJson[at]]) {
    assert.equal(other.carrier, flight.carrier);
    assert.equal(other.origin, flight.origin);
    assert.equal(other.dep_delay ?? null, flight.dep_delay);
  }
  assert.equal(inAvro[at].time_hour, flight.time_hour);
  assert.equal(asJson[at].time_hour, flight.time_hour);
});
console.log(`read ${stored.length} flights four times; they are the same`);
await connection.close();
