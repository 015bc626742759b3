"""The official client with safe writes."""

from __future__ import annotations

from typing import Any, Mapping, Optional

import httpx

from ._transport import OnEvent, SafeTransport
from ._types import Policy


def safe_http_client(
    host: str = "localhost",
    port: int = 8000,
    *,
    ssl: bool = False,
    headers: Optional[Mapping[str, str]] = None,
    policy: Optional[Policy] = None,
    session: Optional[str] = None,
    on_event: Optional[OnEvent] = None,
    **options: Any,
) -> Any:
    """Returns `chromadb.HttpClient(host, port, ssl, headers, **options)` whose writes carry transaction ids, are retried
    if that is safe, and wait for the edge's recovery. Everything else works as in the official client.

    The official client accepts no transport, so this wraps the one of its httpx client. Tested with chromadb 1.5.9.
    Raises RuntimeError for a version that keeps it elsewhere.
    """
    import chromadb  # Imported here, since the rest of this package works without it.

    given = None if headers is None else dict(headers)
    client = chromadb.HttpClient(host=host, port=port, ssl=ssl, headers=given, **options)
    server: Any = getattr(client, "_server", None)
    http: Any = getattr(server, "_session", None)
    if not isinstance(http, httpx.Client) or not isinstance(getattr(http, "_transport", None), httpx.BaseTransport):
        raise RuntimeError(f"chromadb {chromadb.__version__} keeps its httpx client elsewhere; use SafeTransport yourself")
    url = str(server.get_api_url())
    edge_url = url[: url.rindex("/api/")] if "/api/" in url else url

    def safe(inner: httpx.BaseTransport) -> SafeTransport:
        return SafeTransport(inner, edge_url, policy=policy, session=session, on_event=on_event)

    http._transport = safe(http._transport)
    # Proxies from the environment have their own transports.
    mounts = getattr(http, "_mounts", {})
    for pattern, inner in list(mounts.items()):
        if inner is not None:
            mounts[pattern] = safe(inner)
    return client
