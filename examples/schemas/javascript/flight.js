// Flights in three forms: functions from a record to bytes and back.
import fs from "node:fs";
import avro from "avsc";
import protobuf from "protobufjs";

const near = (name) => new URL(`../${name}`, import.meta.url);

// Avro's times are milliseconds; records have them as text.
class Time extends avro.types.LogicalType {
  _fromValue(milliseconds) {
    return new Date(milliseconds).toISOString().replace(".000Z", "Z");
  }

  _toValue(text) {
    return Date.parse(text);
  }
}

const inAvro = avro.Type.forSchema(JSON.parse(fs.readFileSync(near("flight.avsc"), "utf8")), {
  logicalTypes: { "timestamp-millis": Time },
});

const Flight = protobuf.loadSync(near("flight.proto").pathname).lookupType("nyc.Flight");

export const records = (count) =>
  fs
    .readFileSync(new URL("../../flights/flights.jsonl", import.meta.url), "utf8")
    .split("\n")
    .slice(0, count)
    .map((line) => JSON.parse(line));

export const json = {
  encode: (record) => Buffer.from(JSON.stringify(record)),
  decode: (data) => JSON.parse(Buffer.from(data).toString()),
};

export const avroBinary = {
  encode: (record) => inAvro.toBuffer(record),
  decode: (data) => ({ ...inAvro.fromBuffer(Buffer.from(data)) }),
};

export const protobufBinary = {
  encode: (record) => {
    const known = Object.entries(record).filter(([, value]) => value !== null);
    const names = known.map(([name, value]) => [name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), value]);
    const fields = Object.fromEntries(names);
    const seconds = Date.parse(record.time_hour) / 1000;
    return Flight.encode(Flight.fromObject({ ...fields, timeHour: { seconds } })).finish();
  },
  decode: (data) => {
    const message = Flight.toObject(Flight.decode(data), { enums: String, longs: Number });
    return { carrier: message.carrier, origin: message.origin, dep_delay: message.depDelay ?? null };
  },
};
