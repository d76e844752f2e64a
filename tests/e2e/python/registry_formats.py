"""Confluent's Avro and Protobuf serializers, unmodified, against Millstream's schema registry. Arguments: its URL."""
import sys

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

URL = sys.argv[1]
client = SchemaRegistryClient({"url": URL})


def fresh():
    return SchemaRegistryClient({"url": URL})


def avro():
    text = """{"type":"record","name":"Flight","namespace":"com.example","fields":[
      {"name":"carrier","type":"string"},
      {"name":"delay","type":["null","int"],"default":null},
      {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"default":0}]}"""
    write = AvroSerializer(client, text)
    read = AvroDeserializer(fresh())
    context = SerializationContext("avro-flights", MessageField.VALUE)
    data = write({"carrier": "UA", "delay": 11, "at": 5}, context)
    got = read(data, context)
    assert (got["carrier"], got["delay"]) == ("UA", 11), got
    # Spelt differently it is the same schema.
    again = fresh().register_schema("avro-flights-value", Schema(" ".join(text.split()), "AVRO"))
    assert again == int.from_bytes(data[1:5], "big")
    # A type of another subject.
    carrier = '{"type":"record","name":"Carrier","namespace":"com.example","fields":[{"name":"code","type":"string"}]}'
    client.register_schema("carrier", Schema(carrier, "AVRO"))
    trip = '{"type":"record","name":"Trip","namespace":"com.example","fields":[{"name":"by","type":"com.example.Carrier"}]}'
    schema = Schema(trip, "AVRO", [SchemaReference("com.example.Carrier", "carrier", 1)])
    write = AvroSerializer(client, schema)
    read = AvroDeserializer(fresh(), schema)
    context = SerializationContext("trips", MessageField.VALUE)
    value = {"by": {"code": "UA"}}
    assert read(write(value, context), context) == value
    # What old records do not have needs a default.
    broken = text.replace('{"name":"carrier","type":"string"}', '{"name":"carrier","type":"string"},{"name":"tail","type":"string"}')
    assert not client.test_compatibility("avro-flights-value", Schema(broken, "AVRO"))
    try:
        client.register_schema("avro-flights-value", Schema(broken, "AVRO"))
        raise AssertionError("was taken")
    except SchemaRegistryError as error:
        assert (error.http_status_code, error.error_code) == (409, 409), error
        assert "tail" in str(error), error
    mended = broken.replace('{"name":"tail","type":"string"}', '{"name":"tail","type":"string","default":"?"}')
    client.register_schema("avro-flights-value", Schema(mended, "AVRO"))
    # A new reader of an old record.
    context = SerializationContext("avro-flights", MessageField.VALUE)
    assert AvroDeserializer(fresh(), mended)(data, context)["tail"] == "?"


def protobuf():
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    carrier = descriptor_pb2.FileDescriptorProto(name="carrier.proto", package="example", syntax="proto3")
    message = carrier.message_type.add(name="Carrier")
    message.field.add(name="code", number=1, type=9, label=1)
    pool.Add(carrier)
    file = descriptor_pb2.FileDescriptorProto(name="flight.proto", package="example", syntax="proto3")
    file.dependency.extend(["carrier.proto", "google/protobuf/timestamp.proto"])
    message = file.message_type.add(name="Leg")
    message.field.add(name="from", number=1, type=9, label=1)
    message = file.message_type.add(name="Flight")
    message.field.add(name="carrier", number=1, type=11, label=1, type_name=".example.Carrier")
    message.field.add(name="delays", number=2, type=5, label=3)
    message.field.add(name="at", number=3, type=11, label=1, type_name=".google.protobuf.Timestamp")
    message.field.add(name="legs", number=4, type=11, label=3, type_name=".example.Leg")
    pool.Add(file)
    flight = message_factory.GetMessageClass(pool.FindMessageTypeByName("example.Flight"))
    write = ProtobufSerializer(flight, client, {"use.deprecated.format": False})
    read = ProtobufDeserializer(flight, {"use.deprecated.format": False}, fresh())
    context = SerializationContext("proto-flights", MessageField.VALUE)
    value = flight(delays=[1, -2])
    value.carrier.code = "UA"
    value.at.seconds = 5
    value.legs.add()
    data = write(value, context)
    got = read(data, context)
    assert got == value, got
    latest = fresh().get_latest_version("proto-flights-value")
    assert latest.schema.schema_type == "PROTOBUF"
    assert [reference.name for reference in latest.schema.references][0] == "carrier.proto", latest
    assert fresh().get_versions("carrier.proto") == [1]
    # As text it can be registered, too.
    text = 'syntax = "proto3"; package shop; message Order { string id = 1; }'
    client.register_schema("orders", Schema(text, "PROTOBUF"))
    assert client.test_compatibility("orders", Schema(text.replace("string id = 1;", "string id = 1; int32 n = 2;"), "PROTOBUF"))
    assert not client.test_compatibility("orders", Schema(text.replace("string id = 1;", "int32 id = 1;"), "PROTOBUF"))


avro()
protobuf()
print("all done")
