"""PostgreSQL that fails over by itself: etcd, and Patroni on several nodes, as child processes on loopback.

A *node* stands for a machine: Patroni, its PostgreSQL and every process below them. It is killed, frozen and thawed as
a whole. There is only one etcd, since only PostgreSQL fails here. Patroni, etcd and PostgreSQL are the system's.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from cluster import ROOT, Failed, Process, free_port, http

# The files that deploy/compose.patroni.yaml mounts into its nodes.
CONFIGURATION = ROOT / "deploy" / "patroni"
SCRIPT = "journal-database"
PASSWORD = "secret"
DATABASE = "chroma_edge"


def servers_folder():
    """Returns the folder of PostgreSQL's programs: the newest of Debian's folders, or the one on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    where = found[-1] if found else shutil.which("postgres")
    if not where:
        raise Failed("PostgreSQL's server is missing: run scripts/setup.sh failover")
    return Path(where).parent


def program(name):
    where = shutil.which(name)
    if not where:
        raise Failed(f"{name} is missing: run scripts/setup.sh failover")
    return where


def account():
    """Returns the account for PostgreSQL, which refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def below(pid):
    """Returns this process and every process below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found.extend(parents.get(one, []))
    return found


class Node:
    def __init__(self, number, folder, etcd, configuration):
        self.name = f"pg{number}"
        self.folder = folder / self.name
        self.folder.mkdir()
        self.data = self.folder / "data"
        self.port, rest = free_port(), free_port()
        if account():
            shutil.chown(self.folder, account())
        host = "127.0.0.1:"
        # As in the compose file.
        variables = {
            "NAME": self.name, "ETCD_HOSTS": f"{host}{etcd}",
            "RESTAPI_LISTEN": f"{host}{rest}", "RESTAPI_CONNECT_ADDRESS": f"{host}{rest}",
            "POSTGRESQL_LISTEN": f"{host}{self.port}", "POSTGRESQL_CONNECT_ADDRESS": f"{host}{self.port}",
            "POSTGRESQL_DATA_DIR": self.data, "POSTGRESQL_BIN_DIR": servers_folder(), "POSTGRESQL_PGPASS": self.folder / "pgpass",
            "SUPERUSER_USERNAME": "postgres", "SUPERUSER_PASSWORD": PASSWORD,
            "REPLICATION_USERNAME": "replicator", "REPLICATION_PASSWORD": PASSWORD,
        }
        environment = {f"PATRONI_{name}": str(value) for name, value in variables.items()}
        environment |= {"PATH": f"{servers_folder()}:{os.environ['PATH']}", "EDGE_PASSWORD": PASSWORD}
        log = folder / f"{self.name}.log"
        self.patroni = Process(self.name, [program("patroni"), configuration], rest, "/patroni", log, environment, account())
        self.frozen = []

    def start(self):
        self.patroni.start(patience=60.0)

    def postmaster(self):
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def processes(self):
        """Returns the node's processes. PostgreSQL is not a child of Patroni, and outlives it."""
        roots = [self.patroni.pid if self.patroni.running() else None, self.postmaster()]
        found = []
        for pid in roots:
            if pid and Path(f"/proc/{pid}").exists():
                found.extend(one for one in below(pid) if one not in found)
        return found

    def signal(self, which):
        pids = self.frozen if which == signal.SIGCONT else self.processes()
        for pid in pids:
            try:
                os.kill(pid, which)
            except ProcessLookupError:
                pass
        return pids

    def kill(self):
        """Kills the whole node, as if the machine died."""
        self.signal(signal.SIGKILL)
        self.patroni.kill()

    def freeze(self):
        """Freezes the whole node, as if the machine stopped without noticing."""
        self.frozen = self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)
        self.frozen = []

    def kill_postgres(self):
        """Kills PostgreSQL alone, which Patroni notices."""
        for pid in below(self.postmaster()):
            os.kill(pid, signal.SIGKILL)

    def stop(self):
        self.thaw()
        self.patroni.stop(patience=20.0)
        self.kill()

    def says(self, path):
        """Returns the answer of Patroni's own page, whatever its status, or None if there is none."""
        try:
            return 200, http(self.patroni.url + path, timeout=1.0)
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            return None, None

    def patch(self, settings):
        """Changes the settings that all nodes share."""
        body = json.dumps(settings).encode()
        request = urllib.request.Request(self.patroni.url + "/config", data=body, method="PATCH")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5.0).close()

    def leads(self):
        return self.says("/primary")[0] == 200

    def sql(self, text, database=DATABASE):
        """Returns what the node's own server answers its superuser."""
        address = f"postgres://postgres:{PASSWORD}@127.0.0.1:{self.port}/{database}"
        command = [servers_folder() / "psql", "-XAtq", address, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise Failed(f"{self.name}: {text}: {done.stderr.strip()}")
        return done.stdout.strip()


class Patroni:
    """etcd and the nodes. With `synchronous`, a commit is answered when another node has it."""

    def __init__(self, folder, nodes=3, synchronous=True):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.synchronous = synchronous
        client, peer = free_port(), free_port()
        urls = [f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"]
        command = [
            program("etcd"), "--enable-v2", "--name", "etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", urls[0],
            "--advertise-client-urls", urls[0], "--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1],
            "--initial-cluster", f"etcd={urls[1]}",
        ]
        self.etcd = Process("etcd", command, client, "/health", self.folder / "etcd.log")
        script = self.folder / SCRIPT
        shutil.copy(CONFIGURATION / SCRIPT, script)
        configuration = self.folder / "patroni.yml"
        text = (CONFIGURATION / "patroni.yml").read_text()
        configuration.write_text(text.replace(f"/etc/patroni/{SCRIPT}", str(script)))
        self.nodes = [Node(number, self.folder, client, configuration) for number in range(1, nodes + 1)]

    @property
    def url(self):
        """Returns an address with every host. The edge uses the one that accepts writes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgres://edge:{PASSWORD}@{hosts}/{DATABASE}?sslmode=disable"

    def start(self):
        self.etcd.start()
        for node in self.nodes:
            node.start()
        if not self.synchronous:
            until = time.monotonic() + 60
            while self.leader() is None and time.monotonic() < until:
                time.sleep(0.2)
            self.nodes[0].patch({"synchronous_mode": False, "synchronous_mode_strict": False})
        self.whole(120)

    def leader(self):
        """Returns the node that leads, or None."""
        return next((node for node in self.nodes if not node.frozen and node.leads()), None)

    def serves(self):
        """Returns whether a node leads and its PostgreSQL answers."""
        leader = self.leader()
        try:
            return leader is not None and leader.sql("SELECT pg_is_in_recovery()", "postgres") == "f"
        except (Failed, subprocess.TimeoutExpired):
            return False

    def waited_for(self, leader):
        """Returns the node that a commit waits for, and that may lead next, or None if there is none."""
        # PostgreSQL's own list of synchronous nodes is not enough: only nodes that Patroni has recorded may lead next.
        members = (leader.says("/cluster")[1] or {}).get("members", [])
        names = [member["name"] for member in members if member["role"] == "sync_standby"]
        return next((node for node in self.nodes if node.name in names), None)

    def is_whole(self):
        leader = self.leader()
        if leader is None:
            return False
        try:
            following = leader.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "postgres")
        except (Failed, subprocess.TimeoutExpired):
            return False
        candidate = self.waited_for(leader) is not None
        return int(following) == len(self.nodes) - 1 and (candidate or not self.synchronous)

    def whole(self, patience):
        """Waits until every other node follows the leader and, if required, one of them may lead next without a loss."""
        until = time.monotonic() + patience
        while not self.is_whole():
            if time.monotonic() > until:
                tails = [f"{node.name}:\n{node.patroni.last_lines()}" for node in self.nodes]
                raise Failed("\n".join([f"PostgreSQL is not whole within {patience:.0f} s", *tails]))
            time.sleep(0.2)

    def stop(self):
        for node in self.nodes:
            node.stop()
        self.etcd.stop()
