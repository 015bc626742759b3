"""Transaction ids, safe retries and recovery for writes to Chroma through chroma-edge.

clients/PROTOCOL.md describes the requests, and what the client relies on.
"""

from ._aio import AsyncTransactionSafetyClient
from ._chroma import safe_http_client
from ._errors import (
    ClientClosedError,
    NoAnswerError,
    TimingGapError,
    TransactionAbandonedError,
    TransactionError,
    UnknownTransactionError,
    is_timing_gap_error,
)
from ._service import TransactionSafetyService
from ._sync import TransactionSafetyClient
from ._transport import AsyncSafeTransport, SafeTransport
from ._types import EdgeMessage, Policy, Result, Transaction, TransactionEvent, Upload

__version__ = "0.1.0"

__all__ = [
    "AsyncSafeTransport",
    "AsyncTransactionSafetyClient",
    "ClientClosedError",
    "EdgeMessage",
    "NoAnswerError",
    "Policy",
    "Result",
    "SafeTransport",
    "TimingGapError",
    "Transaction",
    "TransactionAbandonedError",
    "TransactionError",
    "TransactionEvent",
    "TransactionSafetyClient",
    "TransactionSafetyService",
    "UnknownTransactionError",
    "Upload",
    "__version__",
    "is_timing_gap_error",
    "safe_http_client",
]
