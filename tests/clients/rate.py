"""The official Python client, synchronous and asynchronous, at an edge with `limits.client_rate`: what is too much raises RateLimitError.

rate.py --url URL
"""

import argparse
import asyncio
from urllib.parse import urlparse

import chromadb
from chromadb.errors import RateLimitError

FAR_TOO_MANY = 1000


def is_clear(error):
    assert error.code() == 429, error
    assert "limits.client_rate" in str(error) and "try again in" in str(error), error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    where = urlparse(parser.parse_args().url)
    client = chromadb.HttpClient(host=where.hostname, port=where.port, headers={"X-Forwarded-For": "203.0.113.1"})
    things = client.get_or_create_collection("things")
    try:
        for number in range(FAR_TOO_MANY):
            things.upsert(ids=["a"], embeddings=[[1, 2, number]])
        raise AssertionError("never refused")
    except RateLimitError as error:
        is_clear(error)
    asyncio.run(asynchronous(where))
    print("as expected")


async def asynchronous(where):
    headers = {"X-Forwarded-For": "203.0.113.2"}
    client = await chromadb.AsyncHttpClient(host=where.hostname, port=where.port, headers=headers)
    try:
        for _ in range(FAR_TOO_MANY):
            await client.list_collections()
        raise AssertionError("never refused")
    except RateLimitError as error:
        is_clear(error)


main()
