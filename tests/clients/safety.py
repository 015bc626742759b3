"""The Python library and the official client with it underneath, against a real edge whose instances are all down for
a while.

safety.py [--url URL] [--async]: the edge's URL, or CHROMA_EDGE_URL.

In step with what drives it, by lines: says `kill`, and reads a line when every instance is down; says `timing_gap ID`
for each write that the edge holds, then `restart`; says `recovered ID` for each as the instances come back, and `exactly
one copy` at the end. Exits non-zero on the first surprise.
"""

import argparse
import asyncio
import inspect
import io
import os
import pathlib
import sys
import threading
import uuid
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients/python/src"))

from chroma_edge_client import (  # noqa: E402
    AsyncTransactionSafetyClient,
    Policy,
    TransactionError,
    TransactionSafetyClient,
    TransactionSafetyService,
    safe_http_client,
)

POLICY = Policy(max_retries=20, initial_retry_delay=0.1, max_retry_delay=1, recovery_timeout=120)
SAYING = threading.Lock()


def say(line):
    with SAYING:
        print(line, flush=True)


def heard():
    assert sys.stdin.readline(), "whoever drives this is gone"


class Events:
    """Events of operations on several threads."""

    def __init__(self):
        self.gaps, self.recovered, self.changed = set(), set(), threading.Condition()

    def __call__(self, event):
        kind = event.type.split(":")[1]
        with self.changed:
            if kind == "timing_gap":
                self.gaps.add(event.transaction_id)
            elif kind == "recovered":
                self.recovered.add(event.transaction_id)
            else:
                return
            self.changed.notify_all()
        say(f"{kind} {event.transaction_id}")

    def held(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.gaps) == count, 60), self.gaps


async def run(call, *arguments, **options):
    """The call's value: awaited, or made on a thread, so that calls of either kind can run beside each other."""
    if inspect.iscoroutinefunction(call):
        return await call(*arguments, **options)
    return await asyncio.get_running_loop().run_in_executor(None, lambda: call(*arguments, **options))


async def messages(client, transaction_id):
    stream = client.events(transaction_id=transaction_id)
    if hasattr(stream, "__aiter__"):
        return [message.event async for message in stream]
    return await run(lambda: [message.event for message in stream])


async def scenario(url, asynchronous):
    kind = AsyncTransactionSafetyClient if asynchronous else TransactionSafetyClient
    session = f"safety-py-{uuid.uuid4()}"
    embed = lambda documents: [[len(text), 1, 0.5] for text in documents]  # noqa: E731
    client = kind(url, policy=POLICY, session=session, embed=embed)
    events = Events()
    client.on("*", events)
    name = f"safety_{uuid.uuid4().hex}"
    collection = (await run(client.create_collection, name)).data
    where = urlparse(url)
    official = await run(safe_http_client, where.hostname, where.port, policy=POLICY, session=session, on_event=events)
    same = await run(official.get_collection, name, embedding_function=None)
    await run(same.add, ids=["before"], embeddings=[[1.0, 2.0, 3.0]])

    say("kill")
    await run(heard)
    own_id = f"{session}-own"
    record = {"ids": ["own"], "embeddings": [[4, 5, 6]], "documents": ["own"]}
    file = io.StringIO("written in the gap")
    own = asyncio.ensure_future(run(client.add, collection["id"], record, transaction_id=own_id))
    upload = asyncio.ensure_future(run(client.upload_file_with_safety, file, name, name="gap.txt"))
    under = asyncio.ensure_future(run(same.add, ids=["official"], embeddings=[[7.0, 8.0, 9.0]]))
    await run(events.held, 3)
    assert (await run(client.get_transaction, own_id))["is_timing_gap_failure"]
    reading = asyncio.ensure_future(messages(client, own_id))
    say("restart")

    result, uploaded, _, seen = await asyncio.gather(own, upload, under, reading)
    assert result.recovered and result.status == 201, result
    assert uploaded.transactions[0].recovered, uploaded
    assert events.recovered == events.gaps, (events.recovered, events.gaps)
    assert seen == ["transaction:timing_gap", "transaction:recovered"], seen

    again = await run(client.add, collection["id"], record, transaction_id=own_id)
    assert again.replayed and again.status == 201, again
    try:
        await run(client.add, collection["id"], {**record, "ids": ["x"]}, transaction_id=own_id)
        raise AssertionError("another request with the same id was not refused")
    except TransactionError as error:
        assert error.status == 422 and error.transaction_id == own_id, error
    transaction = await run(client.wait, own_id)
    assert transaction["status"] == "RECOVERED", transaction
    assert (await run(client.wait, transaction["transaction_id"]))["client_transaction_id"] == own_id

    path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{collection['id']}/get"
    found = (await run(client.request, "POST", path, {"include": ["documents"]})).data
    copy = uploaded.document_ids[0]
    assert sorted(found["ids"]) == sorted(["before", "official", "own", copy]), found["ids"]
    assert found["documents"][found["ids"].index(copy)] == "written in the gap"
    trail = await run(client.transactions, session=session)
    assert trail["total"] == len(trail["transactions"]) == 5, trail
    assert (trail["counts"]["COMPLETED"], trail["counts"]["RECOVERED"]) == (2, 3), trail["counts"]
    await run(client.aclose if asynchronous else client.close)


def application(url):
    """An application's own operations: logged, pending, finished, and never executed."""
    session = f"cms-{uuid.uuid4()}"
    with TransactionSafetyService(url, session=session, policy=POLICY) as service:
        first = service.log_transaction_attempt("POST", "/articles", {"title": "t"}, {"Authorization": "secret", "X-Kind": "draft"})
        second = service.log_transaction_attempt("POST", "/articles", {"title": "u"})
        assert [one["transaction_id"] for one in service.pending()] == [second, first]
        done = service.mark_transaction_completed(first, 201, {"id": 1})
        assert (done["status"], done["result"], done["operation_type"]) == ("COMPLETED", {"id": 1}, "application"), done
        assert service.mark_transaction_completed(first, 201, {"id": 1})["status"] == "COMPLETED"
        failed = service.mark_transaction_failed(second, "database away", True)
        assert (failed["status"], failed["failure_reason"]) == ("FAILED", "database away"), failed
        assert [one["transaction_id"] for one in service.pending()] == [second]
        assert service.mark_transaction_completed(second)["status"] == "RECOVERED"
        assert service.pending() == []


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url", default=os.environ.get("CHROMA_EDGE_URL"))
    arguments.add_argument("--async", dest="asynchronous", action="store_true")
    options = arguments.parse_args()
    asyncio.run(scenario(options.url, options.asynchronous))
    application(options.url)
    say("exactly one copy")


main()
