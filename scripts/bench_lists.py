"""What lists of collections cost through the edge: ratios to a bare Chroma server, taken in one run.

Measured: a client that reads 30 pages of 10 of 1,000 collections; a list of 3,000 at once; the first such list after a
start of the edge, when it has read none of them; a collection by its name; and a writer of single documents beside
eight clients that read page after page.

Bare server and edge take turns in short rounds, so that a machine that is slow for a while is slow for both. Compare
the ratios, not the numbers of different runs. Standard library only.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from cluster import Cluster, Failed, http as ask, run_script

DATABASES = "/api/v2/tenants/default_tenant/databases"
PAGES, PAGE, LISTERS = 30, 10, 8


class Target:
    """One of the compared targets."""

    def __init__(self, name, cluster, server):
        self.name, self.cluster, self.server = name, cluster, server
        self.port, self.url = server.port, server.url
        self.measured = {}

    def note(self, measure, value):
        self.measured.setdefault(measure, []).append(value)

    def fill(self, database, count):
        ask(f"{self.url}{DATABASES}", {"name": database})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        for number in range(count):
            body = json.dumps({"name": f"collection-{number:05}", "metadata": {"number": number}})
            call(connection, "POST", collections(database), body)
        connection.close()


def collections(database):
    return f"{DATABASES}/{database}/collections"


def call(connection, method, path, body=None):
    headers = {"content-type": "application/json"} if body else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise Failed(f"{method} {path} was answered {answer.status}: {text[:200]!r}")
    return text


def connect(target):
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=120)
    connection.connect()
    return connection


def timed(target, measure, work):
    connection = connect(target)
    begun = time.perf_counter()
    work(connection)
    target.note(measure, time.perf_counter() - begun)
    connection.close()


def pages(connection):
    for page in range(PAGES):
        call(connection, "GET", f"{collections('thousand')}?limit={PAGE}&offset={page * PAGE}")


def whole(count):
    def work(connection):
        listed = json.loads(call(connection, "GET", f"{collections('many')}?limit={count}"))
        if len(listed) != count:
            raise Failed(f"a list of {len(listed)}")
    return work


def by_name(connection):
    for number in range(100):
        call(connection, "GET", f"{collections('thousand')}/collection-{number:05}")


def beside_listers(target, collection, round_number, writes):
    """Returns a writer's waits while eight clients read page after page of 1,000 collections, including its own."""
    over, failures = threading.Event(), []

    def lister():
        try:
            connection = connect(target)
            while not over.is_set():
                pages(connection)
            connection.close()
        except Exception as error:  # Reported by the main thread.
            failures.append(error)

    threads = [threading.Thread(target=lister) for _ in range(LISTERS)]
    for thread in threads:
        thread.start()
    connection, waits = connect(target), []
    for number in range(writes):
        body = json.dumps({"ids": [f"{round_number}-{number}"], "embeddings": [[0.5] * 64]})
        begun = time.perf_counter()
        call(connection, "POST", f"{collections('thousand')}/{collection}/add", body)
        waits.append(time.perf_counter() - begun)
    over.set()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(f"{target.name}: {failures[0]!r}")
    target.note("a write beside eight listers", statistics.median(waits))
    target.note("the longest of them", max(waits))


def report(targets):
    bare, edge = targets
    print(f"\n  {'':<44}{'bare':>12}{'edge':>12}{'edge / bare':>14}")
    for measure, ours in edge.measured.items():
        its = bare.measured[measure]
        ratio = statistics.median(mine / other for mine, other in zip(ours, its))
        mine, other = statistics.median(ours) * 1000, statistics.median(its) * 1000
        print(f"  {measure:<44}{other:>9.2f} ms{mine:>9.2f} ms{ratio:>13.2f}x")
    print()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--many", type=int, default=3000)
    options.add_argument("--writes", type=int, default=40)
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-bench-") as folder:

        def bench(clusters):
            for name in ["bare", "edge"]:
                cluster = Cluster(Path(folder) / name)
                clusters.append(cluster)
                for process in cluster.servers[:1] if name == "bare" else [*cluster.servers, cluster.edge]:
                    process.start()
            bare = Target("bare Chroma server", clusters[0], clusters[0].servers[0])
            edge = Target("edge, two servers", clusters[1], clusters[1].edge)
            targets = [bare, edge]
            writers = {}
            for target in targets:
                begun = time.perf_counter()
                target.fill("thousand", 1000)
                target.fill("many", options.many)
                listed = ask(f"{target.url}{collections('thousand')}?limit=1")
                writers[target.name] = listed[0]["id"]
                print(f"  {target.name}: filled in {time.perf_counter() - begun:.0f} s", flush=True)
            for round_number in range(options.rounds):
                edge.server.stop()
                edge.server.start()
                for target in targets:
                    timed(target, f"{PAGES} pages of {PAGE}, the first time", pages)
                    timed(target, f"{PAGES} pages of {PAGE} of 1,000", pages)
                    timed(target, f"a list of {options.many:,}, the first time", whole(options.many))
                    timed(target, f"a list of {options.many:,}", whole(options.many))
                    timed(target, "100 collections by name, the first time", by_name)
                    timed(target, "100 collections by name", by_name)
                    beside_listers(target, writers[target.name], round_number, options.writes)
                print(f"  round {round_number + 1} of {options.rounds}", flush=True)
            report(targets)

        return run_script("bench", bench)


if __name__ == "__main__":
    sys.exit(main())
