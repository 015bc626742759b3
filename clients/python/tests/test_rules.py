"""What is retried, how often, and after which delay: on a fake clock, without a network, through both drivers."""

import asyncio
import json
import unittest

import httpx

from chroma_edge_client import (
    AsyncTransactionSafetyClient,
    NoAnswerError,
    Policy,
    TimingGapError,
    TransactionAbandonedError,
    TransactionError,
    TransactionSafetyClient,
    UnknownTransactionError,
    is_timing_gap_error,
)
from chroma_edge_client._core import split_text
from chroma_edge_client._sse import Parser

EDGE = "http://edge:8000"
ADD = "/api/v2/tenants/t/databases/d/collections/c/add"
LOST = httpx.ConnectError("refused")


def pending(**more):
    body = {"error": "InternalError", "reason": "no_instance_available", "transaction_id": "e-1", "recovery": "pending", **more}
    return 503, body, {"Retry-After": "5"}


def shown(status, **more):
    return 200, {"transaction_id": "e-1", "status": status, "response_status": 201, "response_data": {"n": 1}, **more}


RUNNING = (409, {"error": "ChromaError", "reason": "transaction_running", "transaction_id": "e-1"}, {"Retry-After": "1"})
MISSING = (404, {"error": "no such transaction"})
DONE = (201, {"n": 1})


class Case:
    """A client on a fake clock that gets these answers in order, and repeats the last one."""

    def __init__(self, answers, asynchronous=False, random=lambda: 0.5, **policy):
        self.answers, self.sent, self.slept, self.told, self.time = list(answers), [], [], [], 0.0
        transport = httpx.MockTransport(self.answer)
        self.asynchronous = asynchronous
        common = dict(policy=Policy(**policy), now=lambda: self.time, random=random)
        if asynchronous:
            async def sleep(seconds):
                self.sleep(seconds)

            http = httpx.AsyncClient(transport=transport)
            self.client = AsyncTransactionSafetyClient(EDGE, http=http, sleep=sleep, **common)
        else:
            self.client = TransactionSafetyClient(EDGE, http=httpx.Client(transport=transport), sleep=self.sleep, **common)
        self.client.on("*", self.told.append)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds

    def answer(self, request):
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        return httpx.Response(status, json=body, headers=headers[0] if headers else {})

    def do(self, name, *arguments, **options):
        value = getattr(self.client, name)(*arguments, **options)
        return asyncio.run(value) if self.asynchronous else value

    def write(self, **options):
        return self.do("request", "POST", ADD, {"ids": ["a"]}, **options)

    @property
    def methods(self):
        return [request.method for request in self.sent]

    @property
    def ids(self):
        return {request.headers.get("Transaction-ID") for request in self.sent if request.method == "POST"}

    @property
    def names(self):
        return [event.type.replace("transaction:", "") for event in self.told]


class Rules(unittest.TestCase):
    asynchronous = False

    def case(self, *answers, **options):
        return Case(answers, self.asynchronous, **options)

    def fails(self, case, kind, **options):
        with self.assertRaises(kind) as caught:
            case.write(**options)
        self.assertRegex(caught.exception.transaction_id, "^[0-9a-f-]{36}$")
        self.assertEqual({caught.exception.transaction_id}, case.ids)
        return caught.exception

    def test_every_attempt_carries_the_same_id_and_another_operation_another(self):
        case = self.case(LOST, (503, {}), (502, {}), DONE)
        first = case.write()
        self.assertEqual(case.ids, {first.transaction_id})
        self.assertEqual((len(case.sent), len({request.content for request in case.sent})), (4, 1))
        self.assertNotEqual(case.write().transaction_id, first.transaction_id)
        self.assertEqual({request.headers["X-Client-Session"] for request in case.sent}, {case.client.session})

    def test_attempts_and_delays_are_bounded(self):
        for jitter in (0.0, 1 - 2**-20):
            policy = dict(max_retries=6, initial_retry_delay=1, max_retry_delay=10)
            case = self.case(LOST, random=lambda: jitter, **policy)
            error = self.fails(case, NoAnswerError)
            self.assertIs(error.__cause__, LOST)
            self.assertEqual(len(case.sent), 7)
            self.assertEqual(case.slept, [bound * jitter for bound in (1, 2, 4, 8, 10, 10)])

    def test_retry_after_is_waited_for_up_to_the_largest_delay(self):
        refusals = [(503, {"reason": "memory_full"}, {"Retry-After": after}) for after in ("3", "3600")]
        case = self.case(*refusals, DONE, initial_retry_delay=0.1, max_retry_delay=10)
        case.write()
        self.assertEqual(case.slept, [3 + 0.05, 10 + 0.1])

    def test_refusals_are_errors_at_once(self):
        for status, body in [
            (400, {"error": "InvalidArgumentError"}), (404, {"error": "NotFoundError"}), (409, {"error": "ChromaError"}),
            (422, {"error": "InvalidArgumentError", "reason": "transaction_id_reused"}), (500, {"error": "InternalError"}), (501, {}),
        ]:
            with self.subTest(status=status):
                case = self.case((status, body))
                error = self.fails(case, TransactionError)
                self.assertEqual((error.status, error.body, len(case.sent)), (status, body, 1))
                self.assertEqual(error.reason, body.get("reason", body.get("error")))
                self.assertFalse(is_timing_gap_error(error))
                self.assertEqual(case.names, ["started", "failed"])

    def test_reads_carry_no_id_and_are_retried(self):
        for method, path in [("GET", "/api/v2/version"), ("POST", ADD.replace("add", "query")), ("POST", ADD.replace("add", "get?x=1"))]:
            case = self.case(LOST, (503, {"recovery": "pending"}), (200, []))
            self.assertIsNone(case.do("request", method, path).transaction_id)
            self.assertEqual(len(case.sent), 3)
            self.assertTrue(all("transaction-id" not in request.headers for request in case.sent))
            self.assertEqual(case.told, [])

    def test_a_timing_gap_is_waited_for_at_the_edge(self):
        def waited(request):
            case.time += 60
            self.assertEqual(str(request.url), f"{EDGE}/transaction/safety/transaction/e-1?wait=60")
            return shown("FAILED")

        case = self.case(pending(), waited, waited, shown("RECOVERED"))
        result = case.write()
        self.assertEqual((result.status, result.data, result.recovered, result.replayed), (201, {"n": 1}, True, False))
        self.assertEqual(case.methods, ["POST", "GET", "GET", "GET"])
        self.assertEqual(case.slept, [], "no sleep of the client's own")
        self.assertEqual(case.names, ["started", "timing_gap", "recovered"])

    def test_an_edge_that_does_not_wait_is_not_asked_in_a_loop_nor_for_ever(self):
        case = self.case(pending(), shown("FAILED"), recovery_timeout=60, initial_retry_delay=1, max_retry_delay=8)
        error = self.fails(case, TimingGapError)
        self.assertTrue(is_timing_gap_error(error))
        self.assertLess(len(case.sent), 25)
        self.assertEqual(case.time, 60)
        self.assertEqual(case.names, ["started", "timing_gap"], "pending is not failed")

    def test_an_edge_that_is_away_while_it_is_waited_for_is_asked_again(self):
        case = self.case(pending(), LOST, (503, {"reason": "journal_unavailable"}), LOST, shown("RECOVERED"))
        self.assertTrue(case.write().recovered)
        self.assertEqual(case.methods, ["POST", "GET", "GET", "GET", "GET"])

    def test_without_waiting_a_timing_gap_is_an_error_that_can_be_waited_for(self):
        case = self.case(pending(), shown("RECOVERED"), wait_for_recovery=False)
        error = self.fails(case, TimingGapError)
        self.assertEqual(error.recovery, "pending")
        self.assertEqual(case.do("wait", error.transaction_id)["status"], "RECOVERED")

    def test_recovery_unknown_and_never_journaled_is_sent_again_with_the_same_id(self):
        case = self.case(pending(recovery="unknown"), MISSING, DONE)
        case.write()
        self.assertEqual(case.methods, ["POST", "GET", "POST"])
        self.assertEqual(len(case.ids), 1)

    def test_recovery_pending_and_forgotten_is_an_error_not_a_second_write(self):
        case = self.case(pending(), MISSING)
        self.fails(case, UnknownTransactionError)
        self.assertEqual(case.methods, ["POST", "GET"])

    def test_a_404_that_is_not_the_edges_is_not_taken_for_its_word(self):
        case = self.case(pending(recovery="unknown"), (404, None))
        self.assertEqual(self.fails(case, TransactionError).status, 404)
        self.assertEqual(case.methods, ["POST", "GET"])

    def test_abandoned_is_an_error_with_id_and_reason(self):
        case = self.case(pending(), shown("ABANDONED", failure_reason="wrong dimension", response_status=400))
        error = self.fails(case, TransactionAbandonedError)
        self.assertEqual((error.reason, error.status), ("wrong dimension", 400))
        self.assertEqual(case.names, ["started", "timing_gap", "failed"])

    def test_still_running_is_waited_for_then_the_same_id_gets_the_stored_answer(self):
        replay = (201, {"n": 1}, {"Idempotent-Replayed": "true"})
        case = self.case(LOST, RUNNING, shown("COMPLETED"), replay, max_retries=1)
        self.assertTrue(case.write().replayed)
        self.assertEqual(case.methods, ["POST", "POST", "GET", "POST"])
        self.assertEqual(len(case.ids), 1)

    def test_running_for_ever_is_not_asked_for_ever(self):
        case = self.case(lambda request: shown("COMPLETED") if request.method == "GET" else RUNNING, max_retries=2)
        self.assertEqual(self.fails(case, TransactionError).status, 409)
        self.assertEqual(case.methods.count("POST"), 4)

    def test_wait(self):
        self.assertEqual(self.case(shown("COMPLETED")).do("wait", "mine")["status"], "COMPLETED")
        for answer, kind in [
            (MISSING, UnknownTransactionError), (shown("FAILED"), TimingGapError), (shown("ABANDONED"), TransactionAbandonedError),
            (shown("COMPLETED", response_status=400), TransactionError),
        ]:
            with self.assertRaises(kind) as caught:
                self.case(answer, max_retry_delay=1).do("wait", "mine", timeout=10)
            self.assertEqual(caught.exception.transaction_id, "mine")
        case = self.case(shown("COMPLETED"))
        case.do("wait", "a/b?c")
        self.assertEqual(case.sent[0].url.raw_path, b"/transaction/safety/transaction/a%2Fb%3Fc?wait=60")

    def test_ids_and_policies_that_cannot_be_are_refused(self):
        case = self.case(DONE)
        for bad in ("", "a b", "é", "x" * 256, "..", "a\n"):
            with self.assertRaises(ValueError):
                case.write(transaction_id=bad)
        self.assertEqual(case.sent, [])
        self.assertRaises(ValueError, Policy, max_retries=-1)
        self.assertRaises(ValueError, TransactionSafetyClient, "not a url")

    def test_a_handlers_mistake_is_not_the_operations(self):
        case = self.case(DONE)
        case.client.on("transaction:completed", lambda event: 1 / 0)
        with self.assertLogs("chroma_edge_client", "ERROR"):
            case.write()

    def test_a_request_that_cannot_be_sent_is_not_retried(self):
        case = self.case(httpx.LocalProtocolError("illegal"))
        with self.assertRaises(httpx.LocalProtocolError):
            case.write()
        self.assertEqual(len(case.sent), 1)

    def test_operations_send_what_chroma_expects(self):
        case = self.case(DONE)
        case.client._embed = lambda documents: [[len(text), 0.5] for text in documents]
        case.do("add", "my docs/1", {"ids": ["a"], "documents": ["abc"]})
        case.do("update", "c", {"ids": ["a"], "metadatas": [{"n": 1}]}, tenant="t2")
        case.do("delete", "c", ids=["a"], where_document={"$contains": "x"})
        place = "/api/v2/tenants/default_tenant/databases/default_database/collections"
        paths = [request.url.raw_path.decode() for request in case.sent]
        self.assertEqual(paths, [f"{place}/my%20docs%2F1/add", f"{place.replace('default_tenant', 't2')}/c/update", f"{place}/c/delete"])
        bodies = [json.loads(request.content) for request in case.sent]
        self.assertEqual(bodies[0], {"ids": ["a"], "documents": ["abc"], "embeddings": [[3, 0.5]]})
        self.assertEqual(bodies[2], {"ids": ["a"], "where_document": {"$contains": "x"}})


class AsyncRules(Rules):
    asynchronous = True


class Parts(unittest.TestCase):
    def test_text_is_split_where_it_may_be_and_nothing_is_lost(self):
        self.assertEqual(split_text("aaa bbb. ccc ddd\n\neee fff", 10), ["aaa bbb. ", "ccc ddd\n\n", "eee fff"])
        for text in ("", "x" * 25, "a b\n" * 30, "word. " * 20):
            for size in (1, 2, 10):
                pieces = split_text(text, size)
                self.assertEqual("".join(pieces), text)
                self.assertTrue(all(0 < len(piece) <= size for piece in pieces))

    def test_messages_end_as_the_format_says(self):
        parser = Parser("7")
        text = ': ping\n\nid: 8\r\nevent: e\r\ndata: {"a":\r\ndata: "\u2028"}\r\n\r\ndata:{}\n\n'
        messages = [message for character in text for message in parser.feed(character)]
        self.assertEqual([(one.event, one.data, one.id) for one in messages], [("e", {"a": "\u2028"}, "8"), ("message", {}, "8")])


if __name__ == "__main__":
    unittest.main()
