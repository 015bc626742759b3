"""What the edge costs, or saves, when many clients write at once: ratios taken in one run.

32 clients add single documents (384 dimensions) at the same time (a) to a bare Chroma server, (b) through the edge as it is
by default, which merges neighbouring writes into one request, (c) through the edge with `merge_documents: 1`: one
request upstream for each request of a client. A proxy that passes each write through on its own can at best be as fast
as (a), since Chroma executes such writes one after another. Behind (b) and (c) a replica works on the same processors.

The three take turns in short rounds, so that a machine that is slow for a while is slow for all; compare the ratios, not
the numbers of different runs. Standard library only.
"""

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from cluster import Cluster, Failed, http as ask, run_script

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
DIMENSION = 384


class Target:
    """One of the things compared: where its clients write, and what each round measured."""

    def __init__(self, name, cluster, server):
        self.name, self.cluster = name, cluster
        self.port, self.url = server.port, server.url
        self.rates, self.waits = [], []
        self.path = ""

    def create(self, round_number):
        created = ask(self.url + COLLECTIONS, {"name": f"bench-{round_number}"})
        self.path = f"{COLLECTIONS}/{created['id']}/add"


def body(source, record):
    # Six digits are what a vector of 32-bit floats takes as text.
    embedding = [round(source.uniform(-1, 1), 6) for _ in range(DIMENSION)]
    return json.dumps({"ids": [record], "embeddings": [embedding], "documents": [f"document {record}"]}).encode()


def client(target, bodies, begin, waits, failures):
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=120)
    try:
        connection.connect()
        begin.wait()
        for one in bodies:
            begun = time.perf_counter()
            connection.request("POST", target.path, one, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            waits.append(time.perf_counter() - begun)
            if answer.status != 201:
                raise Failed(f"{target.name} answered {answer.status}: {text[:200]!r}")
    except Exception as error:  # Told by the main thread.
        failures.append(error)
        begin.abort()
    finally:
        connection.close()


def measure(target, round_number, clients, writes):
    """One round: `clients` connections with `writes` each, all started together."""
    target.create(round_number)
    source = random.Random(round_number)
    # Made beforehand: the clients share the processors with the servers.
    bodies = [[body(source, f"{number}-{step}") for step in range(writes)] for number in range(clients)]
    begin, waits, failures = threading.Barrier(clients + 1), [], []
    threads = [threading.Thread(target=client, args=(target, mine, begin, waits, failures)) for mine in bodies]
    for thread in threads:
        thread.start()
    try:
        begin.wait()
    except threading.BrokenBarrierError:
        pass
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(f"{target.name}: {failures[0]!r}")
    target.rates.append(clients * writes / (time.perf_counter() - begun))
    target.waits.append(statistics.median(waits))
    # The replica's share must not fall into the next one's round.
    if target.cluster.edge.running():
        begun = time.perf_counter()
        while target.cluster.status()["pending_writes"]:
            time.sleep(0.01)
        return time.perf_counter() - begun
    return 0.0


def report(targets):
    bare = targets[0]
    print(f"\n  {'':<34}{'writes/s':>10}{'of bare':>9}{'median wait':>14}{'of bare':>9}")
    for target in targets:
        # Rounds are compared with the bare round beside them, then the median is taken.
        rate = statistics.median(mine / its for mine, its in zip(target.rates, bare.rates))
        wait = statistics.median(mine / its for mine, its in zip(target.waits, bare.waits))
        rates, waits = statistics.median(target.rates), statistics.median(target.waits) * 1000
        print(f"  {target.name:<34}{rates:>10.0f}{rate:>8.2f}x{waits:>11.1f} ms{wait:>8.2f}x")
    merged, single = targets[1], targets[2]
    gain = statistics.median(one / other for one, other in zip(merged.rates, single.rates))
    print(f"\n  merging makes the edge {gain:.2f} times as fast\n")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--writes", type=int, default=10, help="per client and round")
    options.add_argument("--rounds", type=int, default=9)
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-bench-") as folder:

        def bench(clusters):
            for name, lines in [("bare", ""), ("merged", ""), ("single", "  limits: { merge_documents: 1 }\n")]:
                cluster = Cluster(Path(folder) / name, more=lines)
                clusters.append(cluster)
                for process in cluster.servers[:1] if name == "bare" else [*cluster.servers, cluster.edge]:
                    process.start()
            bare, merged, single = clusters
            targets = [
                Target("bare Chroma server", bare, bare.servers[0]),
                Target("edge, two servers", merged, merged.edge),
                Target("edge, merge_documents: 1", single, single.edge),
            ]
            print(f"{options.rounds} rounds of {options.clients} clients with {options.writes} adds each")
            for round_number in range(options.rounds + 1):
                for target in targets:
                    behind = measure(target, round_number, options.clients, options.writes)
                    print(f"  round {round_number} {target.name:<28}{target.rates[-1]:>6.0f}/s"
                          f"  the replica had it {behind:.2f} s later", flush=True)
                if round_number == 0:  # The first one warms up.
                    for target in targets:
                        target.rates.clear(), target.waits.clear()
            report(targets)

        return run_script("bench", bench)


if __name__ == "__main__":
    sys.exit(main())
