"""How costs grow with what the edge holds.

Measured: start, memory, idle processor time, a write and a read, with few and many collections and transactions, in
one lane and in many.

Journals are filled directly, with collections that are mapped on two servers and with finished transactions. The
servers are those of `costless.py`, so that only the edge is measured. All edges run at once and take turns in short
rounds, so that a machine that is slow for a while is slow for all. Compare the columns of one run, not the numbers of
different runs. Processor time is the edge's own and holds on a busy machine, times do not. Standard library only.
"""

import argparse
import json
import os
import pwd
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from bench_reads import processor_time, request
from cluster import EDGE, Cluster, Failed, Process, free_port, http as ask, run_script
from costless import collection_id, name_of
from load import Loop, closed_loop

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
INSTANCES = ("primary", "replica")
SPAN = 5 * 86_400_000
BODY = '{"ids":["%d"],"embeddings":[[0.1,0.2,0.3]],"documents":["' + "document " * 20 + '"]}'
LANES = 64
PATIENCE = 60.0


@dataclass(frozen=True)
class Holding:
    """The content of an edge."""

    store: str
    collections: int
    transactions: int

    def __str__(self):
        return f"{self.store}, {self.collections:,} collections, {self.transactions:,} transactions"


@dataclass
class Figures:
    """The measurements of one edge."""

    seconds: dict = field(default_factory=dict)
    # Seconds of processor time until it was ready.
    start: float = 0.0
    idle: float = 0.0
    memory: int = 0
    # By operation: a value for each round.
    waits: dict = field(default_factory=dict)
    cpu: dict = field(default_factory=dict)


def rows_of(holding):
    """Yields a transaction for each position: its lane, when it began, its body."""
    begun, step = int(time.time() * 1000) - SPAN, SPAN // holding.transactions
    for seq in range(1, holding.transactions + 1):
        yield seq, collection_id(0, (seq - 1) % holding.collections), begun + seq * step, BODY % seq


def last_of(holding, number):
    """Returns the last position in the lane of this collection."""
    full, rest = divmod(holding.transactions, holding.collections)
    rounds = full + (number < rest)
    return (rounds - 1) * holding.collections + number + 1 if rounds else 0


def mapped(holding):
    """Yields for each collection its id, its id on each instance, its name and its last position."""
    for number in range(holding.collections):
        ids = [collection_id(instance, number) for instance in range(len(INSTANCES))]
        yield ids[0], ids, name_of(number), last_of(holding, number)


def fill_sqlite(path, holding):
    store = sqlite3.connect(path)
    store.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;")
    known = list(mapped(holding))
    with store:
        store.executemany("INSERT INTO collections (collection, tenant, database, name, created, origin, dimensioned, created_at)"
                          " VALUES (?, 'default_tenant', 'default_database', ?, 0, 'created', 1, 0)", ((one, name) for one, _, name, _ in known))
        for place, instance in enumerate(INSTANCES):
            store.executemany("INSERT INTO collection_instances VALUES (?, ?, ?)",
                              ((one, instance, uuid.UUID(ids[place]).bytes) for one, ids, _, _ in known))
            store.executemany("INSERT INTO progress (lane, instance, through) VALUES (?, ?, ?)", ((one, instance, last) for one, _, _, last in known))
        store.executemany(
            "INSERT INTO transactions (seq, transaction_id, lane, kind, merge_docs, merge_encoding, bytes, verdict, executed_on, status,"
            " response_status, created_at, completed_at, synced_at, method, path, content_type, client_session, client_ip, answer_status, answer_body,"
            " answer_utf8) VALUES (?1, randomblob(16), ?2, 'add', 1, 'floats', ?4, 'applied', 'primary', 'COMPLETED', 201, ?3, ?3 + 2, ?3 + 5,"
            f" 'POST', '{COLLECTIONS}/' || ?2 || '/add', 'application/json', 'session-' || (?1 % 100), '10.0.0.1', 201, x'7b7d', 1)",
            ((seq, lane, at, len(body)) for seq, lane, at, body in rows_of(holding)))
        store.executemany("INSERT INTO bodies (seq, body, utf8) VALUES (?, CAST(? AS BLOB), 1)", ((seq, body) for seq, _, _, body in rows_of(holding)))
        store.execute("INSERT INTO events SELECT seq, seq, status, client_session FROM transactions")
        store.execute("UPDATE meta SET last_seq = ?1, last_event = ?1", [holding.transactions])
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


def fill_postgres(psql, holding):
    copy = lambda table, lines: f"COPY {table} FROM stdin;\n" + "\n".join(lines) + "\n\\.\n"
    known = list(mapped(holding))
    begun, step = int(time.time() * 1000) - SPAN, SPAN // holding.transactions
    body = BODY.replace("%d", "' || s.seq || '")
    psql("CREATE UNLOGGED TABLE bench_lanes (place bigint PRIMARY KEY, lane text);"
         + copy("bench_lanes", (f"{number}\t{one}" for number, (one, *_) in enumerate(known)))
         + copy("chroma_edge.collections (collection, tenant, database, name, created, origin, dimensioned)",
                (f"{one}\tdefault_tenant\tdefault_database\t{name}\t0\tcreated\tt" for one, _, name, _ in known))
         + copy("chroma_edge.collection_instances", (f"{one}\t{instance}\t{ids[place]}" for one, ids, _, _ in known
                                                     for place, instance in enumerate(INSTANCES)))
         + copy("chroma_edge.progress (lane, instance, through)", (f"{one}\t{instance}\t{last}" for one, _, _, last in known for instance in INSTANCES)))
    psql(f"""
        INSERT INTO chroma_edge.transactions (seq, transaction_id, lane, kind, merge_docs, merge_encoding, bytes, verdict, executed_on, status,
            response_status, created_at, completed_at, synced_at, method, path, content_type, client_session, client_ip, answer_status, answer_body)
        SELECT s.seq, gen_random_uuid(), l.lane, 'add', 1, 'floats', {len(BODY)}, 'applied', 'primary', 'COMPLETED', 201, at, at, at, 'POST',
            '{COLLECTIONS}/' || l.lane || '/add', 'application/json', 'session-' || s.seq % 100, '10.0.0.1', 201, '{{}}'::bytea
        FROM generate_series(1, {holding.transactions}) AS s (seq)
        CROSS JOIN LATERAL (SELECT to_timestamp(({begun} + s.seq * {step}) / 1000.0) AS at) AS t
        JOIN bench_lanes AS l ON l.place = (s.seq - 1) % {holding.collections};
        INSERT INTO chroma_edge.bodies (seq, body) SELECT s.seq, ('{body}')::bytea FROM generate_series(1, {holding.transactions}) AS s (seq);
        UPDATE chroma_edge.journal SET last_seq = {holding.transactions};
        DROP TABLE bench_lanes;""")
    # As autovacuum leaves it.
    psql("VACUUM ANALYZE;")


class Postgres:
    """A server with its data on disk, for the journals of a run."""

    def __init__(self, folder):
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))[-1]
        self.user = next(name for name in ("postgres", "nobody") if _has_user(name)) if os.geteuid() == 0 else None
        self.port, data = free_port(), Path(folder) / "postgres"
        data.mkdir()
        if self.user:
            shutil.chown(data, self.user)
            for parent in data.parents:
                if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        as_user = {"user": self.user} if self.user else {}
        subprocess.run([self.bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"], check=True,
                       capture_output=True, cwd="/", **as_user)
        command = [self.bin / "postgres", "-D", data, "-p", str(self.port), "-k", data, "-h", "127.0.0.1", "-c", "max_wal_size=4GB"]
        with open(Path(folder) / "postgres.log", "ab") as log:
            self.child = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True, **as_user)
        self.wait()

    def wait(self):
        until = time.monotonic() + PATIENCE
        while subprocess.run([self.bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)], capture_output=True).returncode:
            if time.monotonic() > until:
                raise Failed("PostgreSQL did not start")
            time.sleep(0.1)

    def psql(self, sql, database="postgres"):
        command = [self.bin / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-X", "-q", "-t", "-v", "ON_ERROR_STOP=1", database]
        ran = subprocess.run(command, input=sql, text=True, capture_output=True)
        if ran.returncode:
            raise Failed(f"psql: {ran.stderr[-2000:]}")
        return ran.stdout

    def stop(self):
        self.child.terminate()
        self.child.wait()


def _has_user(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


class Held:
    """An edge that holds something, with two servers that cost nothing."""

    def __init__(self, folder, holding, postgres, edge=None):
        self.folder, self.holding, self.figures = Path(folder), holding, Figures()
        self.cluster = Cluster(self.folder, edge=edge)
        script = Path(__file__).resolve().parent / "costless.py"
        for place, server in enumerate(self.cluster.servers):
            options = ["--port", server.port, "--collections", holding.collections, "--instance", place]
            server.command = [str(part) for part in (sys.executable, script, *options)]
        self.edge = self.cluster.edge
        self.edge.ready_path = "/health/ready"
        if holding.store == "postgres":
            database = f"held_{holding.collections}_{holding.transactions}"
            postgres.psql(f"CREATE DATABASE {database};")
            url = f"postgres://postgres@127.0.0.1:{postgres.port}/{database}"
            text = self.cluster.configuration.read_text()
            path = json.dumps(str(self.folder / "journal.db"))
            self.cluster.configuration.write_text(text.replace(f"path: {path}", f'postgres: "{url}"'))
        self._run("migrate")
        if holding.store == "postgres":
            fill_postgres(lambda sql: postgres.psql(sql, database), holding)
        else:
            fill_sqlite(self.folder / "journal.db", holding)

    def _run(self, command):
        ran = subprocess.run([self.cluster.binary, command, "--conf", self.cluster.configuration], capture_output=True, text=True)
        if ran.returncode:
            raise Failed(f"{command}: {ran.stderr[-2000:]}")

    def start(self):
        for server in self.cluster.servers:
            server.start()
        begun = time.perf_counter()
        self.edge.start(patience=300)
        self.figures.seconds["ready"] = time.perf_counter() - begun
        self.figures.start = processor_time(self.edge.pid) / 1e6
        while True:
            try:
                self.write_all(1, 1)
                break
            except Failed:
                if time.perf_counter() - begun > 300:
                    raise
                time.sleep(0.02)
        self.figures.seconds["first write"] = time.perf_counter() - begun

    def stop(self):
        self.cluster.stop()

    def lane(self, number):
        return f"{COLLECTIONS}/{collection_id(0, number * max(1, self.holding.collections // LANES) % self.holding.collections)}"

    def write_all(self, lanes, count):
        """Returns the waits for this many writes in each of this many lanes, one after the other in each lane."""
        body = {"ids": ["a"], "embeddings": [[0.1, 0.2, 0.3]], "documents": ["a document of some words"]}
        return self.ask_all("add", body, lanes, count)

    def read_all(self, lanes, count):
        return self.ask_all("get", {"ids": ["0"]}, lanes, count)

    def ask_all(self, operation, body, lanes, count):
        requests = [request("POST", f"{self.lane(number)}/{operation}", body) for number in range(lanes)]
        return closed_loop([self.edge.port], [Loop([[one]], count) for one in requests]).waits

    def settle(self):
        """Waits until everything written is replicated and recorded."""
        until = time.monotonic() + PATIENCE
        while self.cluster.status()["pending_writes"]:
            if time.monotonic() > until:
                raise Failed(f"{self.holding}: the replica does not follow")
            time.sleep(0.02)
        time.sleep(0.1)

    def measure(self, name, work, keep):
        before = processor_time(self.edge.pid)
        waits = work()
        self.settle()
        if keep:
            self.figures.waits.setdefault(name, []).append(statistics.median(waits) * 1e6)
            self.figures.cpu.setdefault(name, []).append((processor_time(self.edge.pid) - before) / len(waits))


WORK = {
    "write, 1 lane": lambda held: held.write_all(1, 300),
    f"write, {LANES} lanes": lambda held: held.write_all(LANES, 20),
    "read, 1 lane": lambda held: held.read_all(1, 500),
    f"read, {LANES} lanes": lambda held: held.read_all(LANES, 20),
}


def turns(edges, rounds):
    for number in range(rounds + 1):
        for name, work in WORK.items():
            for held in edges:
                if str(LANES) in name and held.holding.collections < LANES:
                    continue
                held.measure(name, lambda work=work, held=held: work(held), number > 0)


def idle(edges, seconds):
    before = [processor_time(held.edge.pid) for held in edges]
    time.sleep(seconds)
    for held, used in zip(edges, before):
        held.figures.idle = (processor_time(held.edge.pid) - used) / seconds / 10_000
        held.figures.memory = held.edge.memory()


def holdings(options):
    """Yields each number of collections with the fewest transactions, then the fewest and the most collections with the
    most."""
    few, many = options.transactions[0], options.transactions[-1]
    for store in options.stores:
        for collections in options.collections:
            yield Holding(store, collections, few)
        if many > few:
            yield Holding(store, options.collections[0], many)
            yield Holding(store, options.collections[-1], many)


def show(edges):
    print(f"\n  {'':<56}{'ready':>8}{'cpu':>8}{'written':>9}{'memory':>9}{'idle':>8}" + "".join(f"{name:>17}" for name in WORK))
    for held in edges:
        figures = held.figures
        cells = []
        for name in WORK:
            cpu, waits = figures.cpu.get(name), figures.waits.get(name)
            cells.append(f"{statistics.median(cpu):>8.0f}/{statistics.median(waits):>5.0f} us" if cpu else f"{'-':>14}")
        print(f"  {str(held.holding):<56}{figures.seconds['ready']:>6.2f} s{figures.start:>6.2f} s{figures.seconds['first write']:>7.2f} s"
              f"{figures.memory / 2**20:>6.0f} MB{figures.idle:>6.1f} %" + "".join(f"{cell:>17}" for cell in cells), flush=True)
    print("  of a write and a read: processor time of the edge / median wait\n")


def run(clusters, folder, options):
    """Starts, fills and measures the edges."""
    postgres = None
    if "postgres" in options.stores:
        postgres = Postgres(folder)
        clusters.append(postgres)
    edges = []
    for number, holding in enumerate(holdings(options)):
        begun = time.perf_counter()
        held = Held(Path(folder) / str(number), holding, postgres, options.edge)
        clusters.insert(0, held)
        held.start()
        edges.append(held)
        print(f"  {holding}: filled and started in {time.perf_counter() - begun:.0f} s; ready after {held.figures.seconds['ready']:.2f} s,"
              f" the first write after {held.figures.seconds['first write']:.2f} s", flush=True)
    turns(edges, options.rounds)
    idle(edges, options.idle)
    return edges


def parser():
    numbers = lambda text: sorted(int(one) for one in text.split(","))
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--stores", type=lambda text: text.split(","), default=["sqlite", "postgres"])
    options.add_argument("--collections", type=numbers, default=[1, 1000, 100_000])
    options.add_argument("--transactions", type=numbers, default=[1000, 1_000_000])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--idle", type=float, default=20.0, help="seconds")
    options.add_argument("--edge", type=Path, default=EDGE, help="another binary than the release build")
    options.add_argument("--keep", help="the folder of the journals and logs, instead of a temporary one")
    return options


def main():
    options = parser().parse_args()
    folder = options.keep or tempfile.mkdtemp(prefix="chroma-edge-bench-")
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        return run_script("bench", lambda clusters: show(run(clusters, folder, options)))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
