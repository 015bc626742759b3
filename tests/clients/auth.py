"""The official Python client with tokens: what it may do works, and what it may not raises the right exception.

auth.py --url URL --reader TOKEN --scoped TOKEN; the edge holds `things` and `other`, and the scoped token knows `things` alone.
"""

import argparse
import base64
from urllib.parse import urlparse

import chromadb
from chromadb.config import Settings
from chromadb.errors import AuthorizationError, ChromaAuthError, NotFoundError


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"not refused with {kind}")


def provider(name, credentials):
    return Settings(chroma_client_auth_provider=name, chroma_client_auth_credentials=credentials)


def main():
    parser = argparse.ArgumentParser()
    for name in ["--url", "--reader", "--scoped"]:
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    where = urlparse(given.url)

    def connect(**more):
        return chromadb.HttpClient(host=where.hostname, port=where.port, **more)

    refused(AuthorizationError, connect)
    refused(AuthorizationError, lambda: connect(headers={"X-Chroma-Token": "wrong"}))
    token = "chromadb.auth.token_authn.TokenAuthClientProvider"
    # What the client's own provider of that name sends; that one needs a further package.
    basic = base64.b64encode(f"anybody:{given.reader}".encode()).decode()
    for more in [
        {"headers": {"X-Chroma-Token": given.reader}},
        {"headers": {"Authorization": f"Bearer {given.reader}"}},
        {"settings": provider(token, given.reader)},
        {"headers": {"Authorization": f"Basic {basic}"}},
    ]:
        reader = connect(**more)
        assert sorted(one.name for one in reader.list_collections()) == ["other", "things"]
        things = reader.get_or_create_collection("things")
        assert things.get()["ids"] == ["a"], things.get()
        refused(ChromaAuthError, lambda: things.add(ids=["b"], embeddings=[[1, 2, 3]]))
        refused(ChromaAuthError, lambda: reader.create_collection("new"))
    scoped = connect(headers={"X-Chroma-Token": given.scoped})
    assert [one.name for one in scoped.list_collections()] == ["things"]
    assert scoped.count_collections() == 1
    refused(NotFoundError, lambda: scoped.get_collection("other"))
    scoped.get_collection("things").upsert(ids=["a"], embeddings=[[3, 2, 1]])
    refused(ChromaAuthError, lambda: scoped.create_collection("new"))
    print("as expected")


main()
