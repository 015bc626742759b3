"""The operations of the clients, as steps for a driver. No I/O except for reading a file to upload."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from pathlib import Path
from typing import IO, Any, Callable, Dict, Generator, List, Mapping, Optional, Tuple, Union
from urllib.parse import quote, urlencode

import httpx

from . import _core as core
from ._types import EdgeMessage, Policy, Result, Transaction, TransactionEvent, Upload

Records = Mapping[str, Any]
Handler = Callable[[TransactionEvent], None]
Embed = Callable[[List[str]], Any]
File = Union[str, "os.PathLike[str]", IO[str], IO[bytes]]
_log = logging.getLogger("chroma_edge_client")


def base_of(url: str) -> str:
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"not an http or https URL: {url}")
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def plain(embeddings: Any) -> Any:
    """Returns embeddings as lists of numbers, also if they are numpy arrays."""
    if embeddings is None:
        return None
    return [one.tolist() if hasattr(one, "tolist") else list(one) for one in embeddings]


class Plans:
    """Shared by the synchronous and the asynchronous client."""

    def __init__(
        self,
        base_url: str,
        *,
        policy: Optional[Policy] = None,
        embed: Optional[Embed] = None,
        session: Optional[str] = None,
        headers: Optional[Mapping[str, str]] = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        chunk_size: int = 2000,
        batch_size: int = 100,
        now: Optional[Callable[[], float]] = None,
        random: Optional[Callable[[], float]] = None,
    ) -> None:
        if chunk_size < 1 or batch_size < 1:
            raise ValueError("chunk_size and batch_size are numbers from 1 on")
        self.base_url = base_of(base_url)
        #: Identifies this client's transactions at the edge.
        self.session = session if session is not None else str(uuid.uuid4())
        self._rules = core.Rules(policy or Policy(), now or time.monotonic)
        if random is not None:
            self._rules.random = random
        self._embed = embed
        self._headers = dict(headers or {})
        self._tenant, self._database = tenant, database
        self._chunk_size, self._batch_size = chunk_size, batch_size
        self._handlers: List[Tuple[str, Handler]] = []

    def on(self, name: str, handler: Handler) -> Callable[[], None]:
        """Calls `handler` at each event with that name, or at every event with "*". Returns a function that removes it."""
        entry = (name, handler)
        self._handlers.append(entry)

        def off() -> None:
            if entry in self._handlers:
                self._handlers.remove(entry)

        return off

    def _tell(self, event: TransactionEvent) -> None:
        for name, handler in list(self._handlers):
            if name in (event.type, "*"):
                try:
                    handler(event)
                except Exception:
                    # An error in a handler must not become the operation's error.
                    _log.exception("a handler of %s failed", event.type)

    def _place(self, tenant: Optional[str], database: Optional[str]) -> str:
        names = quote(tenant or self._tenant, safe=""), quote(database or self._database, safe="")
        return f"/api/v2/tenants/{names[0]}/databases/{names[1]}"

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Optional[Mapping[str, str]] = None,
        transaction_id: Optional[str] = None,
        label: Optional[str] = None,
        read: Optional[bool] = None,
    ) -> Generator[core.Command, Any, Result]:
        if not path.startswith("/"):
            raise ValueError("path does not begin with a slash")
        all_headers = {**self._headers, **(headers or {})}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            all_headers.setdefault("Content-Type", "application/json")
        request = core.Request(method.upper(), path, all_headers, content)
        operation = core.operation(
            request, session=self.session, transaction_id=transaction_id, label=label, read=read, rules=self._rules)
        outcome = yield from core.told(operation, self._rules)
        return core.result_of(operation, outcome)

    def _create(
        self, name: str, metadata: Optional[Mapping[str, Any]], configuration: Any, get_or_create: bool, tenant: Optional[str],
        database: Optional[str], options: Dict[str, Any],
    ) -> Generator[core.Command, Any, Result]:
        body: Dict[str, Any] = {"name": name, "get_or_create": get_or_create}
        if metadata is not None:
            body["metadata"] = metadata
        if configuration is not None:
            body["configuration"] = configuration
        return self._request("POST", f"{self._place(tenant, database)}/collections", body, **options)

    def _records(
        self, kind: str, collection: Any, records: Records, tenant: Optional[str], database: Optional[str],
        options: Dict[str, Any],
    ) -> Generator[core.Command, Any, Result]:
        body = {name: value for name, value in records.items() if value is not None}
        if kind in ("add", "upsert", "update"):
            embeddings = body.get("embeddings")
            if embeddings is None and body.get("documents") is not None and self._embed is not None:
                embeddings = yield core.Call(self._embed, (list(body["documents"]),))
            if embeddings is not None:
                body["embeddings"] = plain(embeddings)
        # By name or id: the edge accepts both.
        name = quote(str(getattr(collection, "id", collection)), safe="")
        path = f"{self._place(tenant, database)}/collections/{name}/{kind}"
        return (yield from self._request("POST", path, body, **options))

    def _upload(
        self, file: File, collection: Any, metadata: Optional[Mapping[str, Any]], name: Optional[str],
        document_id: Optional[str], tenant: Optional[str], database: Optional[str], options: Dict[str, Any],
    ) -> Generator[core.Command, Any, Upload]:
        if self._embed is None:
            raise ValueError("uploading needs the client's embed function")
        upload = core.checked_id(options.pop("transaction_id", None) or str(uuid.uuid4()))
        text, own_name = read_file(file)
        name = name or own_name
        label = options.pop("label", None) or name
        prefix = document_id or hashlib.sha256(f"{name}\0{text}".encode()).hexdigest()[:32]
        chunks = [chunk for chunk in core.split_text(text, self._chunk_size) if chunk.strip()]
        if not chunks:
            raise ValueError(f"{name} has no text")
        ids = [f"{prefix}-{index}" for index in range(len(chunks))]
        parts = -(-len(chunks) // self._batch_size)
        results: List[Result] = []
        for part in range(parts):
            start = part * self._batch_size
            documents = chunks[start : start + self._batch_size]
            embeddings = yield core.Call(self._embed, (documents,))
            records = {
                "ids": ids[start : start + self._batch_size],
                "embeddings": embeddings,
                "documents": documents,
                "metadatas": [
                    {**(metadata or {}), "file_name": name, "chunk": start + index, "chunks": len(chunks)}
                    for index in range(len(documents))
                ],
            }
            more = {
                **options,
                "transaction_id": upload if parts == 1 else f"{upload}-{part}",
                "label": label if parts == 1 else f"{label} ({part + 1} of {parts})",
            }
            results.append((yield from self._records("upsert", collection, records, tenant, database, more)))
        return Upload(upload, ids, results)

    def _get(self, path: str) -> Generator[core.Command, Any, Any]:
        result = yield from self._request("GET", path)
        return result.data

    def _wait(self, transaction_id: str, timeout: Optional[float]) -> Generator[core.Command, Any, Transaction]:
        return core.waited(transaction_id, dict(self._headers), self._rules, timeout)

    def _events_path(self, session: Optional[str], transaction_id: Optional[str]) -> str:
        query = {"transaction": transaction_id} if transaction_id else {"client": session or self.session}
        return f"/transaction/safety/events?{urlencode(query)}"

    def _events_headers(self, last_event_id: Optional[str]) -> Dict[str, str]:
        known = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        return {**self._headers, "Accept": "text/event-stream", **known}


def transaction_path(transaction_id: str) -> str:
    return f"/transaction/safety/transaction/{quote(core.checked_id(transaction_id), safe='')}"


def application_path(transaction_id: str, what: str) -> str:
    return f"/transaction/safety/transactions/{quote(core.checked_id(transaction_id), safe='')}/{what}"


def transactions_path(filters: Mapping[str, Any]) -> str:
    query = {
        name: ",".join(value) if isinstance(value, (list, tuple)) else value
        for name, value in filters.items()
        if value is not None
    }
    return f"/transaction/safety/transactions?{urlencode(query)}"


def is_last(message: EdgeMessage, transaction_id: Optional[str]) -> bool:
    return transaction_id is not None and message.data.get("status") in core.FINAL


def read_file(file: File) -> Tuple[str, str]:
    """Returns the text and the name of a path or an open file."""
    if isinstance(file, (str, os.PathLike)):
        return Path(file).read_text(encoding="utf-8"), Path(file).name
    content = file.read()
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    name = getattr(file, "name", None)
    return text, Path(name).name if isinstance(name, str) else "file"


def answer_of(response: httpx.Response) -> core.Answer:
    """Converts a response that has been read."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return core.Answer(response.status_code, headers, response.content, native=response)


def limits(timeout: float) -> httpx.Timeout:
    return httpx.Timeout(timeout, connect=min(10.0, timeout))


def is_lost(error: httpx.TransportError) -> bool:
    """Returns whether the request may succeed another time. One that cannot be sent at all never will."""
    return not isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError))


