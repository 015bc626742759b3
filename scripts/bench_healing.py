"""What healing and audits do in a second, and what a writer feels of it: one run on real servers.

A collection of records (dimension 384) is filled through the edge; then, in turn: plain upserts of the same records into a bare
third server (what Chroma itself takes); an audit that somebody asks for; the replica loses its disk and is made whole. A writer of single
documents to another collection runs all the while, but for a first audit. Compare the ratios, not the numbers of different runs. Standard library only.
"""

import argparse
import http.client
import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from cluster import Cluster, Failed, http as ask, run_script

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
DIMENSION, BATCH = 384, 500


def batches(count):
    source = random.Random(1)
    vectors = [[round(source.uniform(-1, 1), 4) for _ in range(DIMENSION)] for _ in range(64)]
    for first in range(0, count, BATCH):
        ids = [f"record-{number}" for number in range(first, min(count, first + BATCH))]
        embeddings = [vectors[(first + at) % 64] for at in range(len(ids))]
        yield json.dumps({"ids": ids, "embeddings": embeddings, "documents": [f"document of {one}" for one in ids]})


def post(connection, path, body):
    connection.request("POST", path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise Failed(f"{path} was answered {answer.status}: {text[:200]!r}")
    return text


def fill(port, name, count):
    """Seconds that it takes to upsert so many records into a new collection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    made = json.loads(post(connection, COLLECTIONS, json.dumps({"name": name})))
    bodies = list(batches(count))
    begun = time.monotonic()
    for body in bodies:
        post(connection, f"{COLLECTIONS}/{made['id']}/upsert", body)
    took = time.monotonic() - begun
    connection.close()
    return took


class Writer(threading.Thread):
    """Single documents, one after the other; each wait belongs to the phase in which it ended."""

    def __init__(self, port, collection):
        super().__init__(daemon=True)
        self.port, self.path, self.phase, self.waits, self.going = port, f"{COLLECTIONS}/{collection}/upsert", None, {}, True
        self.failed = None

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            number = 0
            while self.going:
                number += 1
                body = json.dumps({"ids": [f"w{number % 1000}"], "embeddings": [[0.5] * DIMENSION], "documents": ["d"]})
                begun = time.monotonic()
                post(connection, self.path, body)
                if self.phase:
                    self.waits.setdefault(self.phase, []).append(time.monotonic() - begun)
        except Exception as error:  # Told by the main thread.
            self.failed = error


def audit(url):
    """Seconds that an audit of everything takes, as somebody who asks for it sees it."""
    begun = time.monotonic()
    number = ask(url + "/admin/audit", {})["request"]
    while True:
        report = ask(url + "/admin/audit")
        if report["last_finished_request"] >= number:
            states = {one["collection_name"]: one["state"] for one in report["collections"]}
            if states.get("bulk") != "equal":
                raise Failed(f"the audit found {states}")
            return time.monotonic() - begun
        time.sleep(0.05)


def heal(cluster):
    """Seconds from the lost server's first heartbeat until every collection has two copies again."""
    replica = cluster.servers[1]
    replica.kill()
    shutil.rmtree(cluster.folder / "replica")
    replica.start()
    begun = time.monotonic()
    while True:
        status = cluster.status()
        if not status["diverged"] and status["without_second_copy"]["count"] == 0 and status["healthy_instances"] == 2:
            return time.monotonic() - begun
        time.sleep(0.1)


def shown(waits):
    waits = sorted(waits)
    at = lambda share: 1000 * waits[min(len(waits) - 1, int(share * len(waits)))]
    return f"{len(waits):6} writes, median {1000 * statistics.median(waits):6.1f} ms, p99 {at(0.99):7.1f} ms, longest {1000 * waits[-1]:7.1f} ms"


def work(clusters, asked, folder):
    cluster = Cluster(folder / "edge")
    bare = Cluster(folder / "bare")
    clusters += [cluster, bare]
    cluster.start()
    bare.servers[0].start()
    count = asked.records
    fill(cluster.edge.port, "bulk", count)
    other = ask(cluster.edge.url + COLLECTIONS, {"name": "other"})["id"]
    alone = audit(cluster.edge.url)
    writer = Writer(cluster.edge.port, other)
    writer.start()
    writer.phase = "nothing else"
    time.sleep(asked.seconds)
    writer.phase = None
    plain = fill(bare.servers[0].port, "bulk", count)
    writer.phase = "audit"
    audited = audit(cluster.edge.url)
    writer.phase = "healing"
    healed = heal(cluster)
    writer.going = False
    writer.join(60)
    if writer.failed:
        raise Failed(f"the writer: {writer.failed}")
    print(f"records                       {count}, dimension {DIMENSION}")
    print(f"plain upserts, bare server    {count / plain:8.0f} records/s (beside the writer)")
    print(f"made whole                    {count / healed:8.0f} records/s = {plain / healed:.2f} of that")
    print(f"audit that is asked for       {count / alone:8.0f} records/s")
    print(f"the same beside the writer    {count / audited:8.0f} records/s")
    for phase, waits in writer.waits.items():
        print(f"a writer beside {phase:13} {shown(waits)}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the writer alone")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-healing-") as folder:
        return run_script("bench_healing", lambda clusters: work(clusters, asked, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
