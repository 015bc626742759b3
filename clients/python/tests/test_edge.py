"""Over real connections, against a double of the edge."""

import asyncio
import io
import pathlib
import tempfile
import threading
import unittest

import httpx

from chroma_edge_client import (
    AsyncSafeTransport,
    AsyncTransactionSafetyClient,
    ClientClosedError,
    NoAnswerError,
    Policy,
    SafeTransport,
    TransactionAbandonedError,
    TransactionError,
    TransactionSafetyClient,
    TransactionSafetyService,
    safe_http_client,
)

from .fake_edge import FakeEdge

try:
    import chromadb
except ImportError:
    chromadb = None

QUICK = Policy(initial_retry_delay=0.001, max_retry_delay=0.005)
RECORD = {"ids": ["a"], "embeddings": [[1, 2]], "documents": ["text"]}
ADD = "/api/v2/tenants/default_tenant/databases/default_database/collections/c/add"


class Background:
    """A call on a thread of its own."""

    def __init__(self, call):
        self.error = self.result = None

        def run():
            try:
                self.result = call()
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def get(self):
        self.thread.join(20)
        assert not self.thread.is_alive(), "it did not end"
        if self.error:
            raise self.error
        return self.result


class WithEdge(unittest.TestCase):
    def setUp(self):
        self.edge = FakeEdge()
        self.addCleanup(self.edge.stop)
        self.told = []

    def client(self, **options):
        client = TransactionSafetyClient(self.edge.url, **{"policy": QUICK, **options})
        self.addCleanup(client.close)
        client.on("*", lambda event: self.told.append(f"{event.type.replace('transaction:', '')} {event.transaction_id}"))
        return client


class Client(WithEdge):
    def test_a_lost_connection_is_one_success_and_one_execution(self):
        for fault in ("lose", "lose after"):
            with self.subTest(fault):
                self.edge.executed.clear()
                self.told.clear()
                self.edge.script.append(fault)
                result = self.client().add("c", RECORD, transaction_id=fault.replace(" ", "-"))
                self.assertEqual(result.replayed, fault == "lose after")
                self.assertEqual(len(self.edge.executed), 1)
                self.assertEqual([one.split()[0] for one in self.told], ["started", "retry", "completed"])

    def test_all_instances_down_timing_gap_recovered_one_copy(self):
        self.edge.up = False
        writing = Background(lambda: self.client().add("c", RECORD, transaction_id="mine"))
        self.edge.until(lambda: len(self.edge.polls) == 1)
        self.assertTrue(self.edge.polls[0][1].endswith("?wait=60"))
        self.assertEqual(self.told, ["started mine", "timing_gap mine"])
        self.edge.recover()
        result = writing.get()
        self.assertEqual((result.recovered, result.status, result.data), (True, 201, {"done": True}))
        self.assertEqual(self.told, ["started mine", "timing_gap mine", "recovered mine"])
        self.assertEqual((len(self.edge.executed), len(self.edge.writes)), (1, 1))

    def test_a_lost_503_finds_it_running_waits_and_gets_the_stored_answer(self):
        self.edge.up = False
        self.edge.script.append("lose after")
        writing = Background(lambda: self.client().add("c", RECORD))
        self.edge.until(lambda: len(self.edge.polls) == 1)
        self.edge.recover()
        self.assertTrue(writing.get().recovered)
        self.assertEqual((len(self.edge.executed), len(self.edge.transactions)), (1, 1))

    def test_an_application_that_repeats_what_had_no_outcome_repeats_the_same_write(self):
        client = self.client(policy=Policy(max_retries=0, initial_retry_delay=0.001, wait_for_recovery=False))
        self.edge.script.append("lose after")
        with self.assertRaises(NoAnswerError):
            client.add("c", RECORD)
        self.assertTrue(client.add("c", RECORD).replayed)
        self.edge.up = False
        other = {**RECORD, "ids": ["b"]}
        for _ in range(3):
            with self.assertRaises(TransactionError):
                client.add("c", other)
        self.edge.recover()
        self.assertTrue(client.add("c", other).replayed)
        self.assertEqual((len(self.edge.executed), len(self.edge.transactions)), (2, 2))
        # Once it has its outcome, the same request is a new write.
        client.add("c", other)
        self.assertEqual((len(self.edge.executed), len(self.edge.transactions)), (3, 3))

    def test_what_was_withdrawn_is_sent_again_with_the_same_id(self):
        withdrawn = (503, {"error": "InternalError", "message": "it was withdrawn", "reason": "withdrawn"}, {"Retry-After": "0"})
        self.edge.script.append(withdrawn)
        self.client().add("c", RECORD)
        self.assertEqual((len(self.edge.executed), len({one[2]["transaction-id"] for one in self.edge.writes})), (1, 1))

    def test_the_same_id_with_another_request_is_an_error_at_once(self):
        client = self.client()
        client.add("c", RECORD, transaction_id="mine")
        with self.assertRaises(TransactionError) as caught:
            client.add("c", {**RECORD, "ids": ["b"]}, transaction_id="mine")
        self.assertEqual((caught.exception.status, caught.exception.reason), (422, "transaction_id_reused"))
        self.assertEqual((len(self.edge.writes), len(self.edge.executed)), (2, 1))

    def test_a_silent_edge_is_asked_again_with_the_same_id(self):
        self.edge.script.append("hang")
        client = self.client(policy=Policy(initial_retry_delay=0.001, request_timeout=0.2))
        client.add("c", RECORD)
        self.assertEqual(len({one[2]["transaction-id"] for one in self.edge.writes}), 1)
        self.assertEqual(len(self.edge.writes), 2)

    def test_closing_ends_what_sleeps(self):
        self.edge.script += [(503, {"reason": "memory_full"}, {"retry-after": "30"})]
        client = self.client(policy=Policy())
        retried = threading.Event()
        client.on("transaction:retry", lambda event: retried.set())
        writing = Background(lambda: client.add("c", RECORD))
        self.assertTrue(retried.wait(10))
        client.close()
        self.assertRaises(ClientClosedError, writing.get)
        self.assertEqual(len(self.edge.writes), 1)

    def test_a_file_becomes_documents_and_the_same_file_the_same_documents(self):
        text = "\n\n".join(f"Paragraph {n}." for n in range(30))
        path = pathlib.Path(tempfile.mkdtemp()) / "notes.txt"
        path.write_text(text)
        client = self.client(embed=lambda documents: [[len(one)] for one in documents], chunk_size=40, batch_size=5)
        self.edge.script += ["pass", "lose after"]
        upload = client.upload_file_with_safety(path, "c", {"author": "me"}, transaction_id="up")
        self.assertEqual("".join(self.edge.documents.values()), text)
        self.assertEqual(list(self.edge.documents), upload.document_ids)
        self.assertEqual(list(self.edge.transactions), [f"up-{part}" for part in range(len(upload.transactions))])
        self.assertEqual(len(self.edge.executed), len(upload.transactions), "a lost answer stores nothing twice")
        expected = {"author": "me", "file_name": "notes.txt", "chunk": 0, "chunks": len(upload.document_ids)}
        self.assertEqual(self.edge.executed[0]["metadatas"][0], expected)
        opened = io.BytesIO(text.encode())
        opened.name = "/elsewhere/notes.txt"
        self.assertEqual(client.upload_file_with_safety(opened, "c").document_ids, upload.document_ids)
        self.assertEqual(len(self.edge.documents), len(upload.document_ids))
        other = client.upload_file_with_safety(io.StringIO(text + "!"), "c", name="notes.txt")
        self.assertNotEqual(other.document_ids[0], upload.document_ids[0])
        self.assertRaises(ValueError, client.upload_file_with_safety, io.StringIO(" \n"), "c")
        self.assertRaises(ValueError, self.client().upload_file_with_safety, path, "c")

    def test_messages_of_one_transaction_from_its_first_to_its_last(self):
        self.edge.up = False
        client = self.client(policy=Policy(wait_for_recovery=False))
        with self.assertRaises(TransactionError):
            client.add("c", RECORD, transaction_id="mine")
        seen = []
        for message in client.events(transaction_id="mine"):
            seen.append(message.event)
            self.edge.recover()
        self.assertEqual(seen, ["transaction:timing_gap", "transaction:recovered"])

    def test_messages_of_a_session_go_on_after_a_lost_connection(self):
        self.edge.cut_events = True
        client = self.client(session="s 1")
        seen = []

        def read():
            for message in client.events():
                seen.append((message.data["client_transaction_id"], message.id))
                if len(seen) == 3:
                    return

        reading = Background(read)
        self.edge.until(lambda: len(self.edge.requests) == 1)
        for transaction_id in ("one", "two", "three"):
            client.add("c", RECORD, transaction_id=transaction_id)
        reading.get()
        self.assertEqual(seen, [("one", "1"), ("two", "2"), ("three", "3")])
        streams = [one for one in self.edge.requests if one[1] == "/transaction/safety/events?client=s+1"]
        self.assertEqual([one[2].get("last-event-id") for one in streams], [None, "1", "2"])

    def test_what_the_edge_says(self):
        client = self.client(session="mine")
        made = client.create_collection("made")
        self.assertEqual(made.data["name"], "made")
        self.assertEqual(client.get_transaction(made.transaction_id)["status"], "COMPLETED")
        self.assertEqual(client.transactions(session="mine", status=["COMPLETED", "FAILED"])["total"], 1)
        self.assertEqual(client.transactions(session="other")["total"], 0)
        self.assertEqual(client.status(), {"available": True})


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.edge = FakeEdge()
        self.addCleanup(self.edge.stop)

    async def until(self, check):
        await asyncio.to_thread(self.edge.until, check) if hasattr(asyncio, "to_thread") else self.edge.until(check)

    async def test_a_timing_gap_and_its_messages(self):
        async def embed(documents):
            return [[1.0] for _ in documents]

        self.edge.up = False
        async with AsyncTransactionSafetyClient(self.edge.url, policy=QUICK, embed=embed) as client:
            writing = asyncio.create_task(client.upload_file_with_safety(io.StringIO("hello"), "c", transaction_id="up"))
            await self.until(lambda: len(self.edge.polls) == 1)
            seen = []
            async for message in client.events(transaction_id="up"):
                seen.append(message.event)
                self.edge.recover()
            self.assertEqual(seen, ["transaction:timing_gap", "transaction:recovered"])
            upload = await writing
            self.assertTrue(upload.transactions[0].recovered)
            self.assertEqual(list(self.edge.documents.values()), ["hello"])
            self.assertEqual((await client.wait("up"))["status"], "RECOVERED")

    async def test_cancelling_ends_a_request_and_a_wait(self):
        for waits in (False, True):
            self.edge.requests.clear()
            self.edge.up = not waits
            if not waits:
                self.edge.script.append("hang")
            async with AsyncTransactionSafetyClient(self.edge.url, policy=QUICK) as client:
                writing = asyncio.create_task(client.add("c", RECORD))
                await self.until(lambda: len(self.edge.requests) == (2 if waits else 1))
                writing.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await asyncio.wait_for(writing, 5)
                self.assertEqual(len(self.edge.requests), 2 if waits else 1)

    async def test_transport(self):
        transport = AsyncSafeTransport(httpx.AsyncHTTPTransport(), self.edge.url, policy=QUICK)
        async with httpx.AsyncClient(transport=transport) as http:
            self.edge.script.append("lose after")
            response = await http.post(self.edge.url + ADD, json=RECORD)
            self.assertEqual((response.status_code, response.json()), (201, {"done": True}))
            self.assertEqual(len(self.edge.executed), 1)
            self.assertEqual(len({one[2]["transaction-id"] for one in self.edge.writes}), 1)
            self.edge.script.append("lose")
            with self.assertRaises(httpx.TransportError):
                await http.get(self.edge.url + "/api/v2/version")


class Transport(WithEdge):
    def http(self, url=None, **policy):
        told = lambda event: self.told.append(event.type.replace("transaction:", ""))  # noqa: E731
        policy = Policy(**{"initial_retry_delay": 0.001, "max_retry_delay": 0.005, **policy})
        http = httpx.Client(transport=SafeTransport(httpx.HTTPTransport(), url or self.edge.url, policy=policy, on_event=told))
        self.addCleanup(http.close)
        return http

    def test_writes_to_the_edge_get_ids_and_retries_all_else_passes(self):
        elsewhere = FakeEdge()
        self.addCleanup(elsewhere.stop)
        http = self.http()
        self.edge.script.append("lose after")
        response = http.post(self.edge.url + ADD, json=RECORD, headers={"x-other": "1"})
        self.assertEqual((response.status_code, response.json(), response.headers["idempotent-replayed"]), (201, {"done": True}, "true"))
        self.assertEqual(len(self.edge.executed), 1)
        self.assertEqual({(one[2]["x-other"], one[3]) for one in self.edge.writes}, {("1", self.edge.writes[0][3])})
        self.assertEqual(len({one[2]["transaction-id"] for one in self.edge.writes}), 1)
        self.edge.requests.clear()
        http.get(self.edge.url + "/api/v2/version")
        http.post(self.edge.url + ADD.replace("add", "query"), json={})
        http.post(self.edge.url + "/other", json={})
        http.post(elsewhere.url + ADD, json={})
        self.assertEqual(self.edge.writes + elsewhere.writes, [])
        self.edge.script.append("lose")
        self.assertRaises(httpx.TransportError, http.get, self.edge.url + "/api/v2/version")
        http.delete(self.edge.url + ADD, headers={"Transaction-ID": "mine"})
        self.assertEqual(self.edge.writes[-1][2]["transaction-id"], "mine")

    def test_a_prefix_of_host_or_path_is_not_the_edge(self):
        seen = []

        def answer(request):
            seen.append(request.headers.get("transaction-id"))
            return httpx.Response(201, json={})

        http = httpx.Client(transport=SafeTransport(httpx.MockTransport(answer), "http://edge:80/db/"))
        for url in ("http://edge/dbase/api/v2/reset", "http://edge.evil/db/api/v2/reset", "http://edge:8080/db/api/v2/reset",
                    "https://edge/db/api/v2/reset", "http://edge/api/v2/reset"):
            http.post(url)
        self.assertEqual(seen, [None] * 5)
        http.post("HTTP://EDGE:80/db/api/v2/reset")
        self.assertTrue(seen[-1])

    def test_gap_abandoned_and_no_answer(self):
        http = self.http(max_retries=1)
        self.edge.up = False
        send = lambda: http.post(self.edge.url + ADD, json=RECORD, headers={"x-chroma-token": "k"})  # noqa: E731
        writing = Background(send)
        self.edge.until(lambda: len(self.edge.polls) == 1)
        self.assertEqual(self.edge.polls[0][2]["x-chroma-token"], "k", "the edge is asked as whom the write was")
        self.edge.recover()
        self.assertEqual((writing.get().status_code, writing.get().json()), (201, {"done": True}))
        self.assertEqual((len(self.edge.executed), self.told), (1, ["started", "timing_gap", "recovered"]))
        self.edge.up = False
        refused = Background(send)
        self.edge.until(lambda: len(self.edge.polls) == 2)
        self.edge.abandon("wrong dimension", 400)
        self.assertEqual(refused.get().status_code, 400)
        self.assertIn("wrong dimension", refused.get().json()["message"])
        self.edge.script += ["lose", "lose"]
        with self.assertRaises(httpx.TransportError) as caught:
            send()
        self.assertTrue(caught.exception.transaction_id)


@unittest.skipIf(chromadb is None, "the official client is not here: pip install chromadb-client")
class Official(WithEdge):
    def test_the_official_client_without_knowing_it(self):
        told = []
        port = int(self.edge.url.rsplit(":", 1)[1])
        client = safe_http_client("127.0.0.1", port, headers={"x-chroma-token": "k"}, policy=QUICK, on_event=told.append)
        self.addCleanup(client._server._session.close)
        self.edge.script.append("lose after")
        made = client.create_collection("made", embedding_function=None)
        self.assertEqual((made.name, len(self.edge.executed)), ("made", 1))
        self.edge.up = False
        adding = Background(lambda: made.add(ids=["a"], embeddings=[[1.0, 2.0]]))
        self.edge.until(lambda: len(self.edge.polls) == 1)
        self.edge.recover()
        adding.get()
        self.assertEqual(len(self.edge.executed), 2)
        self.assertTrue(all(one[2]["x-chroma-token"] == "k" for one in self.edge.requests))
        names = [event.type.replace("transaction:", "") for event in told]
        self.assertEqual(names, ["started", "retry", "completed", "started", "timing_gap", "recovered"])
        self.edge.script.append((409, {"error": "UniqueConstraintError", "message": "exists"}))
        with self.assertRaises(chromadb.errors.UniqueConstraintError):
            client.create_collection("made", embedding_function=None)


class Service(WithEdge):
    def test_an_applications_own_operations(self):
        service = TransactionSafetyService(self.edge.url, session="cms", policy=QUICK)
        self.addCleanup(service.close)
        headers = {"X-Kind": "draft", "Authorization": "secret", "Cookie": "secret"}
        first = service.log_transaction_attempt("POST", "/articles", {"title": "t"}, headers)
        second = service.log_transaction_attempt("POST", "/articles", {"title": "u"})
        self.assertNotIn(b"secret", self.edge.requests[0][3])
        self.assertIn(b"draft", self.edge.requests[0][3])
        self.assertEqual([one["transaction_id"] for one in service.pending()], [second, first])
        self.assertEqual(service.mark_transaction_completed(first, 201, {"id": 1})["status"], "COMPLETED")
        self.assertEqual(service.mark_transaction_completed(first, 201, {"id": 1})["result"], {"id": 1})
        failed = service.mark_transaction_failed(second, "database away", True)
        self.assertEqual((failed["status"], failed["failure_reason"], failed["retry_count"]), ("FAILED", "database away", 1))
        self.assertEqual([one["transaction_id"] for one in service.pending()], [second])
        self.assertEqual(service.mark_transaction_completed(second)["status"], "RECOVERED")
        third = service.log_transaction_attempt("POST", "/articles")
        self.assertEqual(service.mark_transaction_failed(third, "no", final=True)["status"], "ABANDONED")
        self.assertEqual(service.pending(), [])
        with self.assertRaises(TransactionError) as caught:
            service.mark_transaction_failed(third, "other")
        self.assertEqual((caught.exception.status, caught.exception.reason), (409, "transaction_final"))
        self.assertEqual(self.edge.executed, [], "never executed by the edge")

    def test_retries_with_the_same_id_and_every_page(self):
        service = TransactionSafetyService(self.edge.url, policy=QUICK)
        self.addCleanup(service.close)
        self.edge.page = 2
        self.edge.script.append("lose")
        ids = [service.log_transaction_attempt("POST", f"/{n}") for n in range(5)]
        self.assertEqual(len(self.edge.transactions), 5)
        self.assertEqual(self.edge.writes[0][2]["transaction-id"], self.edge.writes[1][2]["transaction-id"])
        self.assertEqual([one["transaction_id"] for one in service.pending()], ids[::-1])
        self.edge.script.append("lose")
        service.mark_transaction_completed(ids[0])
        self.assertNotIn("transaction-id", self.edge.requests[-1][2])


class Waiting(WithEdge):
    def test_abandoned_while_it_is_waited_for(self):
        self.edge.up = False
        writing = Background(lambda: self.client().add("c", RECORD))
        self.edge.until(lambda: len(self.edge.polls) == 1)
        self.edge.abandon("wrong dimension", 400)
        with self.assertRaises(TransactionAbandonedError) as caught:
            writing.get()
        self.assertEqual(caught.exception.reason, "wrong dimension")


if __name__ == "__main__":
    unittest.main()
