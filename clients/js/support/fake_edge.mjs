// A double of the edge that follows clients/PROTOCOL.md, in this process: transactions as clients see them, without Chroma.

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

const FINAL = new Set(["COMPLETED", "RECOVERED", "ABANDONED"]);
const EVENT = { FAILED: "timing_gap", COMPLETED: "completed", RECOVERED: "recovered", ABANDONED: "abandoned" };

export class FakeEdge {
  /** Whether an instance can take writes. */
  up = true;
  /** What happens to the next requests, before anything else: see `#scripted`. */
  script = [];
  /** Every request: method, path, headers, body. */
  requests = [];
  /** Bodies that were executed, in order. */
  executed = [];
  /** Documents by id, as upserts leave them. */
  documents = new Map();
  pages = new Map();
  transactions = new Map();
  /** Whether ?wait is honored. */
  waits = true;
  #sequence = 0;
  #log = [];
  #changed = new Set();
  #sockets = new Set();

  static async start() {
    const edge = new FakeEdge();
    edge.server = createServer((request, response) => edge.#serve(request, response));
    edge.server.on("connection", (socket) => {
      edge.#sockets.add(socket);
      socket.on("close", () => edge.#sockets.delete(socket));
    });
    await new Promise((resolve) => edge.server.listen(0, "127.0.0.1", resolve));
    edge.url = `http://127.0.0.1:${edge.server.address().port}`;
    return edge;
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  get writes() {
    return this.requests.filter(({ headers }) => headers["transaction-id"]);
  }

  get polls() {
    return this.requests.filter(({ path }) => path.startsWith("/transaction/safety/transaction/"));
  }

  /** Brings the instances back, and executes what is pending. */
  recover() {
    this.up = true;
    for (const one of this.transactions.values()) {
      if (one.shown.status === "FAILED") this.#execute(one, "RECOVERED");
    }
  }

  abandon(reason, status = null) {
    for (const { shown } of this.transactions.values()) {
      if (FINAL.has(shown.status)) continue;
      Object.assign(shown, { status: "ABANDONED", failure_reason: reason, response_status: status });
      this.#tell(shown);
    }
  }

  /** Resolves when `check` holds after some request or change. */
  async until(check) {
    while (!check()) await new Promise((resolve) => this.#changed.add(resolve));
  }

  #notify() {
    const waiting = [...this.#changed];
    this.#changed.clear();
    waiting.forEach((resolve) => resolve());
  }

  #tell(shown) {
    this.#log.push({ id: String(++this.#sequence), event: `transaction:${EVENT[shown.status]}`, shown: { ...shown } });
    this.#notify();
  }

  async #serve(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts).toString();
    const asked = { method: request.method, path: request.url, headers: request.headers, body, at: Date.now(), closed: false };
    response.on("close", () => {
      asked.closed = true;
      this.#notify();
    });
    this.requests.push(asked);
    this.#notify();
    const url = new URL(request.url, this.url);
    if (this.pages.has(url.pathname)) return this.#page(response, this.pages.get(url.pathname));
    if (url.pathname === "/transaction/safety/events") return this.#events(url, asked, response);
    const scripted = this.script.length ? this.script.shift() : null;
    if (scripted && !(await this.#scripted(scripted, asked, response))) return;
    const looked = /^\/transaction\/safety\/transaction\/([^/]+)$/.exec(url.pathname);
    if (looked) return this.#show(decodeURIComponent(looked[1]), Number(url.searchParams.get("wait") ?? 0), asked, response);
    if (request.headers["transaction-id"]) return this.#write(asked, response);
    answer(response, 200, { read: true, max_batch_size: 100 });
  }

  /** "lose": no answer; "lose after": executed, no answer; "cut": executed, half an answer; "hang"; or an answer. */
  async #scripted(one, asked, response) {
    if (one === "pass") return true;
    if (one === "hang") return false;
    if (one === "lose after" || one === "cut") await this.#write(asked, null);
    if (one === "cut") {
      response.writeHead(201, { "content-length": 100 });
      response.write("{");
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (typeof one === "string") response.destroy();
    else answer(response, one.status, one.body, one.headers);
    return false;
  }

  #write(asked, response) {
    const key = asked.headers["transaction-id"];
    const fingerprint = `${asked.method} ${asked.path}\n${asked.body}`;
    let one = this.transactions.get(key);
    const first = !one;
    if (!first && one.fingerprint !== fingerprint) {
      return answer(response, 422, error("InvalidArgumentError", "transaction_id_reused"));
    }
    if (first) {
      const shown = {
        transaction_id: randomUUID(), client_transaction_id: key, status: "ATTEMPTING", completed: false, method: asked.method,
        path: asked.path, operation_type: "upsert", created_at: new Date().toISOString(), completed_at: null, retry_count: 0,
        max_retries: 3, next_retry_at: null, is_timing_gap_failure: false, failure_reason: null, response_status: null,
        response_data: null, result: null, target_instance: null, client_session: asked.headers["x-client-session"] ?? null, instances: [],
      };
      one = { fingerprint, shown, body: asked.body };
      this.transactions.set(key, one);
      if (this.up) this.#execute(one, "COMPLETED");
      else {
        Object.assign(shown, { status: "FAILED", is_timing_gap_failure: true, response_status: 503 });
        this.#tell(shown);
      }
    }
    const { shown } = one;
    const headers = { "transaction-id": key };
    if (FINAL.has(shown.status)) {
      if (!first) headers["idempotent-replayed"] = "true";
      return answer(response, shown.response_status ?? 500, shown.response_data ?? {}, headers);
    }
    const more = { transaction_id: shown.transaction_id };
    if (!first) return answer(response, 409, { ...error("ChromaError", "transaction_running"), ...more }, { "retry-after": "1" });
    const pending = { ...error("InternalError", "no_instance_available"), ...more, recovery: "pending" };
    answer(response, 503, pending, { "transaction-id": shown.transaction_id, "retry-after": "5" });
  }

  #execute(one, status) {
    const request = one.body ? JSON.parse(one.body) : {};
    this.executed.push(request);
    request.ids?.forEach?.((id, index) => this.documents.set(id, request.documents?.[index]));
    const data = request.name ? { id: "c-1", name: request.name, metadata: null, configuration_json: {} } : { done: true };
    Object.assign(one.shown, {
      status, completed: true, completed_at: new Date().toISOString(), response_status: 201, response_data: data, result: data,
    });
    this.#tell(one.shown);
  }

  async #show(id, wait, asked, response) {
    const found = [...this.transactions.values()].find(({ shown }) => shown.transaction_id === id || shown.client_transaction_id === id);
    if (!found) return answer(response, 404, { error: "no such transaction" });
    if (this.waits && wait) await this.until(() => FINAL.has(found.shown.status) || asked.closed);
    answer(response, 200, found.shown);
  }

  async #events(url, asked, response) {
    const [session, id] = [url.searchParams.get("client"), url.searchParams.get("transaction")];
    response.writeHead(200, { "content-type": "text/event-stream" });
    const last = asked.headers["last-event-id"];
    let at = last ? this.#log.findIndex((one) => one.id === last) + 1 : session ? this.#log.length : 0;
    response.write(": ping\n\n");
    for (;;) {
      for (; at < this.#log.length; at++) {
        const { id: number, event, shown } = this.#log[at];
        if (session !== null && shown.client_session !== session) continue;
        if (id !== null && ![shown.transaction_id, shown.client_transaction_id].includes(id)) continue;
        const text = `id: ${number}\r\nevent: ${event}\r\ndata: ${JSON.stringify(shown)}\r\n\r\n`;
        // In two pieces, so that readers must join lines.
        response.write(text.slice(0, 9));
        await new Promise((resolve) => setImmediate(resolve));
        response.write(text.slice(9));
        if (this.cutEvents || (id !== null && FINAL.has(shown.status))) return response.end();
      }
      if (asked.closed) return;
      await new Promise((resolve) => this.#changed.add(resolve));
    }
  }

  #page(response, { type, text, file }) {
    response.writeHead(200, { "content-type": type });
    response.end(file ? readFileSync(file) : text);
  }
}

function error(name, reason) {
  return { error: name, message: `fake: ${reason}`, reason };
}

function answer(response, status, body, headers = {}) {
  if (response === null || response.destroyed) return;
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
