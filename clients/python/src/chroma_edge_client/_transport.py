"""Transports for httpx that give writes to the edge transaction ids and safe retries. Other requests pass unchanged."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any, Awaitable, Callable, Dict, Optional

import httpx

from . import _core as core
from ._plans import answer_of, base_of, is_lost
from ._types import Policy, TransactionEvent

OnEvent = Callable[[TransactionEvent], None]


class _Scope:
    """The common part of both transports."""

    def __init__(
        self,
        edge_url: str,
        policy: Optional[Policy],
        session: Optional[str],
        on_event: Optional[OnEvent],
        now: Callable[[], float],
        random: Optional[Callable[[], float]],
    ) -> None:
        self._base = httpx.URL(base_of(edge_url))
        self.session = session if session is not None else str(uuid.uuid4())
        self._on_event = on_event
        self._rules = core.Rules(policy or Policy(), now)
        if random is not None:
            self._rules.random = random

    def _path(self, request: httpx.Request) -> Optional[str]:
        """Returns the path and query below the edge's URL if the request is a write of Chroma's API at the edge."""
        url, base = request.url, self._base
        if (url.scheme, url.host, _port(url)) != (base.scheme, base.host, _port(base)):
            return None
        prefix = base.raw_path.decode("ascii").rstrip("/")
        path = url.raw_path.decode("ascii")
        if not path.startswith(f"{prefix}/api/"):
            return None
        path = path[len(prefix) :]
        return None if core.is_read(request.method, path) else path

    def _operation(self, request: httpx.Request, path: str) -> core.Operation:
        whole = core.Request(request.method, path, dict(request.headers), request.content or None)
        given = request.headers.get("transaction-id")
        return core.operation(whole, session=self.session, transaction_id=given, rules=self._rules)

    def _sendable(self, request: httpx.Request, operation: core.Operation, command: core.Send) -> httpx.Request:
        asked = command.request
        if asked is operation.request:
            url = request.url
        else:
            prefix = self._base.raw_path.rstrip(b"/")
            url = self._base.copy_with(raw_path=prefix + asked.path.encode("ascii"))
        limit = command.timeout
        timeout = {"connect": min(10.0, limit), "read": limit, "write": limit, "pool": limit}
        extensions = {**request.extensions, "timeout": timeout}
        return httpx.Request(asked.method, url, headers=asked.headers, content=asked.content, extensions=extensions)

    def _tell(self, event: TransactionEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    @staticmethod
    def _response(operation: core.Operation, outcome: core.Outcome) -> httpx.Response:
        if outcome.no_answer is not None:
            outcome.no_answer.transaction_id = operation.transaction_id  # type: ignore[attr-defined]
            raise outcome.no_answer
        if outcome.abandoned or outcome.forgotten:
            error = core.error_of(operation.transaction_id, outcome)
            assert error is not None
            status = error.status if outcome.abandoned and 400 <= (error.status or 0) <= 599 else 500
            reason = "abandoned" if outcome.abandoned else "unknown_transaction"
            body: Dict[str, Any] = {"error": "InternalError", "message": str(error), "reason": reason}
            body["transaction_id"] = operation.transaction_id
            return httpx.Response(status or 500, json=body, headers={"Transaction-ID": operation.transaction_id or ""})
        answer = outcome.answer
        assert answer is not None
        if isinstance(answer.native, httpx.Response):
            return answer.native
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.content)


class SafeTransport(_Scope, httpx.BaseTransport):
    """Wraps another transport. `on_event` is called for every operation, in its thread."""

    def __init__(
        self,
        inner: httpx.BaseTransport,
        edge_url: str,
        *,
        policy: Optional[Policy] = None,
        session: Optional[str] = None,
        on_event: Optional[OnEvent] = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Optional[Callable[[], float]] = None,
    ) -> None:
        super().__init__(edge_url, policy, session, on_event, now, random)
        self._inner = inner
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = self._path(request)
        if path is None:
            return self._inner.handle_request(request)
        request.read()
        operation = self._operation(request, path)
        steps = core.told(operation, self._rules)
        value: Any = None
        try:
            while True:
                command = steps.send(value)
                value = self._do(request, operation, command)
        except StopIteration as stop:
            return self._response(operation, stop.value)

    def _do(self, request: httpx.Request, operation: core.Operation, command: core.Command) -> Any:
        if isinstance(command, core.Send):
            sent = self._sendable(request, operation, command)
            try:
                response = self._inner.handle_request(sent)
                try:
                    response.read()
                finally:
                    response.close()
            except httpx.TransportError as error:
                if not is_lost(error):
                    raise
                return core.Lost(error)
            return answer_of(response)
        if isinstance(command, core.Sleep):
            return self._sleep(command.seconds)
        if isinstance(command, core.Tell):
            return self._tell(command.event)
        raise TypeError(command)

    def close(self) -> None:
        self._inner.close()


class AsyncSafeTransport(_Scope, httpx.AsyncBaseTransport):
    """The same for `httpx.AsyncClient`."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        edge_url: str,
        *,
        policy: Optional[Policy] = None,
        session: Optional[str] = None,
        on_event: Optional[OnEvent] = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Optional[Callable[[], float]] = None,
    ) -> None:
        super().__init__(edge_url, policy, session, on_event, now, random)
        self._inner = inner
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = self._path(request)
        if path is None:
            return await self._inner.handle_async_request(request)
        await request.aread()
        operation = self._operation(request, path)
        steps = core.told(operation, self._rules)
        value: Any = None
        try:
            while True:
                command = steps.send(value)
                value = await self._do(request, operation, command)
        except StopIteration as stop:
            return self._response(operation, stop.value)

    async def _do(self, request: httpx.Request, operation: core.Operation, command: core.Command) -> Any:
        if isinstance(command, core.Send):
            sent = self._sendable(request, operation, command)
            try:
                response = await self._inner.handle_async_request(sent)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
            except httpx.TransportError as error:
                if not is_lost(error):
                    raise
                return core.Lost(error)
            return answer_of(response)
        if isinstance(command, core.Sleep):
            return await self._sleep(command.seconds)
        if isinstance(command, core.Tell):
            return self._tell(command.event)
        raise TypeError(command)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _port(url: httpx.URL) -> Optional[int]:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)
