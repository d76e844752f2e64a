"""Confluent's own Python client, unmodified, against Millstream's schema registry. Arguments: its URL."""
import sys

from confluent_kafka.schema_registry import (
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    SchemaRegistryError,
    ServerConfig,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

URL = sys.argv[1]
client = SchemaRegistryClient({"url": URL})


def refused(status, code, text, call, *arguments, **named):
    try:
        answer = call(*arguments, **named)
    except SchemaRegistryError as error:
        assert error.http_status_code == status, error
        assert error.error_code == code, error
        assert text in str(error), error
        return error
    raise AssertionError(f"was taken: {answer}")


def fresh():
    """A client that remembers nothing."""
    return SchemaRegistryClient({"url": URL})


def json_round_trip():
    text = '{"type":"object","title":"flight","properties":{"carrier":{"type":"string"},"delay":{"type":"integer"}},"required":["carrier"]}'
    write = JSONSerializer(text, client)
    read = JSONDeserializer(text, schema_registry_client=fresh())
    context = SerializationContext("flights", MessageField.VALUE)
    value = {"carrier": "UA", "delay": 11}
    data = write(value, context)
    assert data[0] == 0, data
    assert read(data, context) == value
    latest = fresh().get_latest_version("flights-value")
    assert int.from_bytes(data[1:5], "big") == latest.schema_id, (data, latest)
    assert latest.version == 1 and latest.schema.schema_type == "JSON"
    assert fresh().get_schema(latest.schema_id).schema_str == text

    # A part of its own, referred to.
    part = Schema('{"type":"object","$id":"part.json","properties":{"code":{"type":"string"}}}', "JSON")
    client.register_schema("part", part)
    whole = Schema(
        '{"type":"object","title":"whole","properties":{"part":{"$ref":"part.json"}}}',
        "JSON",
        [SchemaReference("part.json", "part", 1)],
    )
    write = JSONSerializer(whole, client)
    read = JSONDeserializer(whole, schema_registry_client=fresh())
    context = SerializationContext("wholes", MessageField.VALUE)
    value = {"part": {"code": "x"}}
    assert read(write(value, context), context) == value
    assert fresh().get_latest_version("wholes-value").schema.references[0].subject == "part"
    refused(422, 42206, "One or more references exist", client.delete_subject, "part")


def strategies():
    text = '{"type":"object","title":"com.example.Leg"}'
    for strategy, subject in [
        (record_subject_name_strategy, "com.example.Leg"),
        (topic_record_subject_name_strategy, "legs-com.example.Leg"),
    ]:
        write = JSONSerializer(text, client, conf={"subject.name.strategy": strategy})
        write({}, SerializationContext("legs", MessageField.VALUE))
        assert fresh().get_versions(subject) == [1]


def rules():
    first = Schema('{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}', "JSON")
    wider = Schema('{"type":"object","properties":{"a":{"type":"number"}},"additionalProperties":false}', "JSON")
    other = Schema('{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}', "JSON")
    one = client.register_schema("rules", first)
    assert client.register_schema("rules", first) == one
    assert client.test_compatibility("rules", wider)
    assert not client.test_compatibility("rules", other)
    error = refused(409, 409, "incompatible with an earlier schema", client.register_schema, "rules", other)
    assert "oldSchemaVersion: 1" in str(error) and "BACKWARD" in str(error), error
    two = client.register_schema("rules", wider)
    assert two != one
    assert fresh().get_versions("rules") == [1, 2]
    assert fresh().lookup_schema("rules", first).version == 1
    refused(404, 40403, "Schema not found", fresh().lookup_schema, "rules", other)
    refused(404, 40401, "not found", fresh().get_versions, "nothing")
    refused(404, 40402, "not found", fresh().get_version, "rules", 9)
    refused(422, 42201, "Invalid schema", client.register_schema, "rules", Schema('{"type":7}', "JSON"))
    # Levels.
    assert client.get_compatibility() == "BACKWARD"
    refused(404, 40408, "does not have subject-level compatibility", client.get_compatibility, "rules")
    client.set_compatibility("rules", "NONE")
    assert client.get_compatibility("rules") == "NONE"
    assert client.register_schema("rules", other)
    refused(422, 42203, "Invalid compatibility level", client.set_compatibility, "rules", "SIDEWAYS")
    client.set_config("rules", ServerConfig(compatibility=ConfigCompatibilityLevel.FULL, compatibility_group="major"))
    config = client.get_config("rules")
    assert config.compatibility_level == "FULL" and config.compatibility_group == "major", config
    # Modes.
    assert client.get_global_mode() == "READWRITE"
    refused(404, 40409, "does not have subject-level mode", client.get_mode, "rules")
    assert client.update_mode("rules", "READONLY") == "READONLY"
    refused(422, 42205, "read-only mode", client.register_schema, "rules", Schema('{"type":"object"}', "JSON"))
    assert client.delete_mode("rules") == "READONLY"
    refused(422, 42205, "Cannot import", client.update_global_mode, "IMPORT")
    refused(422, 42204, "Invalid mode", client.update_mode, "rules", "FLYING")
    # Deletes.
    assert client.delete_version("rules", 3) == 3
    assert fresh().get_versions("rules") == [1, 2]
    assert client.delete_subject("rules") == [1, 2]
    refused(404, 40401, "not found", fresh().get_versions, "rules")
    assert client.delete_subject("rules", permanent=True) == [1, 2, 3]
    assert "rules" not in fresh().get_subjects()
    # The id is remembered.
    assert fresh().register_schema("rules/again", first) == one
    assert fresh().get_versions("rules/again") == [1]


def contexts():
    schema = Schema('{"type":"object","title":"eu"}', "JSON")
    assert client.register_schema(":.eu:city", schema) == 1
    assert ":.eu:city" in fresh().get_subjects()
    assert ".eu" in fresh().get_contexts()


json_round_trip()
strategies()
rules()
contexts()
print("all done")
