"""What healing and audits do in a second, and what a writer feels of it: one run on real servers.

A collection of records (dimension 384) is filled through the edge; then, in turn: plain upserts of the same records into a bare
third server (what Chroma itself takes) and into a replica that has lost its disk; an audit that somebody asks for; the disk is lost once more; it comes back with an
older folder, of which 1 % of the records have changed since, and is repaired. A writer of single
documents to another collection runs from the second audit on. Compare the ratios, not the numbers of different runs. Standard library only.
"""

import argparse
import http.client
import json
import random
import re
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


MARKER = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections/marker"
HEAL = "  heal: { enabled: true, marker_interval: 1s }\n  recovery_interval: 1s\n"


def marked(server):
    return ask(server.url + MARKER)["metadata"]["generation"]


def change(port, count):
    """One record of a hundred: half of them updated, a quarter deleted, a quarter new."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    made = ask(f"http://127.0.0.1:{port}{COLLECTIONS}/bulk")["id"]
    some = max(1, count // 400)
    updated = [f"record-{number}" for number in range(0, count, count // (2 * some))][: 2 * some]
    body = {"ids": updated, "documents": ["changed since"] * len(updated)}
    post(connection, f"{COLLECTIONS}/{made}/update", json.dumps(body))
    post(connection, f"{COLLECTIONS}/{made}/delete", json.dumps({"ids": [f"record-{number + 1}" for number in range(some)]}))
    new = {"ids": [f"new-{number}" for number in range(some)], "embeddings": [[0.25] * DIMENSION] * some}
    post(connection, f"{COLLECTIONS}/{made}/upsert", json.dumps(new))
    connection.close()


def come_back_older(cluster, count):
    """Seconds from the first heartbeat with an older folder until every collection has two copies again; and what the log says of
    the repair itself."""
    replica, saved = cluster.servers[1], cluster.folder / "saved"
    replica.kill()
    shutil.copytree(cluster.folder / "replica", saved)
    replica.start()
    before = marked(replica)
    change(cluster.edge.port, count)
    while marked(replica) < before + 2:
        time.sleep(0.2)
    replica.kill()
    shutil.rmtree(cluster.folder / "replica")
    shutil.copytree(saved, cluster.folder / "replica")
    replica.start()
    begun = time.monotonic()
    said = re.compile(r"the copy is repaired and serves.* records=(\d+) written=(\d+) seconds=([0-9.]+)")
    while True:
        told = [found for found in said.findall(cluster.edge.log.read_text(errors="replace")) if int(found[0]) >= count // 2]
        if told and not cluster.status()["diverged"]:
            return time.monotonic() - begun, told[-1]
        time.sleep(0.1)


def copied(cluster, count):
    """Seconds that the last copy of the large collection took, by the log."""
    said = re.compile(r"the copy is made and serves.* records=(\d+) seconds=([0-9.]+)")
    told = [float(took) for records, took in said.findall(cluster.edge.log.read_text(errors="replace")) if int(records) >= count // 2]
    if not told:
        raise Failed("the log says of no copy that it was made")
    return told[-1]


def shown(waits):
    waits = sorted(waits)
    at = lambda share: 1000 * waits[min(len(waits) - 1, int(share * len(waits)))]
    return f"{len(waits):6} writes, median {1000 * statistics.median(waits):6.1f} ms, p99 {at(0.99):7.1f} ms, longest {1000 * waits[-1]:7.1f} ms"


def work(clusters, asked, folder):
    cluster = Cluster(folder / "edge", more=HEAL.replace("1s }", f"1s, memory: {asked.memory} }}", 1))
    bare = Cluster(folder / "bare")
    clusters += [cluster, bare]
    cluster.start()
    bare.servers[0].start()
    count = asked.records
    fill(cluster.edge.port, "bulk", count)
    other = ask(cluster.edge.url + COLLECTIONS, {"name": "other"})["id"]
    alone = audit(cluster.edge.url)
    plain_alone = fill(bare.servers[0].port, "alone", count)
    heal(cluster)
    anew_alone = copied(cluster, count)
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
    anew = copied(cluster, count)
    writer.phase = None
    while marked(cluster.servers[1]) < 2:
        time.sleep(0.2)
    writer.phase = "a repair"
    older, (compared, written, repaired) = come_back_older(cluster, count)
    writer.going = False
    writer.join(60)
    if writer.failed:
        raise Failed(f"the writer: {writer.failed}")
    print(f"records                       {count}, dimension {DIMENSION}")
    print(f"plain upserts, bare server    {count / plain_alone:8.0f} records/s; beside the writer {count / plain:.0f}")
    print(f"a copy made anew              {count / anew_alone:8.0f} records/s = {plain_alone / anew_alone:.2f} of that")
    print(f"the same beside the writer    {count / anew:8.0f} records/s = {plain / anew:.2f} of that, {plain / healed:.2f} with the time until it is noticed")
    print(f"audit that is asked for       {count / alone:8.0f} records/s")
    print(f"the same beside the writer    {count / audited:8.0f} records/s")
    print(f"older folder, 1 % changed     {older:8.1f} s until whole; the repair itself {repaired} s, {compared} compared, {written} written")
    print(f"the same, copied anew         {anew:8.1f} s for the copy itself, {count} written; {anew / float(repaired):.1f} times as long")
    for phase, waits in writer.waits.items():
        print(f"a writer beside {phase:13} {shown(waits)}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the writer alone")
    parser.add_argument("--memory", default="32MiB", help="heal.memory")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-healing-") as folder:
        return run_script("bench_healing", lambda clusters: work(clusters, asked, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
