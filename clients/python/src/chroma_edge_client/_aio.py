"""The asynchronous client: executes the steps of `_plans` and awaits."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, List, Mapping, Optional, cast

import httpx

from . import _core as core
from ._plans import (
    File,
    Plans,
    Records,
    answer_of,
    is_last,
    is_lost,
    limits,
    transaction_path,
    transactions_path,
)
from ._sse import Parser
from ._types import EdgeMessage, Result, Transaction, Upload

#: A stream of events is silent for at most 15 seconds.
EVENTS_SILENCE = 60.0


class AsyncTransactionSafetyClient(Plans):
    """Writes to Chroma through the edge. Each write is a transaction that happens once. Cancelling a task ends its
    operation at once, including its connection."""

    def __init__(
        self,
        base_url: str,
        *,
        http: Optional[httpx.AsyncClient] = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Any,
    ) -> None:
        """`options`: policy, embed (may be a coroutine function), session, headers, tenant, database, chunk_size,
        batch_size. `http`: the caller's own client, which is not closed. `sleep`, `now` and `random` are for tests."""
        super().__init__(base_url, **options)
        self._sleep = sleep
        self._owned = http is None
        self._http = http or httpx.AsyncClient(timeout=None)

    async def aclose(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> "AsyncTransactionSafetyClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Optional[Mapping[str, str]] = None,
        transaction_id: Optional[str] = None,
        label: Optional[str] = None,
        read: Optional[bool] = None,
    ) -> Result:
        """Sends one request to the edge. `path` begins with a slash. A write gets a transaction id and safe retries."""
        steps = self._request(
            method, path, body, headers=headers, transaction_id=transaction_id, label=label, read=read)
        return cast(Result, await self._run(steps))

    async def create_collection(
        self,
        name: str,
        *,
        metadata: Optional[Mapping[str, Any]] = None,
        configuration: Any = None,
        get_or_create: bool = True,
        tenant: Optional[str] = None,
        database: Optional[str] = None,
        **options: Any,
    ) -> Result:
        """Creates a collection, or returns the existing one unless `get_or_create` is false."""
        steps = self._create(name, metadata, configuration, get_or_create, tenant, database, options)
        return cast(Result, await self._run(steps))

    async def add(self, collection: Any, records: Records, *, tenant: Optional[str] = None, database: Optional[str] = None,
                  **options: Any) -> Result:
        """Adds records. `records`: ids, embeddings (or the client's embed function), documents, metadatas, uris.
        `collection`: its name, its id, or an object with an `id`. `options`: transaction_id, label, headers."""
        return cast(Result, await self._run(self._records("add", collection, records, tenant, database, options)))

    async def upsert(self, collection: Any, records: Records, *, tenant: Optional[str] = None, database: Optional[str] = None,
                     **options: Any) -> Result:
        return cast(Result, await self._run(self._records("upsert", collection, records, tenant, database, options)))

    async def update(self, collection: Any, records: Records, *, tenant: Optional[str] = None, database: Optional[str] = None,
                     **options: Any) -> Result:
        return cast(Result, await self._run(self._records("update", collection, records, tenant, database, options)))

    async def delete(
        self,
        collection: Any,
        *,
        ids: Optional[List[str]] = None,
        where: Optional[Mapping[str, Any]] = None,
        where_document: Optional[Mapping[str, Any]] = None,
        limit: Optional[int] = None,
        tenant: Optional[str] = None,
        database: Optional[str] = None,
        **options: Any,
    ) -> Result:
        records = {"ids": ids, "where": where, "where_document": where_document, "limit": limit}
        return cast(Result, await self._run(self._records("delete", collection, records, tenant, database, options)))

    async def upload_file_with_safety(
        self,
        file: File,
        collection: Any,
        metadata: Optional[Mapping[str, Any]] = None,
        *,
        name: Optional[str] = None,
        document_id: Optional[str] = None,
        tenant: Optional[str] = None,
        database: Optional[str] = None,
        **options: Any,
    ) -> Upload:
        """Stores a text file (a path, or an open file) as documents, in requests of `batch_size` documents, each a
        transaction. Document ids are derived from the file's name and text, so that uploading the same file again
        replaces it."""
        steps = self._upload(file, collection, metadata, name, document_id, tenant, database, options)
        return cast(Upload, await self._run(steps))

    async def wait(self, transaction_id: str, timeout: Optional[float] = None) -> Transaction:
        """Waits until the transaction is final, and returns it. Raises an error if it was rejected or given up, and
        TimingGapError after `timeout` seconds (by default the policy's recovery_timeout)."""
        return cast(Transaction, await self._run(self._wait(transaction_id, timeout)))

    async def get_transaction(self, transaction_id: str) -> Transaction:
        """Returns the transaction as the edge shows it now."""
        return cast(Transaction, await self._run(self._get(transaction_path(transaction_id))))

    async def transactions(self, **filters: Any) -> Dict[str, Any]:
        """Returns one page of the audit trail, newest first. `filters`: session, status, operation, since, until, limit,
        cursor."""
        return cast(Dict[str, Any], await self._run(self._get(transactions_path(filters))))

    async def status(self) -> Dict[str, Any]:
        """Returns what the edge reports about its transactions as a whole."""
        return cast(Dict[str, Any], await self._run(self._get("/transaction/safety/status")))

    async def events(
        self,
        *,
        session: Optional[str] = None,
        transaction_id: Optional[str] = None,
        last_event_id: Optional[str] = None,
    ) -> AsyncIterator[EdgeMessage]:
        """Yields the messages of a session (by default this client's) or of one transaction, and reconnects after a lost
        connection. The messages of a transaction end with its last one."""
        path = self._events_path(session, transaction_id)
        parser = Parser(last_event_id)
        failures = 0
        while True:
            answer: Optional[core.Answer] = None
            try:
                headers = self._events_headers(parser.last_id)
                parser = Parser(parser.last_id)
                timeout = httpx.Timeout(10.0, read=EVENTS_SILENCE)
                async with self._http.stream("GET", self.base_url + path, headers=headers, timeout=timeout) as response:
                    if response.status_code == 200:
                        async for text in response.aiter_text():
                            for message in parser.feed(text):
                                failures = 0
                                yield message
                                if is_last(message, transaction_id):
                                    return
                    else:
                        await response.aread()
                        answer = answer_of(response)
            except httpx.TransportError as error:
                if not is_lost(error):
                    raise
            if answer is not None and answer.status < 500 and answer.status not in core.TRANSIENT:
                raise core.refused(transaction_id, answer)
            await self._pause(self._rules.backoff(failures, answer))
            failures += 1

    async def _run(self, steps: core.Steps) -> Any:
        value: Any = None
        try:
            while True:
                command = steps.send(value)
                value = await self._do(command)
        except StopIteration as stop:
            return stop.value

    async def _do(self, command: core.Command) -> Any:
        if isinstance(command, core.Send):
            request = command.request
            try:
                response = await self._http.request(
                    request.method, self.base_url + request.path, headers=request.headers, content=request.content,
                    timeout=limits(command.timeout),
                )
            except httpx.TransportError as error:
                if not is_lost(error):
                    raise
                return core.Lost(error)
            return answer_of(response)
        if isinstance(command, core.Sleep):
            return await self._pause(command.seconds)
        if isinstance(command, core.Tell):
            return self._tell(command.event)
        value = command.function(*command.arguments)
        return await value if inspect.isawaitable(value) else value

    async def _pause(self, seconds: float) -> None:
        await self._sleep(seconds)
