"""An application's own operations in the edge's journal: logged and shown, never executed by the edge."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, cast

from ._plans import application_path, transactions_path
from ._sync import TransactionSafetyClient
from ._types import Transaction

_SECRET = frozenset({"authorization", "proxy-authorization", "x-chroma-token", "cookie"})


class TransactionSafetyService:
    """`options` are those of TransactionSafetyClient. With a `session` that stays the same across restarts, `pending`
    shows only this application's operations. Without one, it shows every application's."""

    def __init__(self, edge_url: str, *, session: Optional[str] = None, **options: Any) -> None:
        self._client = TransactionSafetyClient(edge_url, session=session, **options)
        self._session = session

    def log_transaction_attempt(
        self,
        method: str,
        path: str,
        data: Any = None,
        headers: Optional[Mapping[str, str]] = None,
        *,
        transaction_id: Optional[str] = None,
    ) -> str:
        """Journals an operation before it is performed. Returns the transaction's id. Headers with secrets are left out."""
        kept = None if headers is None else {name: value for name, value in headers.items() if name.lower() not in _SECRET}
        body = {"method": method, "path": path, "data": data, "headers": kept}
        result = self._client.request(
            "POST", "/transaction/safety/transactions", body, transaction_id=transaction_id, label=f"{method} {path}")
        return cast(str, result.data["transaction_id"])

    def mark_transaction_completed(self, transaction_id: str, status: int = 200, result: Any = None) -> Transaction:
        """Marks the operation as performed. Repeating the call is not an error."""
        return self._say(transaction_id, "complete", {"status": status, "result": result})

    def mark_transaction_failed(
        self, transaction_id: str, reason: str, is_timing_gap: bool = False, *, final: bool = False
    ) -> Transaction:
        """Marks the operation as failed. It stays pending, so that the application can retry it, unless the failure is
        `final`."""
        return self._say(transaction_id, "fail", {"reason": reason, "is_timing_gap": is_timing_gap, "final": final})

    def pending(self) -> List[Transaction]:
        """Returns operations that are neither completed nor given up, newest first."""
        found: List[Transaction] = []
        filters: Dict[str, Any] = {
            "operation": "application", "status": "ATTEMPTING,FAILED", "session": self._session, "limit": 1000,
        }
        while True:
            page = self._client.request("GET", transactions_path(filters)).data
            found += page["transactions"]
            if not page["next_cursor"]:
                return found
            filters["cursor"] = page["next_cursor"]

    def get_transaction(self, transaction_id: str) -> Transaction:
        return self._client.get_transaction(transaction_id)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> "TransactionSafetyService":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, transaction_id: str, what: str, body: Dict[str, Any]) -> Transaction:
        # Safe to repeat by itself, so it needs no id of its own.
        return cast(Transaction, self._client.request("POST", application_path(transaction_id, what), body, read=True).data)
