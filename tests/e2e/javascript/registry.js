// A JavaScript client of Confluent's interface, unmodified, against Millstream's schema registry. Arguments: its URL.
const assert = require("node:assert");
const { COMPATIBILITY, SchemaRegistry, SchemaType } = require("@kafkajs/confluent-schema-registry");

const host = process.argv[2];

async function main() {
  const registry = new SchemaRegistry({ host });
  const avro = JSON.stringify({
    type: "record", name: "Seat", namespace: "com.example",
    fields: [{ name: "row", type: "int" }, { name: "letter", type: "string" }],
  });
  const one = await registry.register({ type: SchemaType.AVRO, schema: avro }, { subject: "js-seat" });
  const seat = { row: 12, letter: "C" };
  const data = await registry.encode(one.id, seat);
  assert.strictEqual(data.readUInt8(0), 0);
  assert.strictEqual(data.readUInt32BE(1), one.id);
  const reader = new SchemaRegistry({ host });
  assert.deepEqual({ ...(await reader.decode(data)) }, seat);
  assert.strictEqual(await reader.getLatestSchemaId("js-seat"), one.id);
  assert.strictEqual(await reader.getRegistryId("js-seat", 1), one.id);
  assert.strictEqual(await reader.getRegistryIdBySchema("js-seat", { type: SchemaType.AVRO, schema: avro }), one.id);

  const broken = avro.replace('"fields":[', '"fields":[{"name":"deck","type":"string"},');
  await assert.rejects(registry.register({ type: SchemaType.AVRO, schema: broken }, { subject: "js-seat" }), /incompatible/i);

  const json = JSON.stringify({ type: "object", properties: { row: { type: "integer" } } });
  const two = await registry.register(
    { type: SchemaType.JSON, schema: json },
    { subject: "js-json", compatibility: COMPATIBILITY.FULL },
  );
  assert.deepEqual(await reader.decode(await registry.encode(two.id, { row: 3 })), { row: 3 });

  const proto = 'syntax = "proto3"; package shop; message Item { string name = 1; int32 count = 2; }';
  const three = await registry.register({ type: SchemaType.PROTOBUF, schema: proto }, { subject: "js-proto" });
  const item = await reader.decode(await registry.encode(three.id, { name: "cup", count: 2 }));
  assert.deepEqual({ name: item.name, count: item.count }, { name: "cup", count: 2 });
  console.log("all done");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
