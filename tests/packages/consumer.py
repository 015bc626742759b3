"""A program that uses the Python package as its users do: checked by `mypy --strict`, then run against a transport of its own."""

import asyncio
import importlib.metadata
from typing import Any, Dict, Iterator, List, Tuple

import httpx

import chroma_edge_client
from chroma_edge_client import (
    AsyncSafeTransport,
    AsyncTransactionSafetyClient,
    ClientClosedError,
    EdgeMessage,
    NoAnswerError,
    Policy,
    Result,
    SafeTransport,
    TimingGapError,
    Transaction,
    TransactionAbandonedError,
    TransactionError,
    TransactionEvent,
    TransactionSafetyClient,
    TransactionSafetyService,
    UnknownTransactionError,
    Upload,
    is_timing_gap_error,
    safe_http_client,
)

EDGE = "http://edge.example:8000"
RECORD: Dict[str, Any] = {"ids": ["a"], "documents": ["text"]}


class Edge:
    """Keeps the first write, and has finished it when it is asked."""

    def __init__(self) -> None:
        self.sent: List[str] = []
        pending = {"error": "InternalError", "recovery": "pending", "transaction_id": "e-1"}
        done = {"transaction_id": "e-1", "status": "RECOVERED", "response_status": 201, "response_data": True}
        self.answers: Iterator[Tuple[int, Dict[str, Any]]] = iter([(503, pending), (200, done)])

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.method)
        status, body = next(self.answers)
        return httpx.Response(status, json=body)


def lengths(documents: List[str]) -> List[List[float]]:
    return [[float(len(text)), 1.0] for text in documents]


def synchronous() -> Result:
    edge, told = Edge(), list[TransactionEvent]()
    http = httpx.Client(transport=httpx.MockTransport(edge))
    with TransactionSafetyClient(EDGE, http=http, policy=Policy(max_retries=1), embed=lengths) as client:
        client.on("*", told.append)
        result = client.upsert("c", RECORD, label="a text")
    assert edge.sent == ["POST", "GET"], edge.sent
    assert [event.type for event in told] == [f"transaction:{name}" for name in ("started", "timing_gap", "recovered")], told
    return result


async def asynchronous() -> Result:
    http = httpx.AsyncClient(transport=httpx.MockTransport(Edge()))
    async with AsyncTransactionSafetyClient(EDGE, http=http, embed=lengths) as client:
        return await client.upsert("c", RECORD)


def only_checked(client: TransactionSafetyClient, service: TransactionSafetyService) -> None:
    upload: Upload = client.upload_file_with_safety("a.txt", "c", {"author": "me"})
    found: Transaction = client.get_transaction(upload.transaction_id)
    message: EdgeMessage
    for message in client.events(transaction_id=found["transaction_id"]):
        print(message.event, message.data)
    try:
        client.delete("c", where={"author": "me"})
    except TimingGapError as error:
        client.wait(str(error.transaction_id))
    except (TransactionAbandonedError, UnknownTransactionError, NoAnswerError, ClientClosedError):
        raise
    except TransactionError as error:
        print(error.reason, is_timing_gap_error(error))
    for transaction in service.pending():
        service.mark_transaction_completed(transaction["transaction_id"])
    httpx.Client(transport=SafeTransport(httpx.HTTPTransport(), EDGE, policy=Policy()))
    httpx.AsyncClient(transport=AsyncSafeTransport(httpx.AsyncHTTPTransport(), EDGE))
    safe_http_client("edge.example", 8000, on_event=lambda event: print(event.label))


if __name__ == "__main__":
    for result in (synchronous(), asyncio.run(asynchronous())):
        assert (result.status, result.data, result.recovered) == (201, True, True), result
    assert chroma_edge_client.__version__ == importlib.metadata.version("chroma-edge-client")
    print(chroma_edge_client.__version__)
