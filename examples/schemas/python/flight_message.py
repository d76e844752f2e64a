"""The message of flight.proto, compiled when it is imported."""

import datetime
import pathlib
import sys
import tempfile

import grpc_tools
from grpc_tools import protoc

FOLDER = pathlib.Path(__file__).resolve().parent.parent

with tempfile.TemporaryDirectory() as made:
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{FOLDER}", f"-I{known}", f"--python_out={made}", "flight.proto"]):
        sys.exit("flight.proto cannot be compiled")
    sys.path.insert(0, made)
    from flight_pb2 import Airport, Flight

    sys.path.remove(made)


def from_record(record):
    """The message of a record; what is null is left out."""
    plain = {name: value for name, value in record.items() if value is not None}
    time = datetime.datetime.fromisoformat(plain.pop("time_hour").replace("Z", "+00:00"))
    message = Flight(**{**plain, "origin": Airport.Value(plain["origin"])})
    message.time_hour.FromDatetime(time)
    return message
