"""python3 -m unittest: the rules without a server."""

import json
import unittest

from rules import Bad, split

FLIGHT = {
    "carrier": "UA", "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH",
    "dep_time": 517, "dep_delay": 2, "arr_time": 830, "arr_delay": 11, "distance": 1400,
}


def events(**changes):
    return {subject: json.loads(text) for subject, text in split(json.dumps(FLIGHT | changes).encode())}


class Rules(unittest.TestCase):
    def test_a_flight_leaves_and_arrives(self):
        common = {"carrier": "UA", "flight": 1545, "tailnum": "N14228"}
        self.assertEqual(events(), {
            "departures.EWR": common | {"time": 517, "delay": 2, "to": "IAH"},
            "arrivals.IAH": common | {"time": 830, "delay": 11, "from": "EWR"},
        })

    def test_not_every_flight_does(self):
        self.assertEqual(list(events(arr_time=None)), ["departures.EWR"])
        self.assertEqual(list(events(dep_time=None)), ["cancelled.EWR"])

    def test_what_is_no_flight(self):
        for payload, code in [(b"{", "not_json"), (b"\xff", "not_json"), (b"7", "not_a_flight")]:
            with self.assertRaises(Bad) as told:
                split(payload)
            self.assertEqual(told.exception.code, code)
        for airport in ["", "E.R", "E*", None, 7]:
            with self.assertRaises(Bad) as told:
                events(origin=airport)
            self.assertEqual((told.exception.code, told.exception.path), ("bad_airport", "/origin"))


if __name__ == "__main__":
    unittest.main()
