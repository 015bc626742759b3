"""`make nginx-loss`: what nginx in front of two bare Chroma servers loses when the first one dies and comes back.

The same events as in `make demo`, without the edge: clients write through nginx (the second server is its backup), and
the first server is killed and starts again. Then the records on both servers are counted. It measures, and asserts
nothing. Standard library only.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
import urllib.error
from pathlib import Path

from cluster import CACHE, Cluster, Failed, Process, http, run_script
from compare import collections, records

BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
NAME = "documents"

CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream chroma {{
    server 127.0.0.1:{first} max_fails=1 fail_timeout=1s;
    server 127.0.0.1:{second} backup;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://chroma;
      proxy_connect_timeout 1s;
      # Writes too are sent to the other server when one fails: the best that nginx can do for them.
      proxy_next_upstream error timeout http_502 http_503 non_idempotent;
    }}
  }}
}}
"""


class BareServers(Cluster):
    """The two servers of a cluster, and nginx instead of the edge."""

    def _edge(self, port):
        program = shutil.which("nginx") or str(CACHE / "tools" / "bin" / "nginx")
        if not Path(program).exists():
            raise Failed("nginx is missing: run scripts/setup.sh nginx")
        first, second = (server.port for server in self.servers)
        file = self.folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=self.folder, first=first, second=second, port=port))
        command = [program, "-p", self.folder, "-c", file, "-e", self.folder / "nginx-error.log"]
        return Process("nginx", command, port, "/api/v2/heartbeat", self.folder / "nginx.log")


class Load:
    """Adds one record after the other, and counts what was acknowledged and what failed."""

    def __init__(self, url, count):
        self.url, self.count = url, count
        self.lock = threading.Lock()
        self.next, self.acknowledged, self.errors = 0, set(), 0

    def collection(self):
        return http(f"{self.url}{BASE}/{NAME}")["id"]

    def run(self):
        identity = self.collection()
        while True:
            with self.lock:
                number = self.next
                self.next += 1
            if number >= self.count:
                return
            body = {"ids": [f"r{number}"], "embeddings": [[float(number), 1.0]]}
            try:
                http(f"{self.url}{BASE}/{identity}/add", body)
                with self.lock:
                    self.acknowledged.add(f"r{number}")
            except (OSError, ValueError) as error:
                with self.lock:
                    self.errors += 1
                if isinstance(error, urllib.error.HTTPError) and error.code == 404:
                    # Like an application that connects again: the other server has the collection under another id.
                    try:
                        identity = self.collection()
                    except (OSError, ValueError):
                        pass
            time.sleep(0.002)


def work(clusters):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=600)
    parser.add_argument("--clients", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nginx-loss-") as folder:
        os.chmod(folder, 0o755)
        bare = BareServers(folder)
        clusters.append(bare)
        bare.start()
        for server in bare.servers:
            # Anyone who sets this up by hand creates the collection on both servers.
            http(server.url + BASE, {"name": NAME})
        load = Load(bare.edge.url, asked.writes)
        threads = [threading.Thread(target=load.run, daemon=True) for _ in range(asked.clients)]
        for thread in threads:
            thread.start()
        until(load, asked.writes // 3)
        bare.servers[0].kill()
        until(load, 2 * asked.writes // 3)
        bare.servers[0].start()
        for thread in threads:
            thread.join()
        time.sleep(1)
        there = [set(records(server.url, collections(server.url)[NAME])) for server in bare.servers]
        clusters.remove(bare)
        bare.stop()
    rows = [
        ("writes tried", asked.writes),
        ("errors seen by the clients", load.errors),
        ("writes acknowledged", len(load.acknowledged)),
        ("of these missing on the first server", len(load.acknowledged - there[0])),
        ("of these missing on the second server", len(load.acknowledged - there[1])),
        ("of these on one server alone", len(load.acknowledged & (there[0] ^ there[1]))),
    ]
    print("nginx in front of two bare Chroma servers; the first is killed, and comes back")
    for what, count in rows:
        print(f"  {what:40}{count:>6}")
    return 0


def until(load, count):
    deadline = time.monotonic() + 120
    while load.next < count:
        if time.monotonic() > deadline:
            raise Failed("the writes do not get on")
        time.sleep(0.01)


if __name__ == "__main__":
    raise SystemExit(run_script("nginx-loss", work))
