"""What function.py does, without anything of the server, so that test_rules.py can run it with any Python."""

import json

# What an event takes over from the flight, besides what is its own.
COMMON = ("carrier", "flight", "tailnum")
EVENTS = (
    # Where to, by which airport, and which of the flight's fields become which.
    ("departures", "origin", {"dep_time": "time", "dep_delay": "delay", "dest": "to"}),
    ("arrivals", "dest", {"arr_time": "time", "arr_delay": "delay", "origin": "from"}),
)


class Bad(Exception):
    """Why a record is turned away: a code, a sentence, a place."""

    def __init__(self, code, reason, path=None):
        super().__init__(reason)
        self.code, self.reason, self.path = code, reason, path


def split(payload):
    """The events of a flight, as pairs of a subject and a payload."""
    try:
        flight = json.loads(payload)
    except ValueError as error:
        raise Bad("not_json", str(error)) from error
    if not isinstance(flight, dict):
        raise Bad("not_a_flight", "it is JSON, but no object")
    common = {name: flight.get(name) for name in COMMON}
    if flight.get("dep_time") is None:
        return [event("cancelled", flight, "origin", common)]
    return [
        event(kind, flight, airport, common | {to: flight.get(name) for name, to in fields.items()})
        for kind, airport, fields in EVENTS
        # A flight that was diverted has left and not arrived.
        if kind == "departures" or flight.get("arr_time") is not None
    ]


def event(kind, flight, airport, record):
    """One event, for the subject of its airport."""
    code = flight.get(airport)
    # It becomes a token of a subject, so it can be neither empty nor have dots, spaces or wildcards.
    if not isinstance(code, str) or not (code.isascii() and code.isalnum()):
        raise Bad("bad_airport", f"{code!r} is no airport", f"/{airport}")
    return f"{kind}.{code}", json.dumps(record, separators=(",", ":")).encode()
