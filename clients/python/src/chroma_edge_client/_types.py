"""The types that callers see: policy, results, transactions, events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, TypedDict


@dataclass(frozen=True)
class Policy:
    """How long to wait and how often to retry. Times are in seconds."""

    #: The most retries of one request.
    max_retries: int = 5
    #: The bound of the first delay. It doubles with each retry.
    initial_retry_delay: float = 0.5
    #: The largest bound of a delay.
    max_retry_delay: float = 30.0
    #: How long the answer to one request may take.
    request_timeout: float = 150.0
    #: How long to wait for the edge to finish a write that it holds.
    recovery_timeout: float = 600.0
    #: Whether to wait for such a write, or raise TimingGapError at once.
    wait_for_recovery: bool = True

    def __post_init__(self) -> None:
        for name in ("max_retries", "initial_retry_delay", "max_retry_delay", "request_timeout", "recovery_timeout"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is not a number from 0 on")


class Transaction(TypedDict, total=False):
    """One transaction as the edge shows it. Times are RFC 3339 in UTC."""

    transaction_id: str
    client_transaction_id: Optional[str]
    status: str
    completed: bool
    method: str
    path: str
    operation_type: str
    created_at: str
    completed_at: Optional[str]
    retry_count: int
    max_retries: int
    next_retry_at: Optional[str]
    is_timing_gap_failure: bool
    failure_reason: Optional[str]
    response_status: Optional[int]
    response_data: Any
    result: Any
    target_instance: Optional[str]
    client_session: Optional[str]
    instances: List[Dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """The result of a request that succeeded."""

    status: int
    data: Any
    #: None for a read.
    transaction_id: Optional[str]
    #: Whether the edge finished it after a timing gap.
    recovered: bool = False
    #: Whether this is the stored answer of an earlier request with the same id.
    replayed: bool = False
    #: The transaction, if it was waited for.
    transaction: Optional[Transaction] = None


@dataclass(frozen=True)
class Upload:
    """A stored file."""

    transaction_id: str
    document_ids: List[str]
    transactions: List[Result]


@dataclass(frozen=True)
class TransactionEvent:
    """An event of one of this client's operations.

    `type` is `transaction:` and one of started, retry, timing_gap, recovered, completed, failed.
    """

    type: str
    transaction_id: str
    operation: str
    label: str
    method: str
    path: str
    status: Optional[int] = None
    reason: Optional[str] = None
    error: Optional[BaseException] = None
    #: For a timing gap: "pending" (the edge holds the write) or "unknown" (it may hold it).
    recovery: Optional[str] = None
    #: For a retry: its number, and the seconds until it.
    attempt: Optional[int] = None
    delay: Optional[float] = None


@dataclass(frozen=True)
class EdgeMessage:
    """A message of the edge's event stream."""

    event: str
    data: Dict[str, Any] = field(default_factory=dict)
    id: Optional[str] = None
