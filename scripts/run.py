"""`make run`: two real Chroma servers and the edge in front, until Ctrl-C.

Everything it writes is in ./data. Everything it starts, it stops. Standard library only.
"""

import select
import shlex
import sys
import time

from cluster import ROOT, Cluster, Failed, run_script

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def welcome(cluster):
    primary, replica = cluster.servers
    post = "curl -H \"$J\""
    print(f"""
chroma-edge is at {cluster.edge.url} - use it like any Chroma server
  in front of  primary {primary.url} (pid {primary.pid}) and replica {replica.url} (pid {replica.pid})
  data         {cluster.folder.relative_to(ROOT)}/ (databases, journal, logs)

Three things to try, in another terminal:
  1. write    J='content-type: application/json'
              C={cluster.edge.url}{COLLECTIONS}
              {post} $C -d '{{"name":"notes","get_or_create":true}}'
              {post} $C/notes/upsert -d '{{"ids":["a"],"embeddings":[[1,0]],"documents":["first"]}}'
  2. kill the primary and write again, as if nothing had happened
              kill -9 {primary.pid}
              {post} $C/notes/upsert -d '{{"ids":["b"],"embeddings":[[0,1]],"documents":["second"]}}'
  3. read     {post} $C/notes/get -d '{{}}'
              curl {cluster.edge.url}/status

Ctrl-C stops everything.
""", flush=True)


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


class Follower:
    """Turns consecutive /status answers into lines: down, back, caught up."""

    def __init__(self):
        self.down = set()
        self.missed = {}  # The most writes that each instance lacked, for instances that were down and have not caught up.

    def lines(self, status):
        for instance in status["instances"]:
            name, pending = instance["name"], instance["pending_writes"]
            if not instance["healthy"]:
                if name not in self.down:
                    yield f"{name} went down; the edge goes on with the others"
                self.down.add(name)
                self.missed[name] = max(pending, self.missed.get(name, 0))
                continue
            if name in self.down:
                self.down.discard(name)
                yield f"{name} is back"
            if name in self.missed:
                self.missed[name] = max(pending, self.missed[name])
                if not pending:
                    yield f"{name} has caught up with {self.missed.pop(name)} writes"


def enter_pressed():
    """Returns whether a line was typed. Waits half a second for it, which also paces the loop."""
    if not sys.stdin.isatty():
        time.sleep(0.5)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], 0.5)
    return bool(ready) and bool(sys.stdin.readline())


def follow(cluster):
    follower = Follower()
    noticed = set()
    while True:
        typed = enter_pressed()
        if not cluster.edge.running():
            raise Failed(f"the edge ended with {cluster.edge.child.returncode}:\n{cluster.edge.last_lines()}")
        for server in cluster.servers:
            if server.running():
                noticed.discard(server.name)
            elif typed:
                say(f"starting {server.name} again")
                server.start()
                say(f"{server.name} runs (pid {server.pid})")
            elif server.name not in noticed:
                noticed.add(server.name)
                hint = "press Enter here" if sys.stdin.isatty() else "run: " + shlex.join(server.command)
                say(f"{server.name} ended; to start it again {hint}")
        try:
            for line in follower.lines(cluster.status()):
                say(line)
        except (OSError, ValueError):
            pass  # The edge is busy or ending. The next round shows which.


def serve(clusters):
    cluster = Cluster(ROOT / "data", edge_port=8000, chroma_ports=(8101, 8102))
    clusters.append(cluster)
    cluster.start()
    welcome(cluster)
    follow(cluster)


if __name__ == "__main__":
    sys.exit(run_script("run", serve, stopped=0))
