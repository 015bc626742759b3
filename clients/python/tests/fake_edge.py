"""A double of the edge that follows clients/PROTOCOL.md, on threads: transactions as clients see them, without Chroma."""

from __future__ import annotations

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

FINAL = {"COMPLETED", "RECOVERED", "ABANDONED"}
EVENT = {"FAILED": "timing_gap", "COMPLETED": "completed", "RECOVERED": "recovered", "ABANDONED": "abandoned"}
TRANSACTIONS = "/transaction/safety/transactions"


class FakeEdge:
    def __init__(self):
        self.up = True  # Whether an instance can take writes.
        self.script = []  # What happens to the next requests: "pass", "lose", "lose after", "hang", or an answer.
        self.requests = []  # (method, path, headers, body)
        self.executed = []
        self.documents = {}
        self.transactions = {}
        self.page = 1000
        self.cut_events = False
        self.log = []
        self.changed = threading.Condition(threading.RLock())
        self.stopping = False
        edge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def serve(self):
                edge.serve(self)

            do_GET = do_POST = do_PUT = do_DELETE = serve

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self):
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()

    @property
    def writes(self):
        return [one for one in self.requests if "transaction-id" in one[2]]

    @property
    def polls(self):
        return [one for one in self.requests if one[1].startswith("/transaction/safety/transaction/")]

    def until(self, check, timeout=20):
        with self.changed:
            assert self.changed.wait_for(check, timeout), "it did not happen"

    def recover(self):
        with self.changed:
            self.up = True
            for one in self.transactions.values():
                if one["shown"]["status"] == "FAILED":
                    self.execute(one, "RECOVERED")

    def abandon(self, reason, status=None):
        with self.changed:
            for one in self.transactions.values():
                if one["shown"]["status"] not in FINAL:
                    one["shown"].update(status="ABANDONED", failure_reason=reason, response_status=status)
                    self.tell(one["shown"])

    def tell(self, shown):
        if shown["status"] in EVENT:
            self.log.append((str(len(self.log) + 1), f"transaction:{EVENT[shown['status']]}", dict(shown)))
        self.changed.notify_all()

    def serve(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = (handler.command, handler.path, headers, body)
        with self.changed:
            self.requests.append(asked)
            begins = len(self.log)
            self.changed.notify_all()
            scripted = self.script.pop(0) if self.script else "pass"
        url = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if scripted == "hang":
            with self.changed:
                self.changed.wait_for(lambda: self.stopping)
            scripted = "lose"
        if scripted == "lose after":
            self.write(asked)
        if scripted in ("lose", "lose after"):
            handler.close_connection = True
            return
        if scripted != "pass":
            return self.answer(handler, *scripted)
        if url.path == "/transaction/safety/events":
            return self.events(handler, headers, query, begins)
        if url.path.startswith("/transaction/safety/"):
            return self.answer(handler, *self.own(handler.command, url.path, headers, query, body))
        if "transaction-id" in headers:
            return self.answer(handler, *self.write(asked))
        self.answer(handler, *self.read(url.path))

    def read(self, path):
        if path.endswith("/auth/identity"):
            return 200, {"user_id": "", "tenant": "default_tenant", "databases": ["default_database"]}
        if path.endswith("/pre-flight-checks"):
            return 200, {"max_batch_size": 100, "supports_base64_encoding": True}
        if path.endswith("/databases/default_database"):
            return 200, {"id": str(uuid.UUID(int=0)), "name": "default_database", "tenant": "default_tenant"}
        return 200, {"name": "default_tenant"}

    def begin(self, asked, kind):
        method, path, headers, body = asked
        key, fingerprint = headers["transaction-id"], (method, path, body)
        known = self.transactions.get(key)
        if known:
            return known, known["fingerprint"] == fingerprint
        shown = dict(
            transaction_id=str(uuid.uuid4()), client_transaction_id=key, status="ATTEMPTING", completed=False, method=method,
            path=path, operation_type=kind, created_at="2026-01-01T00:00:00.000Z", completed_at=None, retry_count=0, max_retries=3,
            next_retry_at=None, is_timing_gap_failure=False, failure_reason=None, response_status=None, response_data=None,
            result=None, target_instance=None, client_session=headers.get("x-client-session"), instances=[])
        self.transactions[key] = {"fingerprint": fingerprint, "shown": shown, "body": body}
        return self.transactions[key], None

    def write(self, asked):
        with self.changed:
            one, same = self.begin(asked, "write")
            shown, key = one["shown"], asked[2]["transaction-id"]
            if same is False:
                return 422, error("InvalidArgumentError", "transaction_id_reused")
            if same is None and self.up:
                self.execute(one, "COMPLETED")
            elif same is None:
                shown.update(status="FAILED", is_timing_gap_failure=True, response_status=503)
                self.tell(shown)
            if shown["status"] in FINAL:
                replayed = {"idempotent-replayed": "true"} if same else {}
                return shown["response_status"] or 500, shown["response_data"] or {}, {"transaction-id": key, **replayed}
            more = {"transaction_id": shown["transaction_id"]}
            if same:
                return 409, {**error("ChromaError", "transaction_running"), **more}, {"retry-after": "1"}
            pending = {**error("InternalError", "no_instance_available"), **more, "recovery": "pending"}
            return 503, pending, {"transaction-id": shown["transaction_id"], "retry-after": "5"}

    def execute(self, one, status):
        request = json.loads(one["body"]) if one["body"] else {}
        self.executed.append(request)
        self.documents.update(zip(request.get("ids") or [], request.get("documents") or []))
        data = {"done": True}
        if "name" in request:
            data = {"id": str(uuid.UUID(int=7)), "name": request["name"], "metadata": None, "configuration_json": {}, "schema": None,
                    "dimension": None, "tenant": "default_tenant", "database": "default_database", "version": 0, "log_position": 0}
        one["shown"].update(status=status, completed=True, response_status=201, response_data=data, result=data)
        self.tell(one["shown"])

    def find(self, name):
        name = unquote(name)
        shown = [one["shown"] for one in self.transactions.values()]
        return next((one for one in shown if name in (one["transaction_id"], one["client_transaction_id"])), None)

    def own(self, method, path, headers, query, body):
        with self.changed:
            if path == TRANSACTIONS and method == "POST":
                one, same = self.begin((method, path, headers, body), "application")
                if same is False:
                    return 422, error("InvalidArgumentError", "transaction_id_reused")
                if same is None:
                    asked = json.loads(body)
                    one["shown"].update(method=asked["method"], path=asked["path"])
                return 201, one["shown"], {"idempotent-replayed": "true"} if same else {}
            if path == TRANSACTIONS:
                return 200, self.list(query)
            if path == "/transaction/safety/status":
                return 200, {"available": True}
            parts = path.split("/")
            shown = self.find(parts[4]) if len(parts) > 4 else None
            if shown is None:
                return 404, {"error": "no such transaction"}
            if method == "GET":
                final = lambda: shown["status"] in FINAL or self.stopping  # noqa: E731
                self.changed.wait_for(final, float(query.get("wait", 0)))
                return 200, shown
            said = json.loads(body)
            if shown["status"] in FINAL and parts[5] == "fail":
                return 409, error("ChromaError", "transaction_final")
            if parts[5] == "complete":
                status = "RECOVERED" if shown["is_timing_gap_failure"] else "COMPLETED"
                shown.update(status=status, completed=True, response_status=said["status"], result=said["result"])
            else:
                shown.update(status="ABANDONED" if said["final"] else "FAILED", failure_reason=said["reason"])
                shown.update(is_timing_gap_failure=said["is_timing_gap"], retry_count=shown["retry_count"] + 1)
            return 200, shown

    def list(self, query):
        wanted = query.get("status", "").split(",") if query.get("status") else None
        found = [one["shown"] for one in self.transactions.values()][::-1]
        found = [one for one in found if query.get("session") in (None, one["client_session"])]
        found = [one for one in found if query.get("operation") in (None, one["operation_type"])]
        found = [one for one in found if wanted is None or one["status"] in wanted]
        at = int(query.get("cursor", 0))
        following = at + self.page
        return {"transactions": found[at:following], "next_cursor": str(following) if following < len(found) else None,
                "total": len(found), "counts": {}}

    def events(self, handler, headers, query, begins):
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        handler.close_connection = True
        session, wanted = query.get("client"), query.get("transaction")
        last = headers.get("last-event-id")
        at = int(last) if last else begins if session else 0
        handler.wfile.write(b": ping\n\n")
        while True:
            with self.changed:
                self.changed.wait_for(lambda: len(self.log) > at or self.stopping)
                if self.stopping:
                    return
                number, event, shown = self.log[at]
            at += 1
            if session is not None and shown["client_session"] != session:
                continue
            if wanted is not None and wanted not in (shown["transaction_id"], shown["client_transaction_id"]):
                continue
            text = f"id: {number}\r\nevent: {event}\r\ndata: {json.dumps(shown, ensure_ascii=False)}\r\n\r\n".encode()
            handler.wfile.write(text[:9])
            handler.wfile.flush()
            handler.wfile.write(text[9:])
            if self.cut_events or (wanted is not None and shown["status"] in FINAL):
                return

    @staticmethod
    def answer(handler, status, body, headers=None):
        content = json.dumps(body).encode() if body is not None else b""
        handler.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


def error(name, reason):
    return {"error": name, "message": f"fake: {reason}", "reason": reason}
