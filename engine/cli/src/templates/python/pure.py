"""Says of each flight whether it left late.

Configuration: `late_after_minutes`, 15 when it is not set.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import log
from wit_world.imports.types import Outcome_Keep, Outcome_Reject, Outcome_Replace, Output, Rejection

late_after_minutes = 15.0


class WitWorld(wit_world.WitWorld):
    """The function; the name of the class is what componentize-py looks for."""

    def configure(self, config):
        global late_after_minutes
        for name, value in config:
            # What is raised is the text that the person who deploys reads.
            if name != "late_after_minutes":
                raise Err(f"unknown configuration `{name}`; known: `late_after_minutes`")
            try:
                late_after_minutes = float(value)
            except ValueError:
                raise Err(f"`{name}` must be a number") from None
        log.write(log.Level.DEBUG, f"late after {late_after_minutes} minutes")

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
    delay = record.get("dep_delay")
    if delay is None:
        # A cancelled flight never left.
        return Outcome_Keep()
    if type(delay) not in (int, float):
        return reject("no_number", "it must be a number", "/dep_delay")
    return replace(record | {"band": "late" if delay >= late_after_minutes else "on_time"})


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
