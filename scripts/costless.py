"""A Chroma server that costs nothing, for measurements of the edge alone.

A given number of collections exists from the start, every write is accepted at once, and every read has the same small
answer. It keeps only what the edge creates itself: its marker, and new collections.

    python3 scripts/costless.py --port 8000 --collections 100000 --instance 1

The ids of collection N on instance I are those of `collection_id(I, N)`. Standard library only.
"""

import argparse
import asyncio
import itertools
import json
import re
import urllib.parse

TENANT, DATABASE = "default_tenant", "default_database"
HNSW = {"space": "l2", "ef_construction": 100, "ef_search": 100, "max_neighbors": 16, "resize_factor": 1.2, "sync_threshold": 1000}
CONFIGURATION = {"hnsw": HNSW, "spann": None, "embedding_function": {"type": "known", "name": "default", "config": {}}}
SCHEMA = {
    "defaults": {kind: {} for kind in ("string", "float_list", "sparse_vector", "int", "float", "bool")},
    "keys": {"#document": {"string": {"fts_index": {"enabled": True, "config": {}}}}, "#embedding": {"float_list": {"vector_index": {
        "enabled": True, "config": {"space": "l2", "source_key": "#document", "hnsw": HNSW}}}}},
}
ROUTES = {
    "heartbeat": "get", "tenants": "post", "tenants/{t}": "get", "tenants/{t}/databases": "get post",
    "tenants/{t}/databases/{d}": "get delete", "tenants/{t}/databases/{d}/collections": "get post",
    "tenants/{t}/databases/{d}/collections_count": "get", "tenants/{t}/databases/{d}/collections/by-id/{c}": "get",
    "tenants/{t}/databases/{d}/collections/{c}": "get put delete", "tenants/{t}/databases/{d}/collections/{c}/count": "get",
    **{f"tenants/{{t}}/databases/{{d}}/collections/{{c}}/{verb}": "post" for verb in ("add", "update", "upsert", "delete", "get", "query")},
}
DOCUMENT = json.dumps({
    "openapi": "3.1.0",
    "paths": {f"/api/v2/{path}": {method: {} for method in methods.split()} for path, methods in ROUTES.items()},
    "components": {"schemas": {"Collection": {"properties": {"schema": {}}}}},
})
RECORDS = json.dumps({"ids": ["0"], "embeddings": None, "documents": ["a document"], "uris": None, "metadatas": [None],
                      "include": ["documents", "metadatas"]})
# A copy without records cannot be queried.
NONE = json.dumps({"ids": [], "embeddings": [], "documents": None, "uris": None, "metadatas": None, "include": ["embeddings"]})
BELOW = re.compile(r"/api/v2/tenants/([^/]+)/databases/([^/]+)/collections(?:/by-id)?(?:/([^/]+)(?:/([a-z]+))?)?$")
SHOWN = json.dumps({"id": "%(id)s", "name": "%(name)s", "configuration_json": CONFIGURATION, "schema": SCHEMA, "metadata": "%(metadata)s",
                    "dimension": 3, "tenant": TENANT, "database": "%(database)s", "log_position": 0, "version": 0})
SHOWN = SHOWN.replace('"%(metadata)s"', "%(metadata)s")


def collection_id(instance, number):
    """Returns ids that are spread like random ones: neighbors in one order are not neighbors in another."""
    return f"{number * 2654435761 % 2**32:08x}-{instance:04x}-4000-8000-{number:012x}"


def number_of(identity):
    return int(identity[-12:], 16)


def name_of(number):
    return f"collection-{number:06}"


class Server:
    """The content of the server."""

    def __init__(self, collections, instance):
        self.instance = instance
        self.count = collections
        # In the order in which Chroma lists them.
        self.sorted = sorted(collection_id(instance, number) for number in range(collections))
        self.known = set(self.sorted)
        self.made, self.names, self.databases = {}, {}, {DATABASE: "00000000-0000-0000-0000-000000000000"}
        self.numbers = itertools.count(1)

    def shown(self, identity):
        made = self.made.get(identity)
        if made:
            return SHOWN % made
        return SHOWN % {"id": identity, "name": name_of(number_of(identity)), "metadata": "null", "database": DATABASE}

    def find(self, database, named):
        """Returns the id of the collection that a path names."""
        if named in self.made or named in self.known:
            return named
        if named.startswith("collection-") and int(named[11:]) < self.count:
            return collection_id(self.instance, int(named[11:]))
        return self.names.get((database, named))

    def answer(self, method, target, body):
        path, _, query = target.partition("?")
        below = BELOW.match(path)
        if below:
            return self.below(method, below, urllib.parse.parse_qs(query), body)
        if path == "/openapi.json":
            return 200, DOCUMENT
        if path.endswith("/heartbeat"):
            return 200, '{"nanosecond heartbeat":1}'
        if path.endswith("/databases"):
            if method == "POST":
                self.databases.setdefault(json.loads(body)["name"], collection_id(0, next(self.numbers)))
                return 200, "{}"
            shown = [{"id": identity, "name": name, "tenant": TENANT} for name, identity in self.databases.items()]
            first = int(urllib.parse.parse_qs(query).get("offset", ["0"])[0])
            return 200, json.dumps(shown[first:])
        return 200, json.dumps({"name": TENANT})

    def below(self, method, below, query, body):
        database, named, verb = urllib.parse.unquote(below[2]), below[3], below[4]
        if not named:
            return self.create(database, json.loads(body)) if method == "POST" else self.list(database, query)
        identity = self.find(database, urllib.parse.unquote(named))
        if identity is None:
            return 404, json.dumps({"error": "NotFoundError", "message": f"Collection [{named}] does not exist."})
        if verb == "get":
            return 200, NONE if b'"embeddings"' in body else RECORDS
        if verb == "count":
            return 200, "1"
        if verb:
            return (201 if verb == "add" else 200), "{}"
        if method == "PUT":
            self.made[identity]["metadata"] = json.dumps(json.loads(body)["new_metadata"])
            return 200, "{}"
        return 200, self.shown(identity)

    def create(self, database, asked):
        identity = self.find(database, asked["name"])
        if identity is None:
            identity = f"ffffffff-{self.instance:04x}-4000-8000-{next(self.numbers):012x}"
            self.made[identity] = {"id": identity, "name": asked["name"], "database": database, "metadata": json.dumps(asked.get("metadata"))}
            self.names[database, asked["name"]] = identity
        return 200, self.shown(identity)

    def list(self, database, query):
        number = lambda key, other: int(query.get(key, [other])[0])
        ids = [identity for (of, _), identity in self.names.items() if of == database]
        ids = self.sorted + sorted(ids) if database == DATABASE else sorted(ids)
        first = number("offset", 0)
        return 200, f"[{','.join(self.shown(one) for one in ids[first:first + number('limit', len(ids))])}]"


class Requests(asyncio.Protocol):
    """One connection: reads whole requests, writes whole answers."""

    def __init__(self, server):
        self.server, self.received = server, bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while True:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.received[:end].decode()
            length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < whole:
                return
            body = bytes(self.received[end + 4:whole])
            del self.received[:whole]
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            status, text = self.server.answer(method, target, body)
            said = text.encode()
            self.transport.write(
                b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(said), said))


async def serve(options):
    server = Server(options.collections, options.instance)
    listener = await asyncio.get_running_loop().create_server(lambda: Requests(server), "127.0.0.1", options.port, backlog=512)
    await listener.serve_forever()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--collections", type=int, default=0)
    options.add_argument("--instance", type=int, default=1)
    asyncio.run(serve(options.parse_args()))


if __name__ == "__main__":
    main()
