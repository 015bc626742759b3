"""What a read costs through the edge: ratios taken in one run, and instructions for each request.

A few connections repeat the same request (a) to a bare Chroma server, (b) through the edge in front of that server and
a replica, (c) through nginx in front of the same server, if nginx is installed. They take turns in short rounds, so
that a machine that is slow for a while is slow for all. Compare the ratios, not the numbers of different runs. The
clients are those of `load.py`, because an HTTP library costs more than what is measured. Reads go to the primary.

Besides the rates, it shows the microseconds of processor time that the edge takes for a request. They vary with the
machine. `--instructions` counts instead how many instructions of its own the edge executes (under Valgrind's
callgrind, which must be installed). That is repeatable within a few percent. Standard library only.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster import CACHE, Cluster, Process, free_port, http as ask, run_script
from load import Loop, closed_loop

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
DIMENSION = 384


def request(method, path, body=None):
    body = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return (head if body else f"{method} {path} HTTP/1.1\r\nhost: bench\r\n\r\n").encode() + body


def together(port, bytes_, connections, count):
    """Returns the seconds that this many connections take for this many requests each."""
    return closed_loop([port], [Loop([[bytes_]], count)] * connections).took


def processor_time(pid):
    """Returns the microseconds that the process has taken so far, over all of its threads."""
    # The clock of another process, as clock_getcpuclockid(3) computes it.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1000


def nginx(folder, upstream):
    binary = shutil.which("nginx") or shutil.which("nginx", path=f"/usr/sbin:{CACHE}/tools/bin")
    if not binary:
        return None
    port = free_port()
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    configuration = Path(folder) / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{ access_log off; {temporary}\n"
        f"upstream chroma {{ server 127.0.0.1:{upstream}; keepalive 64; }}\n"
        f"server {{ listen 127.0.0.1:{port}; client_max_body_size 64m; keepalive_requests 1000000000;\n"
        'location / { proxy_pass http://chroma; proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n'
    )
    return Process("nginx", [binary, "-c", configuration, "-p", folder], port, "/api/v2/heartbeat", Path(folder) / "out.log")


def fill(url, records):
    created = ask(url + COLLECTIONS, {"name": "bench"})
    path = f"{COLLECTIONS}/{created['id']}"
    for first in range(0, records, 500):
        numbers = range(first, min(first + 500, records))
        ask(url + path + "/add", {
            "ids": [str(number) for number in numbers],
            "documents": [f"document {number}" for number in numbers],
            "embeddings": [[((number * 31 + place * 17) % 997) / 997 for place in range(DIMENSION)] for number in numbers],
        }, timeout=120)
    return path


def requests(document):
    vector = [round(((place * 13) % 100) / 100, 6) for place in range(DIMENSION)]
    return {
        "GET /heartbeat": lambda _: request("GET", "/api/v2/heartbeat"),
        "get, one id": lambda own: request("POST", f"{COLLECTIONS}/{own}/get", {"ids": [document]}),
        "query, n=10": lambda own: request("POST", f"{COLLECTIONS}/{own}/query", {"query_embeddings": [vector], "n_results": 10}),
        "get, 100 KB": lambda own: request("POST", f"{COLLECTIONS}/{own}/get", {"limit": 20, "include": ["embeddings"]}),
    }


def rates(options, cluster, targets, own, wanted):
    print(f"  {'':<18}{'bare/s':>9}" + "".join(f"{name + '/bare':>20}" for name in list(targets)[1:]) + f"{'edge/nginx':>12}{'edge us':>10}")
    found = {}
    for name, make in wanted.items():
        measured, cost = {target: [] for target in targets}, []
        found[name] = {"rates": measured, "edge_us": cost}
        for number in range(options.rounds + 1):
            for target, port in targets.items():
                bytes_ = make(own[target])
                before = processor_time(cluster.edge.pid)
                seconds = together(port, bytes_, options.connections, options.count)
                after = processor_time(cluster.edge.pid)
                if number > 0:  # The first one warms up.
                    measured[target].append(options.connections * options.count / seconds)
                    if target == "edge":
                        cost.append((after - before) / (options.connections * options.count))
        ratio = lambda one, other: [mine / its for mine, its in zip(measured[one], measured[other])]
        shown = [spread(ratio(target, "bare")) for target in list(targets)[1:]]
        beside = f"{statistics.median(ratio('edge', 'nginx')):>12.2f}" if "nginx" in targets else f"{'-':>12}"
        print(f"  {name:<18}{statistics.median(measured['bare']):>9.0f}" + "".join(f"{one:>20}" for one in shown)
              + beside + f"{statistics.median(cost):>10.1f}", flush=True)
    return found


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def instructions(options, cluster, own, wanted):
    """Starts the edge under callgrind, and counts the instructions for some requests, less what it executes when idle."""
    edge, out = cluster.edge, cluster.folder / "callgrind"
    edge.stop()
    edge.command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--instr-atstart=no",
                    "--collect-jumps=no", *edge.command]
    edge.start(patience=300)
    control = lambda *what: subprocess.run(["callgrind_control", *what, str(edge.pid)], check=True, capture_output=True)
    control("-i", "on")

    def counted(work):
        control("-z")
        begun = time.monotonic()
        work()
        seconds = time.monotonic() - begun
        for old in out.parent.glob("callgrind.*"):
            old.unlink()
        control("-d")
        text = "".join(dump.read_text() for dump in out.parent.glob("callgrind.*"))
        return sum(int(total) for total in re.findall(r"(?m)^totals: (\d+)", text)), seconds

    idle, took = counted(lambda: time.sleep(5))
    print(f"  {'':<18}{'instructions/request':>22}{'of a heartbeat':>16}")
    base = None
    for name, make in wanted.items():
        bytes_ = make(own["edge"])
        together(edge.port, bytes_, 1, 50)
        counts = []
        for _ in range(3):
            total, seconds = counted(lambda: together(edge.port, bytes_, 1, options.count))
            counts.append((total - idle * seconds / took) / (options.count + 1))
        one = statistics.median(counts)
        base = base or one
        print(f"  {name:<18}{one:>22.0f}{one / base:>15.2f}x", flush=True)
        if options.profile:
            shutil.copy(next(out.parent.glob("callgrind.*")), options.profile + "." + re.sub(r"\W+", "-", name))


def filled(clusters, folder, records):
    """Returns a cluster with a collection of this many records, and the collection's id for each of the compared targets."""
    cluster = Cluster(Path(folder) / "reads", more="  read_replica_ratio: 0\n")
    clusters.append(cluster)
    cluster.start()
    path = fill(cluster.edge.url, records)
    while cluster.status()["pending_writes"]:
        time.sleep(0.05)
    listed = ask(cluster.servers[0].url + COLLECTIONS)
    theirs = next(one["id"] for one in listed if one["name"] == "bench")
    return cluster, {"edge": path.rsplit("/", 1)[1], "bare": theirs, "nginx": theirs}


def reached(cluster):
    """Returns the ports of the compared targets."""
    targets = {"bare": cluster.servers[0].port, "edge": cluster.edge.port}
    proxy = nginx(cluster.folder, cluster.servers[0].port)
    if proxy:
        cluster.servers.append(proxy)
        proxy.start()
        targets["nginx"] = proxy.port
    return targets


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--connections", type=int, default=8)
    options.add_argument("--count", type=int, default=200, help="requests of each connection in a round")
    options.add_argument("--records", type=int, default=10_000)
    options.add_argument("--only", help="rows whose name contains this")
    options.add_argument("--instructions", action="store_true", help="count instructions instead of time")
    options.add_argument("--profile", help="keep callgrind's files under this name")
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="chroma-edge-bench-") as folder:

        def bench(clusters):
            cluster, own = filled(clusters, folder, options.records)
            wanted = {name: make for name, make in requests("77").items() if not options.only or options.only in name}
            if options.instructions:
                return instructions(options, cluster, own, wanted)
            rates(options, cluster, reached(cluster), own, wanted)
            return 0

        return run_script("bench", bench)


if __name__ == "__main__":
    sys.exit(main())
