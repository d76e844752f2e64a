"""Numbers the flights of each carrier.

How many there were is in the function's bucket, one key for each carrier, and is committed together with the messages.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import bucket
from wit_world.imports.types import Outcome_Reject, Outcome_Replace, Output, Rejection


class WitWorld(wit_world.WitWorld):
    """The function; the name of the class is what componentize-py looks for."""

    def configure(self, config):
        for name, _ in config:
            # What is raised is the text that the person who deploys reads.
            raise Err(f"unknown configuration `{name}`; known: none")

    def process(self, batch):
        return [outcome(message) for message in batch]


def outcome(message):
    """What becomes of one message."""
    record = parse(message.payload)
    if record is None:
        return reject("not_a_record", "it is no JSON object")
    carrier = record.get("carrier")
    # It becomes a key.
    if not isinstance(carrier, str) or not (carrier.isascii() and carrier.isalnum()):
        return reject("bad_carrier", "it must have letters and digits only", "/carrier")
    try:
        number = int(bucket.get(carrier) or b"0") + 1
        bucket.set(carrier, str(number).encode())
    except Err as error:
        return reject("bucket", error.value)
    return replace(record | {"number": number})


def parse(payload):
    """A JSON object, or none."""
    try:
        # NaN and Infinity are no JSON, though Python reads them: `int` refuses them.
        value = json.loads(payload, parse_constant=int)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def replace(record):
    return Outcome_Replace(Output(None, None, json.dumps(record, separators=(",", ":")).encode()))


def reject(code, reason, path=None):
    return Outcome_Reject(Rejection(code, reason, path))
