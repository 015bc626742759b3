"""What a record, a write and a collection cost, for docs/sizing.md: memory, disk and time, on real servers behind the
edge.

For each dimension, a collection is filled with documents of about 1,000 bytes, 100 per request. Then collections are
created, 8 at a time. Memory is what the kernel counts as resident before and after, disk is what the files hold at the
end. `--edge` names another binary than the release build. Standard library only.
"""

import argparse
import http.client
import json
import random
import tempfile
import threading
import time
from pathlib import Path

from cluster import Cluster, Failed, run_script

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
BATCH = 100
TEXT = "A sentence of a document as a content management system has it, with words enough to fill a kilobyte. " * 10


def disk(folder):
    return sum(one.stat().st_blocks * 512 for one in Path(folder).rglob("*") if one.is_file())


def journal(cluster):
    return sum(one.stat().st_size for one in cluster.folder.glob("journal.db*"))


class Connection:
    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def post(self, path, body):
        self.http.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise Failed(f"{path} was answered {answer.status}: {text[:200]!r}")
        return json.loads(text)


def settled(cluster):
    while cluster.status()["pending_writes"]:
        time.sleep(0.05)


def records(cluster, dimension, count):
    connection, source = Connection(cluster.edge.port), random.Random(dimension)
    connection.post(COLLECTIONS, {"name": f"d{dimension}", "configuration": {"hnsw": {"space": "cosine"}}})
    primary = cluster.servers[0]
    before = primary.memory(), cluster.edge.memory(), disk(cluster.folder / "primary"), journal(cluster)
    took, sent = 0.0, 0
    for first in range(0, count, BATCH):
        ids = [f"page-{number}" for number in range(first, first + BATCH)]
        vectors = [[round(source.gauss(0, 1), 7) for _ in range(dimension)] for _ in ids]
        body = {"ids": ids, "embeddings": vectors, "documents": [TEXT] * len(ids), "metadatas": [{"page": one, "part": 1} for one in ids]}
        sent += len(json.dumps(body))
        begun = time.monotonic()
        connection.post(f"{COLLECTIONS}/d{dimension}/upsert", body)
        took += time.monotonic() - begun
    settled(cluster)
    after = primary.memory(), cluster.edge.memory(), disk(cluster.folder / "primary"), journal(cluster)
    each = [(now - then) / count for now, then in zip(after, before)]
    print(f"  dimension {dimension}: {count} records in {took:.0f} s ({count / took:.0f}/s), {sent / count:.0f} bytes each on the wire")
    print(f"    Chroma: {each[0]:.0f} bytes of memory and {each[2]:.0f} bytes of disk for a record; journal: {each[3]:.0f} bytes")
    print(f"    the edge's memory grew by {(after[1] - before[1]) / 1e6:.0f} MB in all", flush=True)


def collections(cluster, count):
    before = [one.memory() for one in (cluster.servers[0], cluster.edge)]
    begun = time.monotonic()

    def make(worker):
        connection = Connection(cluster.edge.port)
        for number in range(worker, count, 8):
            connection.post(COLLECTIONS, {"name": f"site-{number}"})

    workers = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    took = time.monotonic() - begun
    settled(cluster)
    after = [one.memory() for one in (cluster.servers[0], cluster.edge)]
    chroma, edge = ((now - then) / count for now, then in zip(after, before))
    print(f"  {count} collections in {took:.0f} s: the edge {edge:.0f} bytes of memory for each, Chroma {chroma:.0f}", flush=True)


def main(clusters):
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--records", type=int, default=20_000)
    asked.add_argument("--collections", type=int, default=2_000)
    asked.add_argument("--dimensions", type=int, nargs="+", default=[384, 1536])
    asked.add_argument("--edge", type=Path)
    asked = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(folder, edge=asked.edge)
        clusters.append(cluster)
        cluster.start()
        print(f"sizing: empty: Chroma {cluster.servers[0].memory() / 1e6:.0f} MB, the edge {cluster.edge.memory() / 1e6:.0f} MB", flush=True)
        for dimension in asked.dimensions:
            records(cluster, dimension, asked.records)
        collections(cluster, asked.collections)
        cluster.stop()


if __name__ == "__main__":
    raise SystemExit(run_script("sizing", main))
