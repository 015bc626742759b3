"""The errors that callers catch."""

from __future__ import annotations

from typing import Any, Optional

from ._types import Transaction


class TransactionError(Exception):
    """An operation that did not succeed. Use `transaction_id` to ask the edge about it."""

    def __init__(
        self,
        message: str,
        *,
        transaction_id: Optional[str] = None,
        status: Optional[int] = None,
        reason: Optional[str] = None,
        body: Any = None,
        transaction: Optional[Transaction] = None,
    ) -> None:
        super().__init__(message)
        self.transaction_id = transaction_id
        self.status = status
        self.reason = reason
        self.body = body
        self.transaction = transaction


class TimingGapError(TransactionError):
    """Not a failure: the edge holds the write and will finish it without this client."""

    recovery: str = "pending"


class TransactionAbandonedError(TransactionError):
    """The edge gave the transaction up: it was rejected, and has no effect. `reason` explains why."""


class UnknownTransactionError(TransactionError):
    """The edge knows no transaction with this id."""


class NoAnswerError(TransactionError):
    """No answer after every retry: it is unknown whether the write happened. Repeating it with the same id is safe."""


class ClientClosedError(TransactionError):
    """The client was closed while the operation was under way."""


def is_timing_gap_error(error: object) -> bool:
    """Returns whether the error is about a write that the edge holds and will finish by itself."""
    if isinstance(error, TimingGapError):
        return True
    body = getattr(error, "body", None)
    return isinstance(body, dict) and body.get("recovery") in ("pending", "unknown")
