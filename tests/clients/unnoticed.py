"""The official Python client in several threads, each with a client of its own, against a real edge that is restarted
in place: no call may fail.

unnoticed.py --url URL

In step with what drives it, by lines: says `busy` when every thread has done some more, and reads a line when the edge
has been restarted; says `done` at the end, when every record is there once. Exits non-zero on the first surprise.
"""

import argparse
import random
import sys
import threading
import time
from urllib.parse import urlparse

import chromadb

ROUNDS, THREADS, STEPS = 2, 6, 8


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    url = urlparse(parser.parse_args().url)
    over, failed, done = threading.Event(), [], [0] * THREADS

    def work(number):
        try:
            client = chromadb.HttpClient(host=url.hostname, port=url.port)
            things = client.get_or_create_collection("things")
            while not over.is_set():
                step = done[number]
                things.add(ids=[f"{number}-{step}"], embeddings=[[number, step, 1.0]])
                found = things.get(ids=[f"{number}-{step}"])["ids"]
                assert found == [f"{number}-{step}"], found
                done[number] += 1
                # Up to two seconds: its connection is idle meanwhile, and kept.
                time.sleep(random.random() ** 4 * 2)
        except BaseException as error:  # noqa: BLE001
            failed.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()

    def progress():
        before = list(done)
        while not failed and any(now - then < STEPS for now, then in zip(done, before)):
            time.sleep(0.02)

    for _ in range(ROUNDS):
        progress()
        if failed:
            break
        print("busy", flush=True)
        sys.stdin.readline()
    progress()
    over.set()
    for thread in threads:
        thread.join()
    assert not failed, failed
    held = chromadb.HttpClient(host=url.hostname, port=url.port).get_collection("things")
    expected = {f"{number}-{step}" for number in range(THREADS) for step in range(done[number])}
    assert set(held.get(limit=100000)["ids"]) == expected
    print("done", flush=True)


main()
