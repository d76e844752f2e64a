"""Asks another host about each record: posts it there and writes the JSON answer beside its fields.

Configuration: `url`, where to ask.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import web
from wit_world.imports.types import Outcome_Reject, Outcome_Replace, Outcome_Retry, Output, Rejection

# After so many tries a record is rejected.
TRIES = 5
PAUSE_MILLISECONDS = 1000
HEADERS = [("content-type", "application/json")]

url = ""


class WitWorld(wit_world.WitWorld):
    """The function; the name of the class is what componentize-py looks for."""

    def configure(self, config):
        global url
        for name, value in config:
            # What is raised is the text that the person who deploys reads.
            if name != "url":
                raise Err(f"unknown configuration `{name}`; known: `url`")
            url = value
        if not url:
            raise Err("`url` is missing: where to ask")

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
    trouble = None
    try:
        response = web.fetch(web.Request("POST", url, HEADERS, message.payload))
        if response.status >= 500:
            trouble = f"status {response.status}"
    except Err as error:
        trouble = error.value
    # A host that is away and one that has trouble may both be well in a moment.
    if trouble is not None:
        if message.deliveries + 1 < TRIES:
            return Outcome_Retry(PAUSE_MILLISECONDS)
        return reject("unavailable", trouble)
    if response.status != 200:
        return reject("refused", f"status {response.status}")
    try:
        answer = json.loads(response.body)
    except ValueError as error:
        return reject("bad_answer", str(error))
    return replace(record | {"answer": answer})


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
