"""Writes beside each flight how many seats its plane has: bucket `planes`, by `tailnum`."""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import stations
from wit_world.imports.types import Outcome_Keep, Outcome_Reject, Outcome_Replace, Output, Rejection


class WitWorld(wit_world.WitWorld):
    """The function; the name of the class is what componentize-py looks for."""

    def configure(self, config):
        for name, _ in config:
            # What is raised is the text that the person who deploys reads.
            raise Err(f"unknown configuration `{name}`; known: none")

    def process(self, batch):
        return [guarded(message) for message in batch]


def guarded(message):
    """What becomes of one message, whatever happens."""
    try:
        return outcome(message)
    except Exception as error:
        # Caught here it rejects one message and its text is kept; else it would stop the interpreter.
        return reject("exception", repr(error))


def outcome(message):
    """What becomes of one message."""
    record = parse(message.payload)
    if record is None:
        return reject("not_a_record", "it is no JSON object")
    tailnum = record.get("tailnum")
    if not isinstance(tailnum, str):
        return Outcome_Keep()
    # It becomes a key.
    if not (tailnum.isascii() and tailnum.isalnum()):
        return reject("bad_tailnum", "it must have letters and digits only", "/tailnum")
    try:
        plane = stations.value("planes", tailnum)
    except Err as error:
        return reject("lookup", error.value)
    if plane is None:
        return Outcome_Keep()
    plane = parse(plane)
    if plane is None:
        return reject("lookup", f"what is known of `{tailnum}` is no JSON object")
    return replace(record | {"seats": plane.get("seats")})


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
