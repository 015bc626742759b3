"""What the edge costs, or saves, when many clients write at once: ratios taken in one run.

Many clients add single documents (384 dimensions) to one collection, each its next one as soon as it has an answer: to
a bare Chroma server, through the edge with its defaults, through an edge that holds nothing (`batching`), and through
one with `merge_documents: 1`, which sends one request upstream for each request of a client. *Ideal* is one client
that sends one request with all those documents to both servers at once and waits for both: what the writers could
reach if they were always merged completely. A proxy that passes on each write by itself can at best be as fast as the
bare server, since Chroma executes such writes one after another. Behind the edge, a replica works on the same
processors.

All take turns in short rounds, so that a machine that is slow for a while is slow for all. Compare the ratios, not the
numbers of different runs. The clients are those of `load.py`, which cost next to nothing. `--edge NAME=PATH`, which
may be repeated, compares other binaries of the edge. Standard library only.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster, http as ask, run_script
from load import Loop, closed_loop

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@dataclass(frozen=True)
class Shape:
    """What a client writes in one request."""

    documents: int = 1
    dimension: int = 384


class Target:
    """One of the compared targets: where its clients write, and what each round measured."""

    def __init__(self, name, cluster, servers):
        self.name, self.cluster, self.servers = name, cluster, servers
        # One client that writes what all the others do.
        self.merged = name == "ideal"
        # Whether there is a replica, so that a round includes its share.
        self.follows = True
        self.rates, self.waits, self.paths = [], [], []

    def create(self, name):
        made = [ask(server.url + COLLECTIONS, {"name": name}) for server in self.servers]
        self.paths = [f"{COLLECTIONS}/{one['id']}/add" for one in made]


def body(source, records, dimension):
    # As text, a vector of 32-bit floats takes six digits per float.
    vectors = [[round(source.uniform(-1, 1), 6) for _ in range(dimension)] for _ in records]
    documents = [f"document {record}" for record in records]
    return json.dumps({"ids": records, "embeddings": vectors, "documents": documents}).encode()


def requests_of(source, label, count, shape):
    """Yields the request of each step, without its first line."""
    for step in range(count):
        sent = body(source, [f"{label}-{step}-{number}" for number in range(shape.documents)], shape.dimension)
        yield f"host: bench\r\ncontent-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent


def whole(path, request):
    return f"POST {path} HTTP/1.1\r\n".encode() + request


def measure(target, label, clients, writes, shape=Shape()):
    """Runs one round with this many writes of each client. Returns how long the replica took to follow."""
    target.create(f"bench-{label}")
    source = random.Random(label)
    # Made beforehand, since the clients share the processors with the servers.
    each = Shape(shape.documents * clients, shape.dimension) if target.merged else shape
    loops = [
        Loop([[whole(path, sent) for path in target.paths] for sent in requests_of(source, str(number), writes, each)])
        for number in range(1 if target.merged else clients)
    ]
    seen = closed_loop([server.port for server in target.servers], loops)
    target.rates.append(clients * writes * shape.documents / seen.took)
    target.waits.append(statistics.median(seen.waits))
    # The replica's share must not fall into the next target's round.
    begun = time.perf_counter()
    if target.follows and target.cluster.edge.running():
        while target.cluster.status()["pending_writes"]:
            time.sleep(0.01)
    return time.perf_counter() - begun


def quartiles(values):
    """Returns the lower quartile, the median and the upper quartile."""
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


def spread(ratios):
    low, middle, high = quartiles(ratios)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def report(targets, clients):
    bare, ideal = targets[0], targets[1]
    print(f"\n  {clients} clients: medians, and of the ratios the middle half of the rounds")
    print(f"  {'':<26}{'writes/s':>9}{'of bare':>22}{'of ideal':>22}{'median wait':>13}")
    rows = []
    for target in targets:
        # Each round is compared with the other targets' rounds beside it. Then the median is taken.
        of_bare = [mine / its for mine, its in zip(target.rates, bare.rates)]
        of_ideal = [mine / its for mine, its in zip(target.rates, ideal.rates)]
        rate, wait = statistics.median(target.rates), statistics.median(target.waits) * 1000
        print(f"  {target.name:<26}{rate:>9.0f}{spread(of_bare):>22}{spread(of_ideal):>22}{wait:>10.1f} ms")
        rows.append({"name": target.name, "rates": target.rates, "waits": target.waits})
    return {"clients": clients, "rows": rows}


def turns(targets, rounds, clients, writes, shape=Shape(), tell=lambda number, target, behind: None):
    """Measures the rates and waits of the targets, one round of each after the other. The first round is a warm-up."""
    for number in range(rounds + 1):
        for target in targets:
            if number <= 1:
                target.rates.clear(), target.waits.clear()
            tell(number, target, measure(target, f"{clients}-{number}", clients, writes, shape))


def run_rounds(targets, clients, options):
    def tell(number, target, behind):
        print(f"  {clients} clients, round {number} {target.name:<26}{target.rates[-1]:>6.0f}/s"
              f"  the replica had it {behind:.2f} s later", flush=True)

    turns(targets, options.rounds, clients, options.writes, tell=tell)
    return report(targets, clients)


def begin(clusters, folder, name, edge=None, more=""):
    """Starts the target with this name: servers alone, or with an edge in front."""
    cluster = Cluster(Path(folder) / f"{len(clusters)}", more=more, edge=edge)
    clusters.append(cluster)
    bare = {"bare": cluster.servers[:1], "ideal": cluster.servers, "by hand": cluster.servers}
    for process in bare.get(name, [*cluster.servers, cluster.edge]):
        process.start()
    return Target(name, cluster, bare.get(name, [cluster.edge]))


def edges_of(options):
    """Returns name, binary (None: the release build) and further configuration of each compared edge."""
    named = [one.partition("=") for one in options.edge]
    edges = [(name, Path(path).resolve(), "") for name, _, path in named] or [("edge", None, "")]
    if len(edges) == 1:
        binary = edges[0][1]
        edges.append(("edge, nothing is held", binary, "  batching: { hold: 0s, replica_lag: 0s }\n"))
        edges.append(("edge, merge_documents: 1", binary, "  limits: { merge_documents: 1 }\n"))
    return edges[: options.edges]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=lambda text: [int(one) for one in text.split(",")], default=[32])
    options.add_argument("--writes", type=int, default=10, help="per client and round")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--edge", action="append", default=[], metavar="NAME=PATH")
    options.add_argument("--edges", type=int, default=9, help="compare only the first so many edges")
    options.add_argument("--json", type=Path, help="write the figures there")
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-bench-") as folder:

        def bench(clusters):
            edges = edges_of(options)
            targets = [begin(clusters, folder, name, edges[0][1]) for name in ("bare", "ideal")]
            targets += [begin(clusters, folder, *edge) for edge in edges]
            print(f"{options.rounds} rounds with {options.writes} adds for each client")
            found = [run_rounds(targets, clients, options) for clients in options.clients]
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(found, indent=1))

        return run_script("bench", bench)


if __name__ == "__main__":
    sys.exit(main())
