"""Clients of use case 7: they write through whichever edge serves, and remember how they were answered.

Decides what an answer lets a client believe, and compares that with what a server holds. Standard library only.
"""

import http.client
import json
import random
import threading
import time
import uuid

from compare import collections, records

GONE = "deleted"
DIMENSION = 8


class Client:
    """One connection to whichever edge serves."""

    def __init__(self, ports, first):
        self.ports = ports
        self.at, self.connection = first % len(self.ports), None

    def send(self, path, body, headers):
        """Returns ("acknowledged" | "refused" | "unclear", why): what the client may believe."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.ports[self.at], timeout=30)
                self.connection.connect()
        except OSError as error:
            self.turn()
            return "refused", str(error)
        try:
            self.connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
            answer = self.connection.getresponse()
            said = json.loads(answer.read() or b"null")
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.turn()
            return "unclear", repr(error)
        if answer.status < 300:
            return "acknowledged", said
        if answer.status not in (429, 503):
            return "wrong", f"{answer.status} {said}"
        self.turn()
        return "unclear" if said.get("recovery") else "refused", said.get("reason")

    def turn(self):
        """Switches to the next edge, on a new connection."""
        if self.connection is not None:
            self.connection.close()
        self.connection, self.at = None, (self.at + 1) % len(self.ports)


class Writer(threading.Thread):
    """A client with records of its own. Every second client repeats unacknowledged writes under their id."""

    def __init__(self, number, ports, paths, acknowledged, stop):
        super().__init__(daemon=True)
        self.number, self.path, self.stop = number, paths[number % len(paths)], stop
        self.client, self.random = Client(ports, number), random.Random(number)
        self.repeats, self.acknowledged = number % 2 == 0, acknowledged
        self.expected, self.unknown, self.refused, self.wrong, self.serial = {}, set(), [], [], 0

    def run(self):
        while not self.stop.is_set():
            self.write()

    def draw(self):
        """Returns a kind of write, and a record."""
        live = [record for record, what in self.expected.items() if what != GONE and record not in self.unknown]
        kind = self.random.choice(["add"] * 3 + ["upsert"] * 2 + ["update"] * 2 + ["delete"]) if len(live) > 8 else "add"
        if kind == "add":
            self.serial += 1
            return kind, f"w{self.number}-{self.serial}"
        return kind, self.random.choice(live)

    def write(self):
        kind, record = self.draw()
        body = {"ids": [record]}
        if kind != "delete":
            # Thirty-seconds are exact in 32 bits, so that the stored values can be compared by equality.
            vector = [self.random.randrange(-64, 64) / 32 for _ in range(DIMENSION)]
            text = f"{kind} {self.serial} {self.random.random()}"
            body |= {"documents": [text], "metadatas": [{"writer": self.number}], "embeddings": [vector]}
        headers = {"Transaction-ID": str(uuid.uuid4())} if self.repeats else {}
        doubtful = False
        while True:
            outcome, why = self.client.send(f"{self.path}/{kind}", body, headers)
            if outcome == "acknowledged":
                self.acknowledged.append(time.monotonic())
                stored = {key: value[0] for key, value in body.items() if key != "ids"}
                self.expected[record] = GONE if kind == "delete" else stored
                return
            doubtful |= outcome == "unclear"
            if outcome == "wrong":
                self.wrong.append(f"{kind} {record}: {why}")
            else:
                self.refused.append(str(why))
            if self.repeats and outcome != "wrong" and not self.stop.wait(0.05):
                continue
            # A refusal promises that there is no effect. Only a write that was lost on the way may exist or not.
            if doubtful or outcome == "wrong":
                self.unknown.add(record)
            self.stop.wait(0.05)
            return


def judge(writers, url):
    """Describes what this server holds that differs from what the clients were answered."""
    stored = {name: records(url, collection) for name, collection in collections(url).items()}
    held = {record: what for collection in stored.values() for record, what in collection.items()}
    found, told = [], {}
    for writer in writers:
        told.update({record: what for record, what in writer.expected.items() if record not in writer.unknown})
    unknown = set().union(*(writer.unknown for writer in writers))
    for record, what in told.items():
        there = held.get(record)
        if what == GONE:
            found += [f"{record} was deleted and is there"] if there else []
        elif there is None or any(there[kind] != value for kind, value in what.items()):
            found.append(f"{record} is not as acknowledged: {there} instead of {what}")
    return found + [f"{record} was refused and is there" for record in held if record not in told and record not in unknown]
