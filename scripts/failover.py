"""`make use-case-7`: the journal is on a PostgreSQL that fails over by itself, and its leader dies again and again.

Patroni with etcd on three nodes, two edges on one journal, two Chroma servers, and clients that write all the while.
The leader is killed or frozen as a whole, or only its PostgreSQL is killed, or it dies together with the active edge.
With synchronous replication nothing that was acknowledged may be missing, nothing that was refused may exist, and both
servers must hold the same, record by record. With asynchronous replication, if acknowledged transactions are lost in
the failover, both edges must refuse to go on until an operator has decided. Standard library only.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from cluster import CACHE, CHROMA_MAIN, EDGE, Failed, Process, free_port, http as ask, run_script
from compare import compare
from failover_clients import Writer, judge
from patroni import Patroni

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
# What happens to the leader. "postgres": only its PostgreSQL is killed, and Patroni notices. "replica": not the leader, but
# the node that commits wait for is frozen.
ROUNDS = ("kill", "freeze", "postgres", "kill with the edge", "freeze", "kill", "replica", "kill", "kill with the edge", "freeze")


class Supervised:
    """An edge that is restarted a second after its end, as the systemd unit does."""

    def __init__(self, process):
        self.process, self.ended, self.over = process, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.process.start()
        self.thread.start()

    def run(self):
        while not self.over.wait(0.05):
            if self.process.running():
                continue
            self.ended.append(self.process.child.returncode)
            if self.over.wait(1.0):
                return
            try:
                self.process.start()
            except Failed:
                pass

    def says(self):
        try:
            return ask(self.process.url + "/status", timeout=2.0)
        except (OSError, ValueError):
            return {}

    def stop(self):
        self.over.set()
        if self.thread.is_alive():
            self.thread.join(40)
        self.process.stop()


class Deployment:
    """All processes, below `folder`."""

    def __init__(self, folder, synchronous, binary):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.patroni = Patroni(self.folder / "postgres", synchronous=synchronous)
        self.binary = binary
        self.servers = [self.chroma(name) for name in ("primary", "replica")]
        self.edges = [Supervised(self.edge(name)) for name in ("edge-a", "edge-b")]

    def chroma(self, name):
        port = free_port()
        python = CACHE / "venv" / "bin" / "python"
        options = ["--path", self.folder / name, "--host", "127.0.0.1", "--port", port]
        command = [python, "-c", CHROMA_MAIN, *options]
        return Process(name, command, port, "/api/v2/heartbeat", self.folder / f"{name}.log")

    def edge(self, name):
        port, path = free_port(), self.folder / f"{name}.yaml"
        lines = ["version: 1", "edge:", f"  listen: 127.0.0.1:{port}", "  instances:"]
        lines += [f'    - {{ name: {server.name}, url: "{server.url}" }}' for server in self.servers]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": self.patroni.url}
        return Process(name, [self.binary, "serve", "--conf", path], port, "/status", self.folder / f"{name}.log", environment)

    def start(self):
        for part in [*self.servers, self.patroni, *self.edges]:
            part.start()

    def active(self):
        return next((edge for edge in self.edges if edge.says().get("role") == "active"), None)

    def settled(self):
        active = self.active()
        if active is None:
            return False
        status = active.says()
        instances = status.get("instances") or [{"healthy": False, "pending_writes": 1}]
        return not status["pending_writes"] and all(one["healthy"] and not one["pending_writes"] for one in instances)

    def log(self):
        return "".join(edge.process.log.read_text(errors="replace") for edge in self.edges)

    def stop(self):
        for part in [*self.edges, *self.servers, self.patroni]:
            part.stop()


def until(condition, patience, what):
    end = time.monotonic() + patience
    while True:
        if condition():
            return time.monotonic()
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {patience:.0f} s")
        time.sleep(0.05)


def say(text):
    print(f"failover: {text}", flush=True)


def strike(kind, deployment, leader):
    """Causes a failure. Returns a function that undoes it."""
    if kind == "freeze":
        leader.freeze()
        return leader.thaw
    if kind == "replica":
        replica = deployment.patroni.waited_for(leader)
        replica.freeze()
        return replica.thaw
    if kind == "postgres":
        leader.kill_postgres()
        return lambda: None
    leader.kill()
    if kind == "kill with the edge":
        edge = deployment.active()
        if edge is not None:
            edge.process.child.kill()
    return leader.start


def one_round(kind, deployment, acknowledged):
    """Returns the seconds without an acknowledged write, and how many of them had no PostgreSQL leader."""
    patroni = deployment.patroni
    patroni.whole(120)
    until(lambda: deployment.active() is not None, 60, "an active edge")
    before = len(acknowledged)
    until(lambda: len(acknowledged) > before + 50, 60, "writes before the next death")
    leader = patroni.leader()
    undo, begun = strike(kind, deployment, leader), time.monotonic()
    led = until(lambda: patroni.serves(), 90, "a new leader")
    # A write that was in flight at the moment of the death does not count as recovery.
    resumed = max(led, begun + 1.0)
    until(lambda: acknowledged[-1] > resumed, 90, "an acknowledged write")
    after = len(acknowledged)
    until(lambda: len(acknowledged) > after + 50, 60, "writes after the death")
    times = [moment for moment in list(acknowledged) if moment > begun - 1.0]
    gap = max(later - earlier for earlier, later in zip(times, times[1:]))
    undo()
    say(f"{kind:<20}{leader.name}: a leader after {led - begun:5.1f} s, no acknowledged write for {gap:5.1f} s")
    return gap, led - begun


def writing(deployment, count):
    """Starts writers. Returns them, the times of their acknowledged writes, and an event that stops them."""
    until(lambda: deployment.active() is not None, 60, "an active edge")
    active = deployment.active().process.url
    paths = [COLLECTIONS + "/" + ask(active + COLLECTIONS, {"name": f"failover-{number}"})["id"] for number in range(2)]
    acknowledged, stop = [], threading.Event()
    ports = [edge.process.port for edge in deployment.edges]
    writers = [Writer(number, ports, paths, acknowledged, stop) for number in range(count)]
    for writer in writers:
        writer.start()
    return writers, acknowledged, stop


def synchronous(deployment, rounds, count):
    """Runs the synchronous part. Returns the exit code."""
    writers, acknowledged, stop = writing(deployment, count)
    gaps = {}
    try:
        for number in range(rounds):
            kind = ROUNDS[number % len(ROUNDS)]
            gaps.setdefault(kind, []).append(one_round(kind, deployment, acknowledged))
        deployment.patroni.whole(120)
    finally:
        stop.set()
        for writer in writers:
            writer.join(40)
    until(deployment.settled, 180, "both servers up to date")
    return report(deployment, writers, acknowledged, gaps)


def spans(label, seen):
    """Prints one line of the table. `seen` are pairs from one_round()."""
    without, ours = [gap for gap, _ in seen], [gap - led for gap, led in seen]
    print(f"  {label:<20}{len(seen):>3} times: no acknowledged write for {statistics.median(without):4.1f} s (median), {max(without):4.1f} s "
          f"(worst); after the new leader {statistics.median(ours):3.1f} s (median), {max(ours):3.1f} s (worst)")


def report(deployment, writers, acknowledged, gaps):
    """Prints the results. Returns the exit code."""
    first, second = (server.url for server in deployment.servers)
    compared, differences = compare(first, second)
    wrong = [line for writer in writers for line in writer.wrong]
    lost = [f"{server.name}: {line}" for server in deployment.servers for line in judge(writers, server.url)]
    halted = deployment.log().count("the journal is halted")
    print()
    for kind, seen in gaps.items():
        spans(kind, seen)
    spans("all", [pair for seen in gaps.values() for pair in seen])
    for label, value in [
        ("writes acknowledged", len(acknowledged)),
        ("refused or unclear answers", sum(len(writer.refused) for writer in writers)),
        ("records whose write is unclear", sum(len(writer.unknown) for writer in writers)),
        ("ends of an edge's process", [edge.ended for edge in deployment.edges]),
        ("records compared", compared),
        ("differences", len(differences)),
        ("not as the clients were told", len(lost)),
        ("wrong answers", len(wrong)),
        ("halted", halted),
    ]:
        print(f"  {label:<32}{value!s:>10}")
    for line in [*wrong[:5], *differences[:5], *lost[:5]]:
        print(f"  {line}")
    return 1 if wrong or differences or lost or halted or not compared else 0


def asynchronous(deployment, count):
    """Both replicas are away, the leader goes on acknowledging, and dies: what comes back lacks acknowledged
    transactions."""
    patroni = deployment.patroni
    writers, acknowledged, stop = writing(deployment, count)
    try:
        until(lambda: len(acknowledged) > 100, 60, "writes")
        leader = patroni.leader()
        others = [node for node in patroni.nodes if node is not leader]
        for node in others:
            node.kill()
        before = len(acknowledged)
        until(lambda: len(acknowledged) > before + 100, 60, "writes that the leader alone has")
        leader.kill()
        say(f"{leader.name} is dead; {len(acknowledged) - before} acknowledged writes were its alone")
        for node in others:
            node.start()
        until(lambda: any(node.leads() for node in others), 120, "a new leader")
        told = len(acknowledged)
        until(lambda: "the journal is halted" in deployment.log(), 60, "the refusal")
        refused = lambda edge: len(edge.ended) > 1 and set(edge.ended) == {1}
        until(lambda: all(refused(edge) for edge in deployment.edges), 60, "exit code 1 of both edges, again and again")
        if len(acknowledged) > told:
            raise Failed(f"{len(acknowledged) - told} writes were acknowledged on a journal that had lost its tail")
        new = patroni.leader()
        reason = new.sql("SELECT halted FROM chroma_edge.journal")
        say(f"halted: {reason}")
        say(f"the edges ended with {[edge.ended for edge in deployment.edges]}; the operator lifts it")
        new.sql("UPDATE chroma_edge.journal SET halted = NULL")
        until(lambda: deployment.active() is not None, 60, "an active edge")
        until(lambda: len(acknowledged) > told + 50, 60, "writes after the operator's word")
        say("writes are acknowledged again")
    finally:
        stop.set()
        for writer in writers:
            writer.join(40)
    return 0


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=len(ROUNDS))
    options.add_argument("--writers", type=int, default=6)
    options.add_argument("--only", choices=["synchronous", "asynchronous"])
    options.add_argument("--edge", type=Path, default=EDGE, help="the binary")
    options.add_argument("--keep", action="store_true", help="leave the logs")
    options = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chroma-edge-failover-"))
    # PostgreSQL's account must be able to traverse it.
    folder.chmod(0o755)

    def show(parts):
        code = 0
        for name in ("synchronous", "asynchronous"):
            if options.only not in (None, name):
                continue
            say(f"{name} replication")
            deployment = Deployment(folder / name, name == "synchronous", options.edge)
            parts.append(deployment)
            deployment.start()
            if name == "synchronous":
                code = synchronous(deployment, options.rounds, options.writers) or code
            else:
                code = asynchronous(deployment, options.writers) or code
            deployment.stop()
        return code

    try:
        return run_script("failover", show)
    finally:
        if options.keep:
            say(f"logs in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
