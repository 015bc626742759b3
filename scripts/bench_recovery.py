"""How long recovery takes: from an instance's return to the last RECOVERED, for many promised writes.

All instances are killed, clients write to several collections and are answered 503 with `"recovery": "pending"`. Then
one instance is restarted, and the clock runs from its first heartbeat until no transaction is FAILED. The content is
compared at the end: every promised record, once. Standard library only.
"""

import argparse
import http.client
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench_writes import COLLECTIONS, body
from cluster import Cluster, Failed, http as ask, run_script


def promised(port, path, bodies, failures):
    """Sends writes that no instance can take. Each must be answered 503, recovery pending."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for one in bodies:
            connection.request("POST", path, one, {"content-type": "application/json"})
            answer = connection.getresponse()
            told = json.load(answer)
            if answer.status != 503 or told.get("recovery") != "pending":
                raise Failed(f"answered {answer.status}: {told}")
    except Exception as error:  # Reported by the main thread.
        failures.append(error)
    finally:
        connection.close()


def statuses(journal):
    store = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
    try:
        return dict(store.execute("SELECT status, count(*) FROM transactions GROUP BY status"))
    finally:
        store.close()


def away(cluster):
    return all(not instance["healthy"] for instance in cluster.status()["instances"])


def run(cluster, writes, collections, clients, seed):
    for process in [*cluster.servers, cluster.edge]:
        process.start()
    paths = []
    for number in range(collections):
        made = ask(cluster.edge.url + COLLECTIONS, {"name": f"recovery-{number}"})
        paths.append(f"{COLLECTIONS}/{made['id']}")
    for server in cluster.servers:
        server.kill()
    while not away(cluster):
        time.sleep(0.05)
    source, failures, threads = random.Random(seed), [], []
    for number in range(clients):
        mine = [body(source, f"{number}-{step}") for step in range(number, writes, clients)]
        path = paths[number % collections] + "/add"
        threads.append(threading.Thread(target=promised, args=(cluster.edge.port, path, mine, failures)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(repr(failures[0]))
    journal = cluster.folder / "journal.db"
    while statuses(journal).get("FAILED", 0) < writes:
        time.sleep(0.02)
    print(f"  {writes} writes to {collections} collections are promised; an instance returns", flush=True)
    cluster.servers[0].start()
    begun = time.monotonic()
    seen = None
    while True:
        now = statuses(journal)
        took = time.monotonic() - begun
        if seen is None and now.get("RECOVERED"):
            seen = took
        if now.get("RECOVERED", 0) >= writes:
            break
        if took > 120:
            raise Failed(f"after {took:.0f} s: {now}")
        time.sleep(0.005)
    held = sum(ask(cluster.edge.url + path + "/count") for path in paths)
    if held != writes:
        raise Failed(f"{held} records instead of {writes}")
    print(f"  the first RECOVERED after {seen:.2f} s, the last after {took:.2f} s; {held} records, each once", flush=True)
    return took


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--writes", type=int, default=1000)
    options.add_argument("--collections", type=int, default=10)
    options.add_argument("--clients", type=int, default=100)
    options.add_argument("--rounds", type=int, default=3)
    options = options.parse_args()
    took = []
    with tempfile.TemporaryDirectory(prefix="chroma-edge-bench-") as folder:
        for number in range(options.rounds):

            def measure(clusters, number=number):
                cluster = Cluster(Path(folder) / str(number), more="  write_wait: 100ms\n")
                clusters.append(cluster)
                took.append(run(cluster, options.writes, options.collections, options.clients, number))

            code = run_script("bench", measure)
            if code:
                return code
    print(f"\n  from its return to the last RECOVERED: {min(took):.2f} to {max(took):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
