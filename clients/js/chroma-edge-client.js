// chroma-edge-client: transaction ids, safe retries and recovery for writes to Chroma through chroma-edge.
// One self-contained ES module for browsers and Node 20. The edge serves it at /transaction/safety/client.js.
// Types: chroma-edge-client.d.ts. Requests, and what the client relies on: clients/PROTOCOL.md. License: Apache-2.0.

/** The version of this library. */
export const VERSION = "0.1.0";

/** The longest wait that the edge accepts in one request. */
const LONGEST_WAIT_SECONDS = 60;
/** How much longer than the requested wait the answer may take. */
const WAIT_SLACK_MS = 15_000;
/** How many ids of operations are remembered, so that their events are not reported twice. */
const REMEMBERED_IDS = 1000;
/** How many writes without an outcome are remembered, and for how long. */
const UNFINISHED = 1000;
const UNFINISHED_MS = 3_600_000;
const FINAL = new Set(["COMPLETED", "RECOVERED", "ABANDONED"]);
const TRANSIENT = new Set([429, 502, 503, 504]);
const INNER = Symbol.for("chroma-edge-client.inner");
const SCOPE = Symbol.for("chroma-edge-client.scope");

// ---------------------------------------------------------------------------------------------------------- errors

/** An operation that did not succeed. Use `transactionId` to ask the edge about it. */
export class TransactionError extends Error {
  constructor(message, { transactionId = null, status = null, reason = null, body = null, transaction = null, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.transactionId = transactionId;
    this.status = status;
    this.reason = reason;
    this.body = body;
    this.transaction = transaction;
  }
}

/** Not a failure: the write is durable at the edge, and the edge will finish it without this client. */
export class TimingGapError extends TransactionError {
  constructor(message, details = {}) {
    super(message, details);
    this.recovery = details.recovery ?? "pending";
  }
}

/** The edge gave the transaction up: it was rejected, and has no effect. `reason` explains why. */
export class TransactionAbandonedError extends TransactionError {}

/** The edge knows no transaction with this id. */
export class UnknownTransactionError extends TransactionError {}

/** No answer after every retry: it is unknown whether the write happened. Repeating it with the same id is safe. */
export class NoAnswerError extends TransactionError {}

/**
 * Returns whether the error is about a write that the edge holds and will finish by itself.
 * @param {unknown} error an error of this module, or anything that contains the edge's error body
 */
export function isTimingGapError(error) {
  if (error instanceof TimingGapError) return true;
  const recovery = error?.recovery ?? error?.body?.recovery;
  return recovery === "pending" || recovery === "unknown";
}

// ------------------------------------------------------------------------------------------------- rules, no effects

/** Returns a random (version 4) UUID. `crypto.randomUUID` is missing in pages that were not loaded over https. */
function uuid() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Returns the id if it is valid, and throws otherwise. */
function checkedId(id) {
  if (typeof id !== "string" || !/^[\x21-\x7e]{1,255}$/.test(id) || id === "." || id === "..") {
    throw new TypeError("a transaction id is 1 to 255 visible ASCII characters, and not . or ..");
  }
  return id;
}

function isRead(method, path) {
  const verb = method.toUpperCase();
  if (verb === "GET" || verb === "HEAD" || verb === "OPTIONS") return true;
  return verb === "POST" && /\/collections\/[^/]+\/(get|query|search|count)\/?$/.test(path.split("?")[0]);
}

/** Returns the name of an operation, by method and path. */
function operationOf(method, path) {
  const plain = path.split("?")[0].replace(/\/$/, "");
  const record = /\/collections\/[^/]+\/(add|update|upsert|delete)$/.exec(plain);
  if (record) return record[1];
  const kind = /\/(collections|databases|tenants)(\/[^/]+)?$/.exec(plain)?.[1]?.slice(0, -1);
  const verb = { POST: "create", PUT: "update", PATCH: "update", DELETE: "delete" }[method.toUpperCase()];
  if (/\/reset$/.test(plain)) return "reset";
  return kind && verb ? `${verb}_${kind}` : "write";
}

/** Returns what an answer to a write means: PROTOCOL.md, "Writes". */
function verdictOf(answer) {
  if (answer.status === 503) {
    const { recovery } = answer.json ?? {};
    if (recovery === "pending" || recovery === "unknown") return recovery;
  }
  if (answer.status === 409 && answer.json?.reason === "transaction_running") return "running";
  return TRANSIENT.has(answer.status) ? "transient" : "definite";
}

/** Returns the milliseconds that the answer asks to wait, or 0 if it does not say. */
function retryAfter(answer) {
  const seconds = Number(answer?.headers.get("retry-after") ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
}

/** Returns the SHA-256 as hexadecimal. `crypto.subtle` is missing in pages that were not loaded over https. */
export function sha256(text) {
  const input = new TextEncoder().encode(text);
  const data = new Uint8Array((((input.length + 8) >> 6) + 1) << 6);
  data.set(input);
  data[input.length] = 0x80;
  const view = new DataView(data.buffer);
  view.setUint32(data.length - 8, Math.floor(input.length / 0x20000000));
  view.setUint32(data.length - 4, (input.length << 3) >>> 0);
  const { first, rounds } = sha256Constants();
  const state = first.slice();
  const words = new Uint32Array(64);
  const turn = (word, by) => (word >>> by) | (word << (32 - by));
  for (let block = 0; block < data.length; block += 64) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const [a, b] = [words[i - 15], words[i - 2]];
      const low = turn(a, 7) ^ turn(a, 18) ^ (a >>> 3);
      const high = turn(b, 17) ^ turn(b, 19) ^ (b >>> 10);
      words[i] = words[i - 16] + low + words[i - 7] + high;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + rounds[i] + words[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (state[i] += value));
  }
  return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
}

/** The first 32 bits of the fractional parts of the square and cube roots of the first primes, as in the standard. */
function sha256Constants() {
  if (sha256Constants.made) return sha256Constants.made;
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const bits = (value) => ((value - Math.floor(value)) * 0x100000000) >>> 0;
  const first = Uint32Array.from(primes.slice(0, 8), (prime) => bits(Math.sqrt(prime)));
  const rounds = Uint32Array.from(primes, (prime) => bits(Math.cbrt(prime)));
  return (sha256Constants.made = { first, rounds });
}

/**
 * Splits text into pieces of at most `size` UTF-16 units. A piece ends at a paragraph, line, sentence or word if there is
 * such an end in its second half, and never within a character. Joined, the pieces are the text.
 */
export function splitText(text, size) {
  const pieces = [];
  for (let from = 0; from < text.length; ) {
    let to = Math.min(from + size, text.length);
    if (to < text.length) {
      const window = text.slice(from, to);
      const mark = ["\n\n", "\n", ". ", " "].find((one) => window.lastIndexOf(one) >= window.length / 2);
      if (mark) to = from + window.lastIndexOf(mark) + mark.length;
      else if (window.length > 1 && /[\ud800-\udbff]$/.test(window)) to -= 1;
    }
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}

/** Yields the server-sent events of a body. */
async function* messagesOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let message = { id: null, event: "message", data: [] };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      text += done ? decoder.decode() : decoder.decode(value, { stream: true });
      // A carriage return at the end may be the first half of a line end.
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      text = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (message.data.length) yield { ...message, data: message.data.join("\n") };
          message = { id: message.id, event: "message", data: [] };
          continue;
        }
        const [, field, content] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (field === "data") message.data.push(content);
        else if (field === "event") message.event = content;
        else if (field === "id") message.id = content;
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

// ------------------------------------------------------------------------------------------------------- the client

const SYSTEM = {
  now: () => Date.now(),
  setTimer: (run, ms) => setTimeout(run, ms),
  clearTimer: (timer) => clearTimeout(timer),
};

/** Writes to Chroma through the edge. Each write is a transaction that happens once. */
export class TransactionSafetyClient {
  #base;
  #fetch;
  #clock;
  #random;
  #options;
  #handlers = new Map();
  #closed = new AbortController();
  /** The latest operations: what they are about, and their state. */
  #own = new Map();
  /**
   * Writes that ended here without an outcome, by their content. If the application sends the same request again, it is a
   * repetition and gets the same id, so that the write is executed once.
   */
  #unfinished = new Map();

  constructor(baseUrl, options = {}) {
    this.#base = new URL(baseUrl).href.replace(/[?#].*$/, "").replace(/\/+$/, "");
    this.#options = {
      maxRetries: 5,
      initialRetryDelay: 500,
      maxRetryDelay: 30_000,
      requestTimeout: 150_000,
      recoveryTimeout: 600_000,
      waitForRecovery: true,
      tenant: "default_tenant",
      database: "default_database",
      chunkSize: 2000,
      batchSize: 100,
      headers: {},
      ...options,
    };
    for (const name of ["maxRetries", "initialRetryDelay", "maxRetryDelay", "requestTimeout", "recoveryTimeout"]) {
      if (!(this.#options[name] >= 0)) throw new RangeError(`${name} is not a number from 0 on`);
    }
    for (const name of ["chunkSize", "batchSize"]) {
      if (!(this.#options[name] >= 1)) throw new RangeError(`${name} is not a number from 1 on`);
    }
    this.#fetch = options.fetch ?? unwrapped(globalThis.fetch, this.#base);
    this.#clock = options.clock ?? SYSTEM;
    this.#random = options.random ?? Math.random;
    /** Identifies this client's transactions at the edge. */
    this.session = options.session ?? uuid();
  }

  /** The edge's URL, without a trailing slash. */
  get baseUrl() {
    return this.#base;
  }

  // ---- events

  /**
   * Calls `handler` at each event with that name, or with "*" at every transaction event. Returns a function that removes
   * it.
   */
  on(name, handler) {
    if (!this.#handlers.has(name)) this.#handlers.set(name, new Set());
    this.#handlers.get(name).add(handler);
    return () => this.off(name, handler);
  }

  off(name, handler) {
    this.#handlers.get(name)?.delete(handler);
  }

  #emit(type, details) {
    const event = { type, ...details };
    for (const name of type === "error" ? [type] : [type, "*"]) {
      for (const handler of [...(this.#handlers.get(name) ?? [])]) {
        try {
          handler(event);
        } catch (error) {
          // An error in a handler must not become the operation's error.
          console.error(error);
        }
      }
    }
  }

  /** Ends everything under way: operations reject, and timers and connections end. */
  close() {
    this.#closed.abort(new DOMException("the client was closed", "AbortError"));
  }

  // ---- operations

  /** Sends one request to the edge. `path` begins with a slash. A write gets a transaction id and safe retries. */
  async request(method, path, options = {}) {
    if (!path.startsWith("/")) throw new TypeError("path does not begin with a slash");
    const { body } = options;
    const headers = new Headers({ ...this.#options.headers, ...options.headers });
    let payload;
    if (body !== undefined && body !== null) {
      payload = typeof body === "string" ? body : JSON.stringify(body);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
    }
    const operation = this.#begin(method, path, headers, options, () => payload ?? "");
    const init = { method, headers, ...(payload === undefined ? {} : { body: payload }) };
    operation.send = (signal) => this.#fetch(this.#base + path, { ...init, signal });
    const outcome = await this.#told(operation, options);
    return asResult(operation, outcome);
  }

  /** Creates a collection, or returns the existing one unless `getOrCreate` is false. */
  async createCollection(name, { metadata, configuration, getOrCreate = true, ...options } = {}) {
    const body = { name, metadata, configuration, get_or_create: getOrCreate };
    return this.request("POST", `${this.#place(options)}/collections`, { ...options, body });
  }

  async add(collection, records, options) {
    return this.#records("add", collection, records, options);
  }

  async upsert(collection, records, options) {
    return this.#records("upsert", collection, records, options);
  }

  async update(collection, records, options) {
    return this.#records("update", collection, records, options);
  }

  /** Deletes the records that `{ids, where, whereDocument, limit}` selects. */
  async delete(collection, { ids, where, whereDocument, limit } = {}, options = {}) {
    const body = { ids, where, where_document: whereDocument, limit };
    return this.request("POST", `${this.#collection(collection, options)}/delete`, { ...options, body });
  }

  async #records(kind, collection, records, options = {}) {
    const { ids, documents, metadatas, uris } = records;
    let { embeddings } = records;
    const { signal, done } = joined([options.signal, this.#closed.signal]);
    try {
      if (!embeddings && documents && this.#options.embed) {
        embeddings = await abortable(this.#options.embed(documents, { signal }), signal);
      }
    } finally {
      done();
    }
    const body = { ids, embeddings: plain(embeddings), documents, metadatas, uris };
    return this.request("POST", `${this.#collection(collection, options)}/${kind}`, { ...options, body });
  }

  /**
   * Stores a text file as documents, in requests of `batchSize` documents, each a transaction. Document ids are derived
   * from the file's name and text, so that uploading the same file again replaces it, in this session or another.
   */
  async uploadFileWithSafety(file, collection, metadata = {}, options = {}) {
    const { embed, chunkSize, batchSize } = { ...this.#options, ...options };
    if (typeof embed !== "function") throw new TypeError("uploading needs the constructor's option embed");
    const name = options.name ?? (typeof file === "string" ? "text" : file.name) ?? "file";
    const label = options.label ?? name;
    const upload = checkedId(options.transactionId ?? uuid());
    const { signal, done } = joined([options.signal, this.#closed.signal]);
    try {
      signal.throwIfAborted();
      const text = typeof file === "string" ? file : await abortable(file.text(), signal);
      const prefix = options.documentId ?? sha256(`${name}\0${text}`).slice(0, 32);
      const chunks = splitText(text, chunkSize).filter((chunk) => chunk.trim() !== "");
      if (chunks.length === 0) throw new TypeError(`${name} has no text`);
      const documentIds = chunks.map((_, index) => `${prefix}-${index}`);
      const transactions = [];
      for (let from = 0; from < chunks.length; from += batchSize) {
        const documents = chunks.slice(from, from + batchSize);
        const embeddings = await abortable(embed(documents, { signal }), signal);
        const metadatas = documents.map((_, index) => ({
          ...metadata, file_name: name, chunk: from + index, chunks: chunks.length,
        }));
        const last = chunks.length <= batchSize;
        const transactionId = last ? upload : `${upload}-${from / batchSize}`;
        const part = last ? label : `${label} (${from / batchSize + 1} of ${Math.ceil(chunks.length / batchSize)})`;
        const records = { ids: documentIds.slice(from, from + batchSize), embeddings, documents, metadatas };
        transactions.push(await this.upsert(collection, records, { ...options, signal, transactionId, label: part }));
      }
      return { transactionId: upload, documentIds, transactions };
    } finally {
      done();
    }
  }

  // ---- transactions

  /** Returns the transaction as the edge shows it now. */
  async getTransaction(id, options = {}) {
    const { data } = await this.request("GET", `/transaction/safety/transaction/${encodeURIComponent(checkedId(id))}`, options);
    return data;
  }

  /** Returns what the edge reports about its transactions as a whole. */
  async status(options = {}) {
    return (await this.request("GET", "/transaction/safety/status", options)).data;
  }

  /** Waits until the transaction is final. Throws if it was rejected or given up, or after `timeout`. */
  async pollForTransactionCompletion(id, options = {}) {
    const { signal, done } = joined([options.signal, this.#closed.signal]);
    try {
      const deadline = this.#clock.now() + (options.timeout ?? this.#options.recoveryTimeout);
      const operation = { id, asking: new Headers(this.#options.headers) };
      const settled = await this.#settled(checkedId(id), operation, signal, deadline);
      const { transaction } = settled;
      if (settled.missing) throw new UnknownTransactionError("the edge knows no such transaction", { transactionId: id, status: 404 });
      if (!transaction) throw new TimingGapError("the transaction is not finished yet; the edge will finish it", { transactionId: id });
      const outcome = transaction.status === "ABANDONED" ? { transaction, abandoned: true } : settledOutcome(id, transaction);
      const error = errorOf(operation, outcome);
      this.#ended(id, outcome, error);
      if (error) throw error;
      return transaction;
    } finally {
      done();
    }
  }

  isTimingGapError(error) {
    return isTimingGapError(error);
  }

  /**
   * Yields the messages of a session (by default this client's) or of one transaction, and reconnects after a lost
   * connection.
   */
  async *events({ session, transaction, lastEventId = null, signal: outer } = {}) {
    const { signal, done } = joined([outer, this.#closed.signal]);
    const query = transaction ? `transaction=${encodeURIComponent(transaction)}` : `client=${encodeURIComponent(session ?? this.session)}`;
    let failures = 0;
    let known = lastEventId;
    try {
      for (;;) {
        let answer = null;
        try {
          const headers = new Headers({ ...this.#options.headers, accept: "text/event-stream" });
          if (known !== null) headers.set("last-event-id", known);
          answer = await this.#fetch(`${this.#base}/transaction/safety/events?${query}`, { headers, signal });
          if (answer.ok) {
            for await (const { id, event, data } of messagesOf(answer.body)) {
              failures = 0;
              known = id ?? known;
              const content = JSON.parse(data);
              yield { ...content, event, lastEventId: known };
              if (transaction && FINAL.has(content.status)) return;
            }
          } else if (!TRANSIENT.has(answer.status) && answer.status < 500) {
            const read = await readAnswer(answer);
            throw refused(transaction ?? null, read);
          }
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof TransactionError || error instanceof SyntaxError) throw error;
        }
        await this.#sleep(this.#backoff(failures++, answer?.ok ? null : answer), signal);
      }
    } finally {
      done();
    }
  }

  /**
   * Reports transactions of this session that other pages or processes started, through `on`. Returns a function that ends
   * it. A failure that retries cannot fix is an event "error".
   */
  watch(options = {}) {
    const stop = new AbortController();
    const run = async () => {
      for await (const message of this.events({ ...options, signal: stop.signal })) {
        const transactionId = message.client_transaction_id ?? message.transaction_id;
        const own = this.#own.get(transactionId);
        // The client itself reports what it waits for or has reported.
        if (!transactionId || (own && own.state !== "pending")) continue;
        if (own && message.event === "transaction:timing_gap") continue;
        if (own) own.state = "ended";
        const type = message.event === "transaction:abandoned" ? "transaction:failed" : message.event;
        const { method, path, operation_type: operation, failure_reason: reason, response_status: status } = message;
        const error = type === "transaction:failed" ? abandoned(transactionId, message) : undefined;
        const about = own?.about ?? { transactionId, operation, label: operation, method, path };
        this.#emit(type, { ...about, status, reason, error, remote: true });
      }
    };
    run().catch((error) => {
      if (!stop.signal.aborted && !this.#closed.signal.aborted) this.#emit("error", { error });
    });
    return () => stop.abort();
  }

  // ---- the official client

  /** Returns a `fetch` that gives writes to this edge ids and safe retries. Other requests go to `inner` unchanged. */
  wrapFetch(inner = this.#fetch) {
    const wrapped = async (input, init) => {
      if (!wrapped.active) return inner(input, init);
      const method = (init?.method ?? (input instanceof Request ? input.method : "GET")).toUpperCase();
      const path = this.#pathOf(input instanceof Request ? input.url : String(input));
      if (path === null || !path.startsWith("/api/") || isRead(method, path)) return inner(input, init);
      return this.#wrapped(inner, new Request(input, init), path);
    };
    wrapped.active = true;
    wrapped[INNER] = inner;
    wrapped[SCOPE] = this.#base;
    return wrapped;
  }

  async #wrapped(inner, request, path) {
    const headers = new Headers(request.headers);
    const body = await request.arrayBuffer();
    // With a new body, a request whose own body is used can be sent again, with everything else unchanged.
    const fields = request.bodyUsed ? { headers, body } : { headers };
    const options = { signal: request.signal, transactionId: headers.get("transaction-id") ?? undefined };
    const content = () => new TextDecoder("latin1").decode(body);
    const operation = this.#begin(request.method, path, headers, options, content);
    operation.send = (signal) => inner(new Request(request, { ...fields, signal }));
    const outcome = await this.#told(operation, options);
    if (outcome.noAnswer) throw Object.assign(outcome.noAnswer, { transactionId: operation.id });
    return asResponse(operation, outcome);
  }

  /** Returns the path below the edge's URL, or null if the URL is elsewhere. */
  #pathOf(url) {
    let whole;
    try {
      whole = new URL(url, globalThis.location?.href).href;
    } catch {
      return null;
    }
    const rest = whole.startsWith(this.#base) ? whole.slice(this.#base.length) : "";
    return rest.startsWith("/") ? rest : null;
  }

  // ---- one operation, from its id to its outcome

  #begin(method, path, headers, options, content) {
    const read = options.read ?? isRead(method, path);
    const key = () => sha256(`${method.toUpperCase()} ${path}\n${content()}`);
    const id = read ? null : checkedId(options.transactionId ?? this.#unfinishedId(key) ?? uuid());
    if (id !== null) {
      headers.set("transaction-id", id);
      if (!headers.has("x-client-session")) headers.set("x-client-session", this.session);
    }
    const operation = operationOf(method, path);
    const asking = new Headers(headers);
    ["content-type", "content-length", "transaction-id"].forEach((name) => asking.delete(name));
    const about = { transactionId: id, operation, label: options.label ?? operation, method: method.toUpperCase(), path };
    if (id !== null) this.#own.set(id, { about, state: "running" });
    if (this.#own.size > REMEMBERED_IDS) this.#own.delete(this.#own.keys().next().value);
    return { id, about, asking, key, send: null };
  }

  #unfinishedId(key) {
    if (this.#unfinished.size === 0) return undefined;
    const known = this.#unfinished.get(key());
    return known && this.#clock.now() < known.until ? known.id : undefined;
  }

  #note({ id, key }, finished) {
    if (id === null || (finished && this.#unfinished.size === 0)) return;
    const content = key();
    const known = this.#unfinished.get(content);
    if (finished && known?.id !== id) return;
    this.#unfinished.delete(content);
    if (!finished) this.#unfinished.set(content, { id, until: this.#clock.now() + UNFINISHED_MS });
    if (this.#unfinished.size > UNFINISHED) this.#unfinished.delete(this.#unfinished.keys().next().value);
  }

  /** Executes the operation and reports its events. */
  async #told(operation, options) {
    const { id, about } = operation;
    const tell = (type, more) => id !== null && this.#emit(type, { ...about, ...more });
    const { signal, done } = joined([options.signal, this.#closed.signal]);
    tell("transaction:started");
    let finished = false;
    try {
      const outcome = await this.#carriedOut(operation, { ...this.#options, ...given(options) }, signal, tell);
      finished = !outcome.noAnswer && !outcome.pending && (outcome.abandoned || !TRANSIENT.has(outcome.answer.status));
      this.#ended(id, outcome, errorOf(operation, outcome));
      return outcome;
    } catch (error) {
      if (this.#own.has(id)) this.#own.get(id).state = "ended";
      tell("transaction:failed", { error, reason: signal.aborted ? "aborted" : String(error?.message ?? error) });
      throw error;
    } finally {
      // Also if it was aborted: the edge may have the write.
      this.#note(operation, finished);
      done();
    }
  }

  /** Reports how an operation of this client ended. If it is still pending, that has been reported. */
  #ended(id, outcome, error) {
    const own = this.#own.get(id);
    if (!own || own.state === "ended") return;
    own.state = error instanceof TimingGapError ? "pending" : "ended";
    if (own.state === "pending") return;
    if (error) this.#emit("transaction:failed", { ...own.about, error, status: error.status, reason: error.reason ?? error.message });
    else this.#emit(outcome.recovered ? "transaction:recovered" : "transaction:completed", { ...own.about, status: outcome.answer.status });
  }

  /** Returns `{answer}`, with `recovered`, `transaction`, `pending` or `abandoned` where they apply, or `{noAnswer}`. */
  async #carriedOut(operation, options, signal, tell) {
    let retries = 0;
    let first = null;
    let deadline = null;
    for (;;) {
      let answer = null;
      try {
        answer = await this.#exchange(operation.send, signal, options.requestTimeout);
      } catch (error) {
        signal.throwIfAborted();
        if (retries >= options.maxRetries) return { noAnswer: error };
      }
      const verdict = answer === null ? "transient" : verdictOf(answer);
      if (verdict === "definite") return { answer, transaction: first, recovered: first?.status === "RECOVERED" };
      const write = operation.id !== null;
      if (write && verdict !== "transient") {
        const gap = verdict !== "running";
        if (gap) tell("transaction:timing_gap", { recovery: verdict });
        if (!options.waitForRecovery) return { answer, pending: true };
        deadline ??= this.#clock.now() + options.recoveryTimeout;
        const id = answer.json?.transaction_id ?? answer.headers.get("transaction-id") ?? operation.id;
        const settled = await this.#settled(id, operation, signal, deadline);
        if (settled.expired) return { answer, pending: true };
        if (settled.transaction?.status === "ABANDONED") return { answer, transaction: settled.transaction, abandoned: true };
        if (settled.transaction && gap) return settledOutcome(operation.id, settled.transaction);
        if (settled.missing && verdict === "pending") return { answer, lost: true };
        // Its outcome is stored now, and the same id gets it. Only once: an edge that still says "running" is retried like
        // any other.
        if (settled.transaction && !first) {
          first = settled.transaction;
          continue;
        }
      }
      if (retries >= options.maxRetries) return { answer };
      const delay = this.#backoff(retries++, answer, options);
      tell("transaction:retry", { attempt: retries, delay, status: answer?.status ?? null });
      await this.#sleep(delay, signal);
    }
  }

  /**
   * Waits at the edge until the transaction is final. Returns `{transaction}`, `{missing}` or `{expired}`. Asks with the
   * operation's own headers, which may contain credentials.
   */
  async #settled(id, operation, signal, deadline) {
    let failures = 0;
    for (;;) {
      const began = this.#clock.now();
      const left = deadline - began;
      if (left <= 0) return { expired: true };
      const wait = Math.min(LONGEST_WAIT_SECONDS, Math.max(1, Math.ceil(left / 1000)));
      const url = `${this.#base}/transaction/safety/transaction/${encodeURIComponent(id)}?wait=${wait}`;
      let answer = null;
      try {
        const send = (signal) => this.#fetch(url, { headers: operation.asking, signal });
        answer = await this.#exchange(send, signal, Math.min(left, wait * 1000 + WAIT_SLACK_MS));
      } catch {
        signal.throwIfAborted();
      }
      // An unknown path has no such body. In that case there is no edge, or one that is too old for this request.
      if (answer?.status === 404 && answer.json?.error) return { missing: true };
      if (answer?.status === 200 && FINAL.has(answer.json?.status)) return { transaction: answer.json };
      if (answer !== null && answer.status >= 400 && answer.status < 500 && answer.status !== 429) throw refused(operation.id, answer);
      // An edge that has waited as requested is asked again at once. Any other gets a pause.
      const waited = answer?.status === 200 && this.#clock.now() - began >= wait * 500;
      if (waited) failures = 0;
      else await this.#sleep(Math.min(this.#backoff(failures++, answer), Math.max(0, deadline - this.#clock.now())), signal);
    }
  }

  /** Sends one request, and returns its complete answer. */
  async #exchange(send, signal, timeout) {
    signal.throwIfAborted();
    const attempt = new AbortController();
    const forward = () => attempt.abort(signal.reason);
    signal.addEventListener("abort", forward, { once: true });
    const late = () => attempt.abort(new DOMException("no answer in time", "TimeoutError"));
    const timer = this.#clock.setTimer(late, timeout);
    try {
      return await abortable(send(attempt.signal).then(readAnswer), attempt.signal);
    } finally {
      this.#clock.clearTimer(timer);
      signal.removeEventListener("abort", forward);
    }
  }

  /** Full jitter: a random delay up to a bound that doubles, after the delay that the edge asks for. */
  #backoff(retry, answer, { initialRetryDelay, maxRetryDelay } = this.#options) {
    const bound = Math.min(maxRetryDelay, initialRetryDelay * 2 ** retry);
    return Math.min(maxRetryDelay, retryAfter(answer)) + this.#random() * bound;
  }

  #sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const abort = () => {
        this.#clock.clearTimer(timer);
        reject(signal.reason);
      };
      const timer = this.#clock.setTimer(() => {
        signal.removeEventListener("abort", abort);
        resolve();
      }, ms);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  #place({ tenant = this.#options.tenant, database = this.#options.database } = {}) {
    return `/api/v2/tenants/${encodeURIComponent(tenant)}/databases/${encodeURIComponent(database)}`;
  }

  /** By name or id: the edge accepts both. */
  #collection(collection, options) {
    const name = typeof collection === "string" ? collection : collection.id;
    return `${this.#place(options)}/collections/${encodeURIComponent(name)}`;
  }
}

/** Returns the options of one call that override the client's. */
function given({ waitForRecovery, maxRetries, initialRetryDelay, maxRetryDelay, requestTimeout, recoveryTimeout }) {
  const all = { waitForRecovery, maxRetries, initialRetryDelay, maxRetryDelay, requestTimeout, recoveryTimeout };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/**
 * Combines several signals into one, with a function that detaches from them: a long-lived one must not collect listeners.
 */
function joined(signals) {
  const controller = new AbortController();
  const undo = [];
  for (const signal of signals.filter(Boolean)) {
    const forward = () => controller.abort(signal.reason);
    if (signal.aborted) forward();
    signal.addEventListener("abort", forward, { once: true });
    undo.push(() => signal.removeEventListener("abort", forward));
  }
  return { signal: controller.signal, done: () => undo.forEach((one) => one()) };
}

/** Returns the promise's result, or rejects with the signal's reason as soon as it is aborted. */
function abortable(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    Promise.resolve(promise).then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Reads the complete answer. An answer whose body is cut does not count. */
async function readAnswer(response) {
  const bytes = new Uint8Array(await response.arrayBuffer());
  let json = null;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // Not every answer is JSON.
  }
  return { status: response.status, statusText: response.statusText, headers: response.headers, bytes, json };
}

/** Returns the answer that the write would have had, from what the edge stored. */
function answerOf(transaction, id) {
  const headers = new Headers({ "content-type": "application/json", "idempotent-replayed": "true" });
  if (id !== null) headers.set("transaction-id", id);
  const json = transaction.response_data ?? {};
  const bytes = new TextEncoder().encode(JSON.stringify(json));
  return { status: transaction.response_status ?? 200, statusText: "", headers, bytes, json, made: true };
}

function settledOutcome(id, transaction) {
  return { answer: answerOf(transaction, id), transaction, recovered: transaction.status === "RECOVERED" };
}

function refused(transactionId, answer, transaction = null) {
  const { error, message, reason } = answer.json ?? {};
  const text = message ?? error ?? `the edge answered ${answer.status}`;
  return new TransactionError(text, { transactionId, status: answer.status, reason: reason ?? error ?? null, body: answer.json, transaction });
}

function abandoned(transactionId, transaction) {
  const reason = transaction.failure_reason ?? "no reason was given";
  const details = { transactionId, status: transaction.response_status ?? null, reason, body: transaction.response_data ?? null, transaction };
  return new TransactionAbandonedError(`the transaction was abandoned: ${reason}`, details);
}

/** Returns the error that an outcome stands for, if it stands for one. */
function errorOf({ id }, outcome) {
  const { answer, transaction } = outcome;
  if (outcome.noAnswer) {
    return new NoAnswerError("the edge did not answer", { transactionId: id, cause: outcome.noAnswer, reason: "no_answer" });
  }
  if (outcome.abandoned) return abandoned(id, transaction);
  if (outcome.lost) return new UnknownTransactionError("the edge no longer knows the transaction", { transactionId: id, status: 404 });
  if (outcome.pending) {
    const details = { transactionId: id, status: answer.status, reason: answer.json?.reason ?? null, body: answer.json };
    return new TimingGapError("the edge holds the write and will finish it", { ...details, recovery: answer.json?.recovery });
  }
  return answer.status >= 400 ? refused(id, answer, transaction) : null;
}

function asResult(operation, outcome) {
  const error = errorOf(operation, outcome);
  if (error) throw error;
  const { answer, transaction = null, recovered = false } = outcome;
  const replayed = answer.headers.get("idempotent-replayed") === "true" && !answer.made;
  return { status: answer.status, data: answer.json, transactionId: operation.id, recovered, replayed, transaction };
}

function asResponse(operation, outcome) {
  let { answer } = outcome;
  if (outcome.abandoned || outcome.lost) {
    const error = errorOf(operation, outcome);
    const status = error.status >= 400 && error.status <= 599 && !outcome.lost ? error.status : 500;
    const json = { error: "InternalError", message: error.message, reason: outcome.lost ? "unknown_transaction" : "abandoned", transaction_id: operation.id };
    answer = answerOf({ response_status: status, response_data: json }, operation.id);
  }
  const body = [204, 205, 304].includes(answer.status) ? null : answer.bytes;
  return new Response(body, { status: answer.status, statusText: answer.statusText, headers: answer.headers });
}

function plain(embeddings) {
  return embeddings?.map?.((one) => (ArrayBuffer.isView(one) ? Array.from(one) : one)) ?? embeddings;
}

/** Returns the fetch below every wrapper for this edge: a client's own requests already have ids and retries. */
function unwrapped(fetch, base) {
  let inner = fetch;
  while (inner?.[SCOPE] === base) inner = inner[INNER];
  if (typeof inner !== "function") throw new TypeError("there is no fetch here; give one as an option");
  return (...all) => inner.call(globalThis, ...all);
}

/**
 * Adds safe writes to everything that calls the global `fetch`, including the official `chromadb` client, for the client's
 * edge only. Returns a function that undoes it.
 */
export function installSafeFetch(client, target = globalThis) {
  const before = target.fetch;
  for (let one = before; one; one = one[INNER]) {
    if (one[SCOPE] === client.baseUrl && one.active) throw new Error(`safe writes to ${client.baseUrl} are installed already`);
  }
  const wrapped = client.wrapFetch(Object.assign((...all) => before.call(target, ...all), { [INNER]: before }));
  target.fetch = wrapped;
  return () => {
    wrapped.active = false;
    if (target.fetch === wrapped) target.fetch = before;
  };
}

// ----------------------------------------------------------------------------------------------------------- the UI

const STATES = {
  "transaction:started": ["running", "running"],
  "transaction:retry": ["running", "no answer yet, trying again"],
  "transaction:timing_gap": ["waiting", "saved, waiting for the database"],
  "transaction:completed": ["completed", "done"],
  "transaction:recovered": ["recovered", "done after a delay"],
  "transaction:failed": ["failed", "failed"],
};
const ENDED = new Set(["completed", "recovered", "failed"]);

/**
 * A list of the client's operations in the element with that id: running, waiting, recovered and failed. A live region
 * announces them. Arrow keys, Home and End move, Delete removes an ended entry. Text only, without styles of its own: pages
 * can style `[data-state]` of an entry.
 */
export class TransactionSafetyUI {
  #entries = new Map();
  #undo = [];
  #root;
  #list;
  #live;
  #clear;
  #limit;

  constructor(client, elementId, { label = "Saving", maxEntries = 50 } = {}) {
    const place = typeof elementId === "string" ? document.getElementById(elementId) : elementId;
    if (!place) throw new Error(`no element with the id ${elementId}`);
    this.#limit = maxEntries;
    const make = (tag, attributes, text = "") => {
      const element = place.ownerDocument.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      element.textContent = text;
      return element;
    };
    this.make = make;
    this.#root = make("section", { class: "chroma-edge-transactions", "aria-label": label });
    // role=list: some screen readers drop the role of a list that is styled without bullets.
    this.#list = make("ul", { role: "list", "aria-label": label });
    this.#live = make("p", { role: "status", "aria-live": "polite", "aria-atomic": "true" });
    this.#clear = make("button", { type: "button", hidden: "" }, "Clear finished");
    this.#clear.addEventListener("click", () => this.clearFinished());
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#root.append(this.#live, this.#list, this.#clear);
    place.append(this.#root);
    for (const type of Object.keys(STATES)) this.#undo.push(client.on(type, (event) => this.#show(event)));
  }

  /** Removes the list from the page and stops listening. */
  destroy() {
    this.#undo.forEach((undo) => undo());
    this.#root.remove();
    this.#entries.clear();
  }

  /** Removes every entry that has ended. */
  clearFinished() {
    const focused = this.#root.contains(this.#root.ownerDocument.activeElement);
    for (const [id, entry] of [...this.#entries]) if (ENDED.has(entry.dataset.state)) this.#remove(id);
    if (focused) this.#focus(this.#list.firstElementChild);
  }

  #show({ type, transactionId, label, reason, error, recovery }) {
    const [state, usual] = STATES[type];
    const words = recovery === "unknown" ? "waiting to hear whether it is saved" : usual;
    const entry = this.#entries.get(transactionId) ?? this.#add(transactionId, label);
    entry.dataset.state = state;
    const why = error?.transaction?.failure_reason ?? error?.message ?? reason;
    const text = state === "failed" && why ? `${words}: ${why}` : words;
    entry.querySelector(".chroma-edge-state").textContent = text;
    entry.querySelector("button").hidden = !ENDED.has(state);
    entry.setAttribute("aria-busy", String(!ENDED.has(state)));
    if (type !== "transaction:retry") this.#live.textContent = `${entry.dataset.label}: ${text}`;
    this.#trim();
    this.#clear.hidden = ![...this.#entries.values()].some((one) => ENDED.has(one.dataset.state));
  }

  #add(id, label) {
    const entry = this.make("li", { tabindex: this.#entries.size ? "-1" : "0", class: "chroma-edge-transaction" });
    entry.dataset.label = label;
    entry.dataset.transactionId = id;
    const dismiss = this.make("button", { type: "button", "aria-label": `Dismiss ${label}`, hidden: "" }, "Dismiss");
    dismiss.addEventListener("click", () => this.#dismiss(entry));
    entry.append(
      this.make("span", { class: "chroma-edge-label" }, label), " ",
      this.make("span", { class: "chroma-edge-state" }), " ", dismiss,
    );
    this.#entries.set(id, entry);
    this.#list.append(entry);
    return entry;
  }

  #trim() {
    for (const [id, entry] of this.#entries) {
      if (this.#entries.size <= this.#limit) return;
      if (ENDED.has(entry.dataset.state)) this.#remove(id);
    }
  }

  #remove(id) {
    const entry = this.#entries.get(id);
    const wasStop = entry.tabIndex === 0;
    const next = entry.nextElementSibling ?? entry.previousElementSibling;
    entry.remove();
    this.#entries.delete(id);
    if (wasStop && next) next.tabIndex = 0;
    this.#clear.hidden = ![...this.#entries.values()].some((one) => ENDED.has(one.dataset.state));
  }

  #dismiss(entry) {
    const next = entry.nextElementSibling ?? entry.previousElementSibling;
    this.#remove(entry.dataset.transactionId);
    this.#focus(next);
  }

  #focus(entry) {
    if (!entry) {
      this.#root.tabIndex = -1;
      this.#root.focus();
      return;
    }
    for (const one of this.#list.children) one.tabIndex = one === entry ? 0 : -1;
    entry.focus();
  }

  #key(event) {
    const entry = event.target.closest("li");
    if (!entry) return;
    const moves = {
      ArrowDown: entry.nextElementSibling,
      ArrowUp: entry.previousElementSibling,
      Home: this.#list.firstElementChild,
      End: this.#list.lastElementChild,
    };
    if (event.key in moves) {
      event.preventDefault();
      if (moves[event.key]) this.#focus(moves[event.key]);
    } else if (event.key === "Delete" && ENDED.has(entry.dataset.state)) {
      event.preventDefault();
      this.#dismiss(entry);
    }
  }
}
