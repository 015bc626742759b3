"""Compares two Chroma servers record by record through their own HTTP API. Standard library only.

As a program: compare.py URL URL [tenant database]. Exits with 1 on any difference.
"""

import sys
import time
import urllib.error

from cluster import http

PAGE = 1000
INCLUDE = ["documents", "metadatas", "embeddings", "uris"]


def _patiently(call):
    """Repeats a call that Chroma answers 500 `Error finding id` while it still indexes. That is not a difference."""
    for attempt in range(20):
        try:
            return call()
        except urllib.error.HTTPError as error:
            if error.code != 500 or attempt == 19:
                raise
            time.sleep(0.25)
    return None


def collections(url, tenant="default_tenant", database="default_database"):
    """Returns a map from name to collection, over all pages."""
    base = f"{url}/api/v2/tenants/{tenant}/databases/{database}/collections"
    found = {}
    while True:
        page = _patiently(lambda: http(f"{base}?limit={PAGE}&offset={len(found)}"))
        found.update((collection["name"], collection) for collection in page)
        if len(page) < PAGE:
            return found


def records(url, collection, tenant="default_tenant", database="default_database"):
    """Returns a map from record id to what is stored, over all pages."""
    get = f"{url}/api/v2/tenants/{tenant}/databases/{database}/collections/{collection['id']}/get"
    found = {}
    offset = 0
    while True:
        body = {"limit": PAGE, "offset": offset, "include": INCLUDE}
        page = _patiently(lambda: http(get, body, timeout=60.0))
        for index, record in enumerate(page["ids"]):
            found[record] = {kind: (page.get(kind) or [None] * len(page["ids"]))[index] for kind in INCLUDE}
        offset += len(page["ids"])
        if len(page["ids"]) < PAGE:
            return found


def compare(left, right, tenant="default_tenant", database="default_database"):
    """Returns (number of records compared, list of differences in words)."""
    ours, theirs = collections(left, tenant, database), collections(right, tenant, database)
    differences = [f"collection {name} is only on one server" for name in sorted(ours.keys() ^ theirs.keys())]
    compared = 0
    for name in sorted(ours.keys() & theirs.keys()):
        for field in ("metadata", "dimension", "schema"):
            if ours[name].get(field) != theirs[name].get(field):
                differences.append(f"collection {name}: {field} differs")
        one, two = records(left, ours[name], tenant, database), records(right, theirs[name], tenant, database)
        compared += len(one.keys() | two.keys())
        for record in sorted(one.keys() | two.keys()):
            if record not in one or record not in two:
                differences.append(f"{name}/{record} is only on the {'second' if record not in one else 'first'} server")
                continue
            for kind in INCLUDE:
                if one[record][kind] != two[record][kind]:
                    differences.append(f"{name}/{record}: {kind} differ")
    return compared, differences


if __name__ == "__main__":
    count, found = compare(*sys.argv[1:])
    print("\n".join([*found, f"{count} records compared, {len(found)} differences"]))
    sys.exit(1 if found else 0)
