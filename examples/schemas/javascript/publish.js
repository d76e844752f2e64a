// Publishes flights as JSON, Avro and Protobuf: node publish.js [127.0.0.1:4222] [how many]
import { connect } from "nats";
import { avroBinary, json, protobufBinary, records } from "./flight.js";

const [servers = "127.0.0.1:4222", count = "100"] = process.argv.slice(2);
const connection = await connect({ servers });
const stream = connection.jetstream();
const flights = records(Number(count));
const forms = { json, avro: avroBinary, protobuf: protobufBinary };

for (const [word, form] of Object.entries(forms)) {
  for (const flight of flights) {
    await stream.publish(`flights.${word}.${flight.carrier}`, form.encode(flight));
  }
  console.log(`published ${flights.length} flights as ${word}`);
}

// What does not fit is refused, with the place and the reason.
const wrong = {
  json: json.encode({ ...flights[0], origin: "LHR" }),
  avro: avroBinary.encode(flights[0]).subarray(0, -1),
  protobuf: Buffer.from([0x0a, 0xff]),
};
for (const [word, payload] of Object.entries(wrong)) {
  const refused = await stream.publish(`flights.${word}.wrong`, payload).then(
    () => undefined,
    (error) => error,
  );
  if (refused === undefined) throw new Error(`a wrong flight was stored as ${word}`);
  console.log(`refused as ${word}: ${refused.api_error?.description ?? refused.message}`);
}
await connection.close();
