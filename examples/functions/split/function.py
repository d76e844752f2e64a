"""Splits a flight into what happens where: `departures.<airport>`, `arrivals.<airport>` or `cancelled.<airport>`."""

import wit_world
from componentize_py_types import Err
from rules import Bad, split
from wit_world.imports import log
from wit_world.imports.types import Outcome_Emit, Outcome_Reject, Output, Rejection


class WitWorld(wit_world.WitWorld):
    """The world `pure`; the name of the class is what componentize-py looks for."""

    def configure(self, config):
        if config:
            names = ", ".join(f"`{name}`" for name, _ in config)
            raise Err(f"unknown configuration {names}; known: none")
        log.write(log.Level.DEBUG, "ready")

    def process(self, batch):
        return [outcome(message) for message in batch]


def outcome(message):
    """What becomes of one message."""
    try:
        events = split(message.payload)
    except Bad as bad:
        return Outcome_Reject(Rejection(bad.code, bad.reason, bad.path))
    return Outcome_Emit([Output(subject, None, payload) for subject, payload in events])
