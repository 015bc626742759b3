"""`make bench`: what the edge costs and what it saves, as one table, on real servers.

    make bench [ROWS=writes,reads]      for the list of rows: `scripts/bench.py --list`

Everything that is compared takes turns in short rounds of one run, so that a machine that is slow for a while is slow
for all. The table shows the median of the rounds' ratios, and the middle half of them. The clients are those of
`load.py`, which cost next to nothing. `target/bench/report.json` has every round. The `bench_*.py` beside this file
measure single parts in more detail. Nothing is asserted: on a machine that does other work, that work is measured too.
Standard library only.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import bench_growth
import bench_lists
import bench_reads
import bench_writes
from bench_writes import Shape, quartiles, turns
from cluster import ROOT, Failed, run_script

REPORT = ROOT / "target" / "bench" / "report.json"


class Table:
    """The figures so far."""

    def __init__(self):
        self.rows = []

    def ratio(self, what, ours, theirs, must=""):
        """Adds our values divided by theirs, round by round."""
        self._add(what, [mine / its for mine, its in zip(ours, theirs)], "x", must)

    def value(self, what, values, unit, must=""):
        self._add(what, values, f" {unit}", must)

    def _add(self, what, values, unit, must):
        low, middle, high = quartiles(values)
        digits = 2 if abs(middle) < 100 else 0
        shown, between = f"{middle:.{digits}f}{unit}", f"{low:.{digits}f} to {high:.{digits}f}"
        self.rows.append({"what": what, "median": middle, "unit": unit.strip(), "goal": must, "rounds": values})
        print(f"  {what:<66}{shown:>14}  {between:<20}{must}", flush=True)

    def write(self):
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        report = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "processors": os.cpu_count(), "rows": self.rows}
        REPORT.write_text(json.dumps(report, indent=1) + "\n")


def writes(table, start, rounds):
    """Single documents by many clients at once, into one collection."""
    bare, ideal, edge = targets = [start(name) for name in ("bare", "ideal", "edge")]
    for clients, count, of_ideal, of_bare in [(32, 20, "0.85", "5"), (128, 16, "0.9", "8")]:
        turns(targets, rounds, clients, count)
        table.ratio(f"{clients} writers of single documents / merged by hand", edge.rates, ideal.rates, f">= {of_ideal}")
        table.ratio(f"{clients} writers of single documents / one bare server", edge.rates, bare.rates, f">= {of_bare}")


def bulk(table, start, rounds):
    """Four clients with 50 documents of 1536 dimensions each."""
    hand, edge = targets = [start(name) for name in ("by hand", "edge")]
    turns(targets, rounds, 4, 4, Shape(50, 1536))
    table.ratio("4 writers of 50 documents (1536) / written to both by hand", edge.rates, hand.rates, ">= 1.2")


def lone(table, start, rounds):
    """One writer, without a replica that would share the processors."""
    bare, edge = targets = [start(name) for name in ("bare", "edge")]
    edge.cluster.servers[1].kill()
    edge.follows = False
    turns(targets, rounds, 1, 60)
    added = [(mine - its) * 1000 for mine, its in zip(edge.waits, bare.waits)]
    table.value("a lone writer's wait, more than at a bare server", added, "ms", "< 1 ms")


def reads(table, start, rounds):
    """Small reads on eight connections, with nginx in the same run if it is installed."""
    cluster, own = bench_reads.filled(start.clusters, start.folder, 10_000)
    targets = bench_reads.reached(cluster)
    options = SimpleNamespace(rounds=rounds, connections=8, count=100)
    goals = {"query, n=10": ">= 0.95", "get, one id": ">= 0.95"}
    found = bench_reads.rates(options, cluster, targets, own, bench_reads.requests("77"))
    for name, one in found.items():
        for proxy in [name for name in targets if name != "bare"]:
            table.ratio(f"{name}: {proxy} / bare server", one["rates"][proxy], one["rates"]["bare"], goals.get(name, "") if proxy == "edge" else "")
    beat = found["GET /heartbeat"]
    if "nginx" in targets:
        table.ratio("GET /heartbeat: edge / nginx", beat["rates"]["edge"], beat["rates"]["nginx"], ">= 0.75")
    table.ratio("processor time of the edge: one get / one heartbeat", found["get, one id"]["edge_us"], beat["edge_us"], "<= 2")


def whole(table, start, rounds):
    """A collection of 20,000 records, read in one answer of some 160 MB."""
    cluster, own = bench_reads.filled(start.clusters, start.folder, 20_000)
    idle = cluster.edge.memory("VmHWM")
    took = {"bare": [], "edge": []}
    for number in range(rounds + 1):
        for name, port in [("bare", cluster.servers[0].port), ("edge", cluster.edge.port)]:
            path = f"{bench_reads.COLLECTIONS}/{own[name]}/get"
            asked = bench_reads.request("POST", path, {"include": ["embeddings", "documents"]})
            seconds = bench_reads.together(port, asked, 1, 1)
            if number:
                took[name].append(1 / seconds)
    table.ratio("get of 20,000 records with embeddings: edge / bare server", took["edge"], took["bare"], ">= 0.95")
    table.value("memory that it takes at most, beyond what filling took", [(cluster.edge.memory("VmHWM") - idle) / 2**20], "MB")


def backlog(table, start, rounds):
    """The writes that an instance missed while it was away, compared with the same writes one by one to a bare server."""
    bare, edge = start("bare"), start("edge")
    bench_writes.measure(bare, "one-by-one", 1, 200)
    replica = edge.cluster.servers[1]
    caught_up, edge.follows = [], False
    for number in range(max(1, rounds // 3)):
        replica.kill()
        while edge.cluster.status()["instances"][1]["state"] != "down":
            time.sleep(0.05)
        bench_writes.measure(edge, f"backlog-{number}", 64, 40)
        replica.start()
        begun = time.perf_counter()
        while edge.cluster.status()["pending_writes"]:
            time.sleep(0.02)
        caught_up.append(64 * 40 / (time.perf_counter() - begun))
    table.ratio("a backlog of 2,560 single adds / one by one at a bare server", caught_up, bare.rates * len(caught_up), ">= 8")


def lists(table, start, rounds):
    """Pages of a database with 1,000 collections."""
    targets = []
    for name in ("bare", "edge"):
        one = start(name)
        targets.append(bench_lists.Target(name, one.cluster, one.servers[0]))
        targets[-1].fill("thousand", 1000)
    for _ in range(rounds):
        for target in targets:
            bench_lists.timed(target, "pages", bench_lists.pages)
            bench_lists.timed(target, "by name", bench_lists.by_name)
    for measure, what in [("pages", "30 pages of 10 of 1,000 collections"), ("by name", "100 collections by name")]:
        bare, edge = (target.measured[measure] for target in targets)
        table.ratio(f"{what}, time: edge / bare server", edge, bare, "< 2")


def idle(table, start, rounds):
    """What an idle edge takes."""
    edge = start("edge").cluster.edge
    before = bench_reads.processor_time(edge.pid)
    time.sleep(5)
    table.value("memory of an idle edge", [edge.memory() / 2**20], "MB", "< 30 MB")
    table.value("processor of an idle edge", [(bench_reads.processor_time(edge.pid) - before) / 5 / 10_000], "%")


def journal(table, start, rounds):
    """Appends of 1 KB by 64 writers, from the benchmark of the journal alone."""
    command = ["cargo", "bench", "--locked", "--bench", "journal", "--", "64"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        raise Failed(ran.stderr[-2000:])
    scale = {"": 1, "K": 1e3, "M": 1e6}
    # Criterion: a name at the start of a line, later `thrpt: [low middle high]`.
    name = ""
    for line in ran.stdout.splitlines():
        named = re.match(r"(\S+/\S*64\S*)", line)
        name = named[1] if named else name
        found = re.search(r"thrpt:\s+\[\S+ \S+ (\S+) (\w?)elem/s", line)
        if found:
            goal = ">= 10000" if "postgres" in name.lower() else ">= 20000"
            table.value(f"journal: {name}", [float(found[1]) * scale[found[2]]], "appends/s", goal)


def growth(table, start, rounds):
    """How costs grow with what the edge holds. Takes a quarter of an hour, and runs only when it is named."""
    edges = bench_growth.run(start.clusters, start.folder, bench_growth.parser().parse_args(["--rounds", str(rounds)]))
    bench_growth.show(edges)
    for store in ("sqlite", "postgres"):
        few, *_, many = own = [held for held in edges if held.holding.store == store]
        table.value(f"{many.holding}: ready after", [many.figures.seconds["ready"]], "s", "< 10 s")
        table.value(f"{many.holding}: processor when idle, more than with one", [many.figures.idle - few.figures.idle], "%", "0")
        for name, cost in many.figures.cpu.items():
            base = next(held.figures.cpu[name] for held in own if name in held.figures.cpu)
            table.ratio(f"{store}, {name}: processor time / with few collections and transactions", cost, base, "1")


ROWS = {row.__name__: row for row in (writes, bulk, lone, reads, whole, backlog, lists, idle, journal, growth)}
# Rows that take longer than all others together.
ASKED_FOR = {"growth"}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", default="", help="only these, with commas between them")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--list", action="store_true", help="say which rows there are")
    options = options.parse_args()
    if options.list:
        for name, row in ROWS.items():
            print(f"  {name:<10}{row.__doc__}")
        return 0
    chosen = [name for name in options.rows.split(",") if name] or [name for name in ROWS if name not in ASKED_FOR]
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        print(f"bench: no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 64
    table = Table()
    for name in chosen:
        print(f"{name}: {ROWS[name].__doc__}", flush=True)
        with tempfile.TemporaryDirectory(prefix="chroma-edge-bench-") as folder:

            def bench(clusters):
                start = lambda what: bench_writes.begin(clusters, folder, what)
                start.clusters, start.folder = clusters, folder
                ROWS[name](table, start, options.rounds)

            ended = run_script("bench", bench)
        if ended:
            return ended
    table.write()
    print(f"every round: {REPORT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
