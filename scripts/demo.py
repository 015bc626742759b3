"""`make demo`: clients write while the primary is killed and comes back, and while the replica loses its disk.

The replica is made whole under load. Both servers are compared.

Runs by itself in a temporary folder. Exits with 0 only if no client saw an error, nothing that was acknowledged is
missing, and both servers hold the same. Needs the official Python client.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

# The client must send no telemetry, and must not use a proxy to reach the server.
os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

import chromadb  # noqa: E402

from cluster import Cluster, Failed, run_script  # noqa: E402
from compare import collections, compare, records  # noqa: E402

DIMENSION = 16
GONE = "deleted"


class Writer(threading.Thread):
    """One client with record ids of its own, which remembers what was acknowledged."""

    def __init__(self, number, port, writes, stop):
        super().__init__(daemon=True)
        self.number, self.port, self.writes, self.stop = number, port, writes, stop
        self.random = random.Random(number)
        self.name_of_collection = f"demo-{number % 2}"
        self.acknowledged, self.errors, self.longest = 0, [], 0.0
        self.expected, self.unknown, self.serial = {}, set(), 0

    def run(self):
        try:
            client = chromadb.HttpClient(host="127.0.0.1", port=self.port)
            collection = client.get_or_create_collection(self.name_of_collection)
        except Exception as error:  # Whatever the client raises is what a user would see.
            self.errors.append(f"open collection: {error!r}")
            return
        while self.acknowledged + len(self.errors) < self.writes and not self.stop.is_set():
            self.write(collection)

    def write(self, collection):
        live = [record for record, what in self.expected.items() if what != GONE and record not in self.unknown]
        kinds = ["add"] * 3 + ["upsert"] * 3 + ["update"] * 2 + ["delete"]
        kind = self.random.choice(kinds) if len(live) > 8 else "add"
        if kind == "add" or (kind == "upsert" and self.random.random() < 0.5):
            self.serial += 1
            record = f"w{self.number}-{self.serial}"
        else:
            record = self.random.choice(live)
        stored = {
            "documents": f"{kind} {self.acknowledged} by writer {self.number}",
            "metadatas": {"writer": self.number, "step": self.acknowledged},
            # Thirty-seconds are exact in 32 bits, so that the stored values can be compared by equality.
            "embeddings": [self.random.randrange(-64, 64) / 32 for _ in range(DIMENSION)],
        }
        begun = time.monotonic()
        try:
            if kind == "delete":
                collection.delete(ids=[record])
            else:
                getattr(collection, kind)(ids=[record], **{name: [value] for name, value in stored.items()})
        except Exception as error:
            self.errors.append(f"{kind} {record}: {error!r}")
            self.unknown.add(record)
            return
        self.longest = max(self.longest, time.monotonic() - begun)
        self.acknowledged += 1
        self.expected[record] = GONE if kind == "delete" else stored


def missing(writers, url):
    """Returns a description of what was acknowledged and is not on this server."""
    by_name = collections(url)
    stored = {name: records(url, collection) for name, collection in by_name.items()}
    found = []
    for writer in writers:
        held = stored.get(writer.name_of_collection, {})
        for record, what in writer.expected.items():
            if record in writer.unknown:
                continue
            there = held.get(record)
            if what == GONE:
                if there is not None:
                    found.append(f"{record} was deleted and is there")
            elif there is None or any(there[kind] != value for kind, value in what.items()):
                found.append(f"{record} is not as acknowledged")
    return found


def wait_for(condition, patience, what, writers):
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            errors = [error for writer in writers for error in writer.errors][:3]
            raise Failed("\n".join([f"{what} did not happen within {patience:.0f} s", *errors]))
        time.sleep(0.05)


def settled(cluster):
    try:
        status = cluster.status()
    except (OSError, ValueError):
        return False
    healthy = all(instance["healthy"] and not instance["pending_writes"] for instance in status["instances"])
    return healthy and not status["pending_writes"]


def say(text):
    print(f"demo: {text}", flush=True)


def play(cluster, threads, writes):
    """Returns the writers, after the primary has died and come back under load."""
    primary = cluster.servers[0]
    stop = threading.Event()
    writers = [Writer(number, cluster.edge.port, writes, stop) for number in range(threads)]
    total = threads * writes
    done = lambda: sum(writer.acknowledged + len(writer.errors) for writer in writers)
    alive = lambda: any(writer.is_alive() for writer in writers)
    try:
        say(f"{threads} clients make {total} writes: add, upsert, update, delete")
        for writer in writers:
            writer.start()
        wait_for(lambda: done() >= total * 0.3 or not alive(), 300, "the first third of the writes", writers)
        say(f"kill -9 of the primary (pid {primary.pid}) after {done()} writes")
        primary.kill()
        wait_for(lambda: done() >= total * 0.7 or not alive(), 300, "the second third of the writes", writers)
        say(f"the primary starts again after {done()} writes")
        primary.start()
        wait_for(lambda: not alive(), 300, "the last third of the writes", writers)
    finally:
        stop.set()
    say("waiting until the primary has caught up")
    wait_for(lambda: settled(cluster), 180, "pending_writes 0 and all instances healthy", writers)
    return writers


def heals(cluster):
    """Returns whether the replica has everything again."""
    try:
        status = cluster.status()
    except (OSError, ValueError):
        return False
    return not status["diverged"] and not status["healing"] and settled(cluster)


def lose_a_disk(cluster, threads, writes):
    """Returns more writers, after the replica has come back empty and has been made whole under load."""
    replica = cluster.servers[1]
    stop = threading.Event()
    writers = [Writer(100 + number, cluster.edge.port, writes, stop) for number in range(threads)]
    try:
        say("clients go on writing; kill -9 of the replica, and its disk is lost")
        for writer in writers:
            writer.start()
        replica.kill()
        shutil.rmtree(cluster.folder / replica.name)
        replica.start()
        begun = time.monotonic()
        say("the replica starts with an empty folder")
        noticed = lambda: (cluster.status()["diverged"] or begun + 20 < time.monotonic())
        wait_for(noticed, 30, "the loss noticed", writers)
        say(f"noticed after {time.monotonic() - begun:.1f} s: nothing is read from it")
        wait_for(lambda: heals(cluster), 180, "the replica whole again", writers)
        say(f"whole again after {time.monotonic() - begun:.1f} s, nobody having done anything")
        wait_for(lambda: not any(writer.is_alive() for writer in writers), 300, "the end of the writes", writers)
    finally:
        stop.set()
    wait_for(lambda: heals(cluster), 180, "both servers up to date", writers)
    return writers


def report(cluster, writers):
    """Prints the table. Returns the exit code."""
    first, second = (server.url for server in cluster.servers)
    compared, differences = compare(first, second)
    lost = [f"{server.name}: {line}" for server in cluster.servers for line in missing(writers, server.url)]
    errors = [error for writer in writers for error in writer.errors]
    print()
    for label, value in [
        ("writes acknowledged", sum(writer.acknowledged for writer in writers)),
        ("errors seen by the clients", len(errors)),
        ("longest wait", f"{max(writer.longest for writer in writers):.2f} s"),
        ("records compared", compared),
        ("differences", len(differences)),
        ("not as acknowledged", len(lost)),
    ]:
        print(f"  {label:<28}{value:>10}")
    print()
    for line in [*errors[:5], *differences[:5], *lost[:5]]:
        print(f"  {line}")
    # If nothing was compared, nothing is proved.
    return 1 if errors or differences or lost or not compared else 0


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threads", type=int, default=6)
    options.add_argument("--writes", type=int, default=150, help="per thread")
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-demo-") as folder:

        def show(clusters):
            cluster = Cluster(Path(folder))
            clusters.append(cluster)
            cluster.start()
            writers = play(cluster, options.threads, options.writes)
            writers += lose_a_disk(cluster, options.threads, options.writes)
            return report(cluster, writers)

        return run_script("demo", show)


if __name__ == "__main__":
    sys.exit(main())
