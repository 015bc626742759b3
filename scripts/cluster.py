"""Two Chroma servers and one edge as child processes. Shared by run.py and demo.py.

Standard library only, so that any Python 3.9 runs it. Children have sessions of their own, so that Ctrl-C reaches the
script alone and the script stops them, by pid. They also end when the script dies.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("CHROMA_EDGE_CACHE") or ROOT / ".cache").resolve()
EDGE = ROOT / "target" / "release" / "chroma-edge"
if os.environ.get("CARGO_TARGET_DIR"):
    EDGE = Path(os.environ["CARGO_TARGET_DIR"]).resolve() / "release" / "chroma-edge"
CHROMA_MAIN = "import sys, chromadb_rust_bindings as b; b.cli(['chroma', 'run'] + sys.argv[1:])"
PR_SET_PDEATHSIG = 1
# Loaded here, since nothing may be imported between fork and exec.
LIBC = ctypes.CDLL(None)


class Failed(Exception):
    """An error that a person must read. Shown without a traceback."""


def free_port(preferred=0):
    """Returns the preferred port if it is free on loopback, otherwise any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise Failed("no free port on 127.0.0.1")


def http(url, body=None, timeout=10.0):
    """Returns the JSON answer of a GET, or of a POST if there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    # Ignores the environment's proxies: all addresses are on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout) as answer:
        return json.load(answer)


def _end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _as(user):
    """Returns Popen's options for another account. Only root may use one."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


class Process:
    """One child, its log file, and the address at which it reports that it is ready."""

    def __init__(self, name, command, port, ready_path, log, environment=None, user=None):
        self.name, self.command, self.port, self.log = name, [str(part) for part in command], port, Path(log)
        self.url = f"http://127.0.0.1:{port}"
        self.ready_path = ready_path
        self.environment = environment
        self.user = user
        self.child = None

    @property
    def pid(self):
        return self.child.pid if self.child else None

    def running(self):
        return self.child is not None and self.child.poll() is None

    def memory(self, field="VmRSS"):
        """Returns the bytes that the kernel counts under this name."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise Failed(f"{self.name} has no memory")

    def start(self, patience=30.0):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=self.environment,
                start_new_session=True, preexec_fn=_end_with_parent, **_as(self.user),
            )
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not self.running():
                raise Failed(f"{self.name} ended with {self.child.returncode}:\n{self.last_lines()}")
            try:
                http(self.url + self.ready_path, timeout=1.0)
                return
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
        raise Failed(f"{self.name} did not answer at {self.url} within {patience:.0f} s:\n{self.last_lines()}")

    def last_lines(self, count=15):
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join("    " + line for line in lines[-count:])

    def kill(self):
        """Sends SIGKILL, which looks like a machine that dies."""
        if self.running():
            self.child.kill()
        if self.child:
            self.child.wait()

    def stop(self, patience=10.0):
        if not self.running():
            return
        self.child.terminate()
        try:
            self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()


class Cluster:
    """Primary, replica and edge, with everything they write below `folder`.

    `more`: further lines of the edge's section, indented by two spaces. `edge`: another binary than the release build.
    """

    def __init__(self, folder, edge_port=0, chroma_ports=(0, 0), more="", edge=None):
        self.folder, self.more, self.binary = Path(folder), more, edge or EDGE
        self.folder.mkdir(parents=True, exist_ok=True)
        names = ("primary", "replica")
        self.servers = [self._chroma(name, free_port(port)) for name, port in zip(names, chroma_ports)]
        self.configuration = self.folder / "edge.yaml"
        self.edge = self._edge(free_port(edge_port))

    def _chroma(self, name, port):
        python = CACHE / "venv" / "bin" / "python"
        if not python.exists():
            raise Failed(f"{python} is missing: run scripts/setup.sh run")
        data = self.folder / name
        options = ["--path", data, "--host", "127.0.0.1", "--port", port]
        command = [python, "-c", CHROMA_MAIN, *options]
        return Process(name, command, port, "/api/v2/heartbeat", self.folder / f"{name}.log")

    def _edge(self, port):
        if not self.binary.exists():
            raise Failed(f"{self.binary} is missing: run cargo build --release")
        # JSON strings are YAML strings, whatever the folder is called.
        lines = ["version: 1", "edge:", f"  listen: 127.0.0.1:{port}", "  instances:"]
        lines += [f'    - {{ name: {server.name}, url: "{server.url}" }}' for server in self.servers]
        lines += ["  journal:", f"    path: {json.dumps(str(self.folder / 'journal.db'))}"]
        self.configuration.write_text("\n".join(lines) + "\n" + self.more)
        # Variables override the file: one left over in this shell must not change the servers.
        named = ("PRIMARY_URL", "REPLICA_URL", "PORT", "DATABASE_URL")
        environment = {key: value for key, value in os.environ.items() if key not in named}
        command = [self.binary, "serve", "--conf", self.configuration]
        return Process("edge", command, port, "/health", self.folder / "edge.log", environment)

    def start(self):
        for process in [*self.servers, self.edge]:
            process.start()

    def stop(self):
        for process in [self.edge, *self.servers]:
            process.stop()

    def status(self):
        return http(self.edge.url + "/status", timeout=3.0)


def run_script(name, work, stopped=130):
    """Returns the exit code of work(clusters), or of what ended it early. Stops the clusters that it has listed."""
    # SIGTERM works like Ctrl-C: the children are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    clusters = []
    try:
        return work(clusters) or 0
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr, flush=True)
        return stopped
    except Failed as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        return 1
    finally:
        for cluster in clusters:
            cluster.stop()
