"""The rules of an operation, from its id to its outcome. No I/O.

An operation is a generator: it yields commands (`Send`, `Sleep`, `Tell`, `Call`) and is sent their results. A blocking
and an awaiting driver execute the commands, so that both clients and both transports follow the same rules.
"""

from __future__ import annotations

import hashlib
import json
import random as _random
import re
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Generator, List, Mapping, Optional, Tuple, Union, cast
from urllib.parse import quote

from ._errors import (
    NoAnswerError,
    TimingGapError,
    TransactionAbandonedError,
    TransactionError,
    UnknownTransactionError,
)
from ._types import Policy, Result, Transaction, TransactionEvent

#: The longest wait that the edge accepts in one request.
LONGEST_WAIT = 60
#: How much longer than the requested wait the answer may take.
WAIT_SLACK = 15.0
FINAL = frozenset({"COMPLETED", "RECOVERED", "ABANDONED"})
TRANSIENT = frozenset({429, 502, 503, 504})
#: How many writes without an outcome are remembered, and for how long.
UNFINISHED = 1000
UNFINISHED_SECONDS = 3600.0
_READ = re.compile(r"/collections/[^/]+/(get|query|search|count)/?$")
_RECORD = re.compile(r"/collections/[^/]+/(add|update|upsert|delete)$")
_CATALOG = re.compile(r"/(collection|database|tenant)s(/[^/]+)?$")
_ID = re.compile(r"[\x21-\x7e]{1,255}\Z")


@dataclass(frozen=True)
class Answer:
    """A complete answer. `made`: built here from a stored transaction."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    made: bool = False
    #: The driver's own representation of it.
    native: Any = None

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def field(self, name: str) -> Any:
        body = self.json
        return body.get(name) if isinstance(body, dict) else None

    @property
    def retry_after(self) -> float:
        """The seconds that the answer asks to wait, or 0 if it does not say."""
        try:
            seconds = float(self.headers.get("retry-after", "0"))
        except ValueError:
            return 0.0
        return seconds if 0 < seconds < 1e9 else 0.0


@dataclass(frozen=True)
class Lost:
    """No answer: the connection was lost, or the answer took too long."""

    error: Exception


@dataclass(frozen=True)
class Request:
    method: str
    #: Begins with a slash, below the edge's URL.
    path: str
    headers: Dict[str, str]
    content: Optional[bytes] = None


@dataclass(frozen=True)
class Send:
    request: Request
    timeout: float


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Tell:
    event: TransactionEvent


@dataclass(frozen=True)
class Call:
    """A function of the caller, whose result may have to be awaited."""

    function: Callable[..., Any]
    arguments: Tuple[Any, ...]


Command = Union[Send, Sleep, Tell, Call]
Steps = Generator[Command, Any, Any]


@dataclass(frozen=True)
class Operation:
    """One logical operation. Its id is chosen once, here."""

    request: Request
    #: None for operations that change nothing.
    transaction_id: Optional[str]
    operation: str
    label: str

    @property
    def asking_headers(self) -> Dict[str, str]:
        """The headers for questions about it: its own, including credentials."""
        left_out = {"content-type", "content-length", "transaction-id", "transfer-encoding", "host"}
        return {name: value for name, value in self.request.headers.items() if name.lower() not in left_out}


@dataclass(frozen=True)
class Outcome:
    answer: Optional[Answer] = None
    transaction: Optional[Transaction] = None
    recovered: bool = False
    #: The edge holds the write, and the time for waiting is over, or the caller did not want to wait.
    pending: bool = False
    abandoned: bool = False
    #: The edge held the write, and no longer knows it.
    forgotten: bool = False
    no_answer: Optional[Exception] = None


@dataclass(frozen=True)
class Settled:
    transaction: Optional[Transaction] = None
    missing: bool = False


class Unfinished:
    """Writes that ended here without an outcome: no answer, or none in time. If the application sends the same request
    again, it is a repetition and gets the same id, so that the write is executed once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: "OrderedDict[bytes, Tuple[str, float]]" = OrderedDict()

    def id_of(self, request: Request, now: float) -> Optional[str]:
        with self._lock:
            if not self._known:
                return None
            known = self._known.get(_content_of(request))
        return known[0] if known is not None and now < known[1] else None

    def note(self, operation: Operation, finished: bool, now: float) -> None:
        if operation.transaction_id is None or (finished and not self._known):
            return
        key = _content_of(operation.request)
        with self._lock:
            if not finished:
                self._known[key] = (operation.transaction_id, now + UNFINISHED_SECONDS)
                self._known.move_to_end(key)
                if len(self._known) > UNFINISHED:
                    self._known.popitem(last=False)
            elif self._known.get(key, ("", 0.0))[0] == operation.transaction_id:
                del self._known[key]


def _content_of(request: Request) -> bytes:
    whole = hashlib.sha256(f"{request.method} {request.path}\n".encode())
    whole.update(request.content or b"")
    return whole.digest()


@dataclass
class Rules:
    """The policy, and what tests substitute for randomness and time."""

    policy: Policy = field(default_factory=Policy)
    now: Callable[[], float] = time.monotonic
    random: Callable[[], float] = _random.random
    unfinished: Unfinished = field(default_factory=lambda: Unfinished())

    def backoff(self, retry: int, answer: Optional[Answer]) -> float:
        """Full jitter: a random delay up to a bound that doubles, after the delay that the edge asks for."""
        policy = self.policy
        bound = min(policy.max_retry_delay, policy.initial_retry_delay * 2.0 ** min(retry, 64))
        asked = min(policy.max_retry_delay, answer.retry_after) if answer else 0.0
        return asked + self.random() * bound


def checked_id(transaction_id: str) -> str:
    if not isinstance(transaction_id, str) or not _ID.match(transaction_id) or transaction_id in (".", ".."):
        raise ValueError("a transaction id is 1 to 255 visible ASCII characters, and not . or ..")
    return transaction_id


def is_read(method: str, path: str) -> bool:
    if method.upper() in ("GET", "HEAD", "OPTIONS"):
        return True
    return method.upper() == "POST" and bool(_READ.search(path.split("?")[0]))


def operation_of(method: str, path: str) -> str:
    """Returns the name of an operation, by method and path."""
    plain = path.split("?")[0].rstrip("/")
    record = _RECORD.search(plain)
    if record:
        return record.group(1)
    if plain.endswith("/reset"):
        return "reset"
    kind = _CATALOG.search(plain)
    verb = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}.get(method.upper())
    return f"{verb}_{kind.group(1)}" if kind and verb else "write"


def operation(
    request: Request,
    *,
    session: Optional[str],
    transaction_id: Optional[str] = None,
    label: Optional[str] = None,
    read: Optional[bool] = None,
    rules: Optional[Rules] = None,
) -> Operation:
    if read if read is not None else is_read(request.method, request.path):
        return Operation(request, None, operation_of(request.method, request.path), label or "read")
    if transaction_id is None and rules is not None:
        transaction_id = rules.unfinished.id_of(request, rules.now())
    chosen = checked_id(transaction_id if transaction_id is not None else str(uuid.uuid4()))
    headers = {name: value for name, value in request.headers.items() if name.lower() != "transaction-id"}
    headers["Transaction-ID"] = chosen
    if session is not None and not any(name.lower() == "x-client-session" for name in headers):
        headers["X-Client-Session"] = session
    name = operation_of(request.method, request.path)
    whole = Request(request.method, request.path, headers, request.content)
    return Operation(whole, chosen, name, label or name)


def verdict_of(answer: Answer) -> str:
    """Returns what an answer to a write means: PROTOCOL.md, "Writes"."""
    if answer.status == 503 and answer.field("recovery") in ("pending", "unknown"):
        return cast(str, answer.field("recovery"))
    if answer.status == 409 and answer.field("reason") == "transaction_running":
        return "running"
    return "transient" if answer.status in TRANSIENT else "definite"


def told(operation: Operation, rules: Rules) -> Generator[Command, Any, Outcome]:
    """Executes an operation and reports its events."""
    if operation.transaction_id is None:
        return (yield from carried_out(operation, rules))
    finished = False
    try:
        yield tell(operation, "started")
        try:
            outcome = yield from carried_out(operation, rules)
        except TransactionError as refusal:
            yield tell(operation, "failed", error=refusal, reason=str(refusal))
            raise
        status = outcome.answer.status if outcome.answer else None
        finished = outcome.no_answer is None and not outcome.pending and (outcome.abandoned or status not in TRANSIENT)
    finally:
        # Also if it was cancelled: the edge may have the write.
        rules.unfinished.note(operation, finished, rules.now())
    error = error_of(operation.transaction_id, outcome)
    if error is None:
        status = outcome.answer.status if outcome.answer else None
        yield tell(operation, "recovered" if outcome.recovered else "completed", status=status)
    elif not isinstance(error, TimingGapError):
        yield tell(operation, "failed", error=error, status=error.status, reason=error.reason or str(error))
    return outcome


def tell(operation: Operation, kind: str, **more: Any) -> Tell:
    request = operation.request
    about = (operation.transaction_id or "", operation.operation, operation.label, request.method, request.path)
    return Tell(TransactionEvent(f"transaction:{kind}", *about, **more))


def carried_out(operation: Operation, rules: Rules) -> Generator[Command, Any, Outcome]:
    policy = rules.policy
    retries = 0
    first: Optional[Transaction] = None
    deadline: Optional[float] = None
    while True:
        answer: Optional[Answer] = None
        got: Union[Answer, Lost] = yield Send(operation.request, policy.request_timeout)
        if isinstance(got, Lost):
            if retries >= policy.max_retries:
                return Outcome(no_answer=got.error)
        else:
            answer = got
        verdict = verdict_of(answer) if answer else "transient"
        if answer and verdict == "definite":
            recovered = first is not None and first.get("status") == "RECOVERED"
            return Outcome(answer, transaction=first, recovered=recovered)
        if answer and verdict != "transient" and operation.transaction_id is not None:
            gap = verdict != "running"
            if gap:
                yield tell(operation, "timing_gap", recovery=verdict)
            if not policy.wait_for_recovery:
                return Outcome(answer, pending=True)
            if deadline is None:
                deadline = rules.now() + policy.recovery_timeout
            asked = answer.field("transaction_id") or answer.headers.get("transaction-id") or operation.transaction_id
            settled = yield from until_final(asked, operation.transaction_id, operation.asking_headers, rules, deadline)
            transaction = settled.transaction
            if transaction is None and not settled.missing:
                return Outcome(answer, pending=True)
            if transaction is not None and transaction["status"] == "ABANDONED":
                return Outcome(answer, transaction=transaction, abandoned=True)
            if transaction is not None and gap:
                return stored(operation.transaction_id, transaction)
            if settled.missing and verdict == "pending":
                return Outcome(answer, forgotten=True)
            # Its outcome is stored now, and the same id gets it. Only once: an edge that still says "running" is retried
            # like any other.
            if transaction is not None and first is None:
                first = transaction
                continue
        if retries >= policy.max_retries:
            return Outcome(answer)
        delay = rules.backoff(retries, answer)
        retries += 1
        if operation.transaction_id is not None:
            yield tell(operation, "retry", attempt=retries, delay=delay, status=answer.status if answer else None)
        yield Sleep(delay)


def until_final(
    asked: str, shown: str, headers: Dict[str, str], rules: Rules, deadline: float
) -> Generator[Command, Any, Settled]:
    """Waits at the edge until the transaction is final. `shown`: the id that errors name."""
    failures = 0
    while True:
        began = rules.now()
        left = deadline - began
        if left <= 0:
            return Settled()
        wait = min(LONGEST_WAIT, max(1, int(-(-left // 1))))
        path = f"/transaction/safety/transaction/{quote(asked, safe='')}?wait={wait}"
        got: Union[Answer, Lost] = yield Send(Request("GET", path, headers), min(left, wait + WAIT_SLACK))
        answer = got if isinstance(got, Answer) else None
        if answer:
            # An unknown path has no such body. In that case there is no edge, or one that is too old for this request.
            if answer.status == 404 and answer.field("error"):
                return Settled(missing=True)
            if answer.status == 200 and answer.field("status") in FINAL:
                return Settled(transaction=cast(Transaction, answer.json))
            if 400 <= answer.status < 500 and answer.status != 429:
                raise refused(shown, answer)
        # An edge that has waited as requested is asked again at once. Any other gets a pause.
        if answer and answer.status == 200 and rules.now() - began >= wait / 2:
            failures = 0
        else:
            yield Sleep(min(rules.backoff(failures, answer), max(0.0, deadline - rules.now())))
            failures += 1


def waited(
    transaction_id: str, headers: Dict[str, str], rules: Rules, timeout: Optional[float]
) -> Generator[Command, Any, Transaction]:
    """Waits until the transaction is final, and returns it. Raises an error if it was rejected or given up, or after the
    timeout."""
    checked_id(transaction_id)
    limit = rules.policy.recovery_timeout if timeout is None else timeout
    settled = yield from until_final(transaction_id, transaction_id, headers, rules, rules.now() + limit)
    if settled.missing:
        raise UnknownTransactionError("the edge knows no such transaction", transaction_id=transaction_id, status=404)
    if settled.transaction is None:
        raise TimingGapError("the transaction is not finished yet; the edge will finish it", transaction_id=transaction_id)
    transaction = settled.transaction
    given_up = transaction["status"] == "ABANDONED"
    outcome = Outcome(transaction=transaction, abandoned=True) if given_up else stored(transaction_id, transaction)
    error = error_of(transaction_id, outcome)
    if error is not None:
        raise error
    return transaction


def stored(transaction_id: str, transaction: Transaction) -> Outcome:
    """Returns the answer that the write would have had, from what the edge stored."""
    data = transaction.get("response_data")
    headers = {"content-type": "application/json", "transaction-id": transaction_id, "idempotent-replayed": "true"}
    content = json.dumps({} if data is None else data).encode()
    answer = Answer(transaction.get("response_status") or 200, headers, content, made=True)
    return Outcome(answer, transaction=transaction, recovered=transaction["status"] == "RECOVERED")


def refused(transaction_id: Optional[str], answer: Answer, transaction: Optional[Transaction] = None) -> TransactionError:
    name, message = answer.field("error"), answer.field("message")
    return TransactionError(
        str(message or name or f"the edge answered {answer.status}"),
        transaction_id=transaction_id, status=answer.status, reason=answer.field("reason") or name, body=answer.json,
        transaction=transaction,
    )


def error_of(transaction_id: Optional[str], outcome: Outcome) -> Optional[TransactionError]:
    """Returns the error that an outcome stands for, if it stands for one."""
    answer, transaction = outcome.answer, outcome.transaction
    if outcome.no_answer is not None:
        error: TransactionError = NoAnswerError(
            f"the edge did not answer: {outcome.no_answer}", transaction_id=transaction_id, reason="no_answer")
        error.__cause__ = outcome.no_answer
        return error
    if outcome.abandoned and transaction is not None:
        reason = transaction.get("failure_reason") or "no reason was given"
        return TransactionAbandonedError(
            f"the transaction was abandoned: {reason}", transaction_id=transaction_id, reason=reason,
            status=transaction.get("response_status"), body=transaction.get("response_data"), transaction=transaction,
        )
    assert answer is not None
    if outcome.forgotten:
        return UnknownTransactionError("the edge no longer knows the transaction", transaction_id=transaction_id, status=404)
    if outcome.pending:
        error = TimingGapError(
            "the edge holds the write and will finish it", transaction_id=transaction_id, status=answer.status,
            reason=answer.field("reason"), body=answer.json,
        )
        error.recovery = answer.field("recovery") or "pending"
        return error
    return refused(transaction_id, answer, transaction) if answer.status >= 400 else None


def result_of(operation: Operation, outcome: Outcome) -> Result:
    error = error_of(operation.transaction_id, outcome)
    if error is not None:
        raise error
    answer = outcome.answer
    assert answer is not None
    replayed = answer.headers.get("idempotent-replayed") == "true" and not answer.made
    return Result(
        answer.status, answer.json, operation.transaction_id, outcome.recovered, replayed, outcome.transaction)


def split_text(text: str, size: int) -> List[str]:
    """Splits text into pieces of at most `size` characters. A piece ends at a paragraph, line, sentence or word if there
    is such an end in its second half. Joined, the pieces are the text."""
    pieces = []
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            window = text[start:end]
            for mark in ("\n\n", "\n", ". ", " "):
                at = window.rfind(mark)
                if at >= len(window) / 2:
                    end = start + at + len(mark)
                    break
        pieces.append(text[start:end])
        start = end
    return pieces
