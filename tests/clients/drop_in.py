"""Every operation of the official Python client, with its results checked. Exits non-zero on the first surprise.

drop_in.py --url URL [--async]: the same script with the synchronous or the asynchronous client.
"""

import argparse
import asyncio
import inspect
import uuid
from urllib.parse import urlparse

import chromadb
import numpy
from chromadb.errors import ChromaError, InvalidArgumentError, NotFoundError


async def done(value):
    """The value, or what it comes to when the client is asynchronous."""
    return await value if inspect.isawaitable(value) else value


async def refused(kinds, call):
    try:
        await done(call())
    except kinds as error:
        return str(error)
    raise AssertionError(f"not refused with {kinds}")


async def connect(where, asynchronous, **scope):
    make = chromadb.AsyncHttpClient if asynchronous else chromadb.HttpClient
    return await done(make(host=where.hostname, port=where.port, **scope))


async def system(client):
    assert await done(client.heartbeat()) > 0
    assert await done(client.get_version()) == "1.0.0"
    assert await done(client.get_max_batch_size()) == 5461
    identity = await done(client.get_user_identity())
    assert identity.tenant == "default_tenant", identity
    await refused(ChromaError, client.reset)


async def catalog(client):
    made = await done(client.create_collection("catalog", metadata={"a": 1}, embedding_function=None))
    assert (await done(client.get_collection("catalog", embedding_function=None))).id == made.id
    again = await done(client.get_or_create_collection("catalog", metadata={"b": 2}, embedding_function=None))
    assert again.id == made.id and again.metadata == {"a": 1}, again.metadata
    await refused(ChromaError, lambda: client.create_collection("catalog", embedding_function=None))
    await refused(NotFoundError, lambda: client.get_collection("absent", embedding_function=None))
    await refused((InvalidArgumentError, ValueError), lambda: client.create_collection("x", embedding_function=None))
    for number in range(3):
        await done(client.create_collection(f"listed-{number}", embedding_function=None))
    names = [collection.name for collection in await done(client.list_collections())]
    assert sorted(names) == ["catalog", "listed-0", "listed-1", "listed-2"], names
    assert await done(client.count_collections()) == 4
    paged = []
    for offset in range(0, 6, 2):
        paged += [collection.name for collection in await done(client.list_collections(limit=2, offset=offset))]
    assert sorted(paged) == sorted(names), paged
    await done(made.modify(name="renamed", metadata={"c": 3}))
    found = await done(client.get_collection("renamed", embedding_function=None))
    assert found.id == made.id and found.metadata == {"c": 3}, (found.id, found.metadata)
    await done(made.modify(configuration={"hnsw": {"ef_search": 77}}))
    found = await done(client.get_collection("renamed", embedding_function=None))
    assert found.configuration_json["hnsw"]["ef_search"] == 77, found.configuration_json
    await done(made.add(ids=["kept"], embeddings=[[1.0, 2.0]]))
    assert await done(found.count()) == 1
    for name in ["renamed", "listed-0", "listed-1", "listed-2"]:
        await done(client.delete_collection(name))
    await refused(NotFoundError, lambda: client.delete_collection("renamed"))
    await refused(NotFoundError, made.count)
    assert await done(client.list_collections()) == []


async def records(client):
    space = {"hnsw": {"space": "cosine"}}
    things = await done(client.create_collection("things", configuration=space, embedding_function=None))
    vectors = [[1.0, 0.0, 0.5], [0.0, 1.0, 0.25], [0.1, 0.2, 0.3], [-1.0, 0.5, 0.0]]
    await done(things.add(
        ids=["a", "b", "c", "d"], embeddings=vectors, documents=["red fox", "blue fox", "red hen", "owl"],
        metadatas=[{"n": 1}, {"n": 2, "t": "x"}, {"n": 3}, {"n": 4, "f": 0.5}], uris=["u:a", "u:b", "u:c", "u:d"]))
    await done(things.add(ids=["a"], embeddings=[[9.0, 9.0, 9.0]], documents=["ignored"]))
    assert await done(things.count()) == 4
    everything = ["embeddings", "documents", "metadatas", "uris"]
    all_ = await done(things.get(include=everything))
    assert all_["ids"] == ["a", "b", "c", "d"], all_["ids"]
    # In cosine space Chroma keeps direction and length apart, and the last bit may be lost.
    assert numpy.allclose(all_["embeddings"], vectors, rtol=1e-6)
    assert all_["documents"][0] == "red fox" and all_["uris"][3] == "u:d"
    assert all_["metadatas"][1] == {"n": 2, "t": "x"}, all_["metadatas"]
    assert (await done(things.peek(limit=2)))["ids"] == ["a", "b"]
    assert (await done(things.get(ids=["c", "a"])))["ids"] == ["a", "c"]
    assert (await done(things.get(where={"n": {"$gte": 2}}, limit=2, offset=1)))["ids"] == ["c", "d"]
    assert (await done(things.get(where_document={"$contains": "red"})))["ids"] == ["a", "c"]
    found = await done(things.query(query_embeddings=[[1.0, 0.0, 0.5]], n_results=2, where={"n": {"$lt": 4}}))
    assert found["ids"][0][0] == "a" and abs(found["distances"][0][0]) < 1e-5, found
    assert len(found["ids"][0]) == 2

    await done(things.update(ids=["a", "none"], metadatas=[{"n": 10, "t": "y"}, {"n": 0}]))
    await done(things.update(ids=["a"], embeddings=[[7.0, 7.0, 7.0]], documents=["new"]))
    await done(things.upsert(
        ids=["b", "e"], embeddings=[[5.0, 5.0, 5.0], [6.0, 6.0, 6.0]], metadatas=[{"t": "z"}, {"n": 5}]))
    now = await done(things.get(ids=["a", "b", "e"], include=everything))
    assert now["metadatas"] == [{"n": 10, "t": "y"}, {"n": 2, "t": "z"}, {"n": 5}], now["metadatas"]
    assert now["documents"] == ["new", "blue fox", None] and numpy.allclose(now["embeddings"][1], 5.0, rtol=1e-6)
    await done(things.delete(ids=["d", "absent"]))
    await done(things.delete(where={"n": {"$gte": 3}}, limit=1))
    left = await done(things.get())
    assert left["ids"] == ["b", "c", "e"], left["ids"]
    await done(things.delete(where_document={"$contains": "hen"}))
    assert await done(things.count()) == 2
    await refused(InvalidArgumentError, lambda: things.add(ids=["w"], embeddings=[[1.0]]))
    await refused(ChromaError, lambda: things.fork("forked"))
    await done(client.delete_collection("things"))


async def places(client, where, asynchronous):
    """Tenants and databases; the same collection name in two databases is two collections."""
    make = chromadb.AsyncAdminClient if asynchronous and hasattr(chromadb, "AsyncAdminClient") else None
    settings = chromadb.config.Settings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI",
        chroma_server_host=where.hostname, chroma_server_http_port=where.port)
    admin = make(settings) if make else chromadb.AdminClient(settings)
    tenant = f"tenant-{uuid.uuid4()}"
    await done(admin.create_tenant(tenant))
    assert (await done(admin.get_tenant(tenant)))["name"] == tenant
    ids = {}
    for database in ["one", "two"]:
        await done(admin.create_database(database, tenant))
        assert (await done(admin.get_database(database, tenant)))["name"] == database
        scoped = await connect(where, asynchronous, tenant=tenant, database=database)
        made = await done(scoped.create_collection("same", embedding_function=None))
        await done(made.add(ids=[database], embeddings=[[1.0, 2.0]]))
        ids[database] = (made, made.id)
    assert ids["one"][1] != ids["two"][1]
    for database, (made, _) in ids.items():
        assert (await done(made.get()))["ids"] == [database]
    assert [one["name"] for one in await done(admin.list_databases(tenant=tenant))] == ["one", "two"]
    await done(admin.delete_database("one", tenant))
    await refused(NotFoundError, lambda: admin.get_database("one", tenant))
    await refused(NotFoundError, ids["one"][0].count)
    assert await done(ids["two"][0].count()) == 1
    await refused(NotFoundError, lambda: admin.get_tenant("absent"))


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--async", dest="asynchronous", action="store_true")
    options = arguments.parse_args()
    where = urlparse(options.url)
    client = await connect(where, options.asynchronous)
    await system(client)
    await catalog(client)
    await records(client)
    await places(client, where, options.asynchronous)
    print("every operation as expected")


asyncio.run(main())
