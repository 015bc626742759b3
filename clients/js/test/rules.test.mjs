// What is retried, how often, and after which delay: on a fake clock, without a network.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import {
  NoAnswerError, TimingGapError, TransactionAbandonedError, TransactionError, TransactionSafetyClient, UnknownTransactionError,
  isTimingGapError, sha256, splitText,
} from "../chroma-edge-client.js";
import { FakeClock, json, lost, never, scriptedFetch } from "../support/fake_clock.mjs";

const EDGE = "http://edge:8000";
const ADD = "/api/v2/tenants/t/databases/d/collections/c/add";
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function setUp(answers, options = {}) {
  const clock = new FakeClock();
  const { fetch, sent } = scriptedFetch(answers);
  const client = new TransactionSafetyClient(EDGE, { fetch, clock, random: () => 0.5, ...options });
  const told = [];
  client.on("*", (event) => told.push(event));
  const ids = () => new Set(sent.filter(({ method }) => method !== "GET").map(({ headers }) => headers.get("transaction-id")));
  return { client, clock, sent, told, ids, names: () => told.map(({ type }) => type.replace("transaction:", "")) };
}

const pending = (more = {}) => json(503, { error: "InternalError", message: "m", reason: "no_instance_available", transaction_id: "e-1", recovery: "pending", ...more }, { "retry-after": "5" });
const shown = (status, more = {}) => json(200, { transaction_id: "e-1", status, response_status: 201, response_data: { n: 1 }, ...more });

test("every attempt of an operation carries the same id, and another operation another", async () => {
  const { client, clock, sent, ids } = setUp([lost(), json(503, {}), json(502, {}), json(201, {})]);
  const { transactionId } = await clock.through(client.request("POST", ADD, { body: { ids: ["a"] } }));
  assert.equal(sent.length, 4);
  assert.deepEqual([...ids()], [transactionId]);
  assert.match(transactionId, UUID);
  assert.equal(new Set(sent.map(({ body }) => body)).size, 1);
  const other = await clock.through(client.request("POST", ADD, { body: {} }));
  assert.notEqual(other.transactionId, transactionId);
});

for (const [name, random] of [["the shortest", 0], ["the longest", 1 - 2 ** -20]]) {
  test(`attempts and delays are bounded: ${name} jitter`, async () => {
    const options = { maxRetries: 6, initialRetryDelay: 100, maxRetryDelay: 1000, random: () => random };
    const { client, clock, sent, ids } = setUp([lost()], options);
    const error = await clock.through(client.request("POST", ADD, { body: {} })).catch((error) => error);
    assert.ok(error instanceof NoAnswerError);
    assert.equal(error.transactionId, [...ids()][0]);
    assert.equal(sent.length, 7);
    const bounds = [100, 200, 400, 800, 1000, 1000];
    assert.deepEqual(clock.slept, bounds.map((bound) => bound * random));
    assert.equal(clock.timers.size, 0);
  });
}

test("Retry-After is waited for, up to the largest delay", async () => {
  const refusal = (seconds) => json(503, { reason: "memory_full" }, { "retry-after": String(seconds) });
  const options = { initialRetryDelay: 100, maxRetryDelay: 10_000 };
  const { client, clock } = setUp([refusal(3), refusal(3600), json(201, {})], options);
  await clock.through(client.request("POST", ADD, { body: {} }));
  assert.deepEqual(clock.slept, [3000 + 50, 10_000 + 100]);
});

for (const [status, body] of [
  [400, { error: "InvalidArgumentError", message: "no" }], [404, { error: "NotFoundError" }], [409, { error: "ChromaError", message: "exists" }],
  [422, { error: "InvalidArgumentError", reason: "transaction_id_reused" }], [500, { error: "InternalError" }], [501, {}],
]) {
  test(`${status} is an error at once`, async () => {
    const { client, clock, sent, names } = setUp([json(status, body)]);
    const error = await clock.through(client.request("POST", ADD, { body: {} })).catch((error) => error);
    assert.ok(error instanceof TransactionError);
    assert.equal(error.status, status);
    assert.equal(error.reason, body.reason ?? body.error ?? null);
    assert.deepEqual(error.body, body);
    assert.match(error.transactionId, UUID);
    assert.equal(sent.length, 1);
    assert.equal(isTimingGapError(error), false);
    assert.deepEqual(names(), ["started", "failed"]);
  });
}

test("reads carry no id, and are retried on what is transient", async () => {
  for (const [method, path] of [["GET", "/api/v2/version"], ["POST", ADD.replace("add", "query")], ["POST", ADD.replace("add", "get?x=1")]]) {
    const { client, clock, sent, told } = setUp([lost(), json(503, { recovery: "pending" }), json(200, [])]);
    const result = await clock.through(client.request(method, path));
    assert.equal(result.transactionId, null);
    assert.equal(sent.length, 3);
    assert.ok(sent.every(({ headers }) => !headers.has("transaction-id")));
    assert.deepEqual(told, []);
  }
});

test("a timing gap is waited for at the edge, and the write is not sent again", async () => {
  const waited = ({ url }) => {
    clock.time += 60_000;
    assert.equal(url, `${EDGE}/transaction/safety/transaction/e-1?wait=60`);
    return shown("FAILED");
  };
  const { client, clock, sent, names } = setUp([pending(), waited, waited, shown("RECOVERED")]);
  const result = await clock.through(client.request("POST", ADD, { body: {} }));
  assert.deepEqual([result.status, result.data, result.recovered, result.replayed], [201, { n: 1 }, true, false]);
  assert.deepEqual(sent.map(({ method }) => method), ["POST", "GET", "GET", "GET"]);
  assert.deepEqual(clock.slept, [], "no sleep of the client's own");
  assert.deepEqual(names(), ["started", "timing_gap", "recovered"]);
});

test("an edge that does not wait as asked is not asked in a loop, and not for ever", async () => {
  const options = { recoveryTimeout: 60_000, initialRetryDelay: 1000, maxRetryDelay: 8000 };
  const { client, clock, sent, names } = setUp([pending(), shown("FAILED")], options);
  const error = await clock.through(client.request("POST", ADD, { body: {} })).catch((error) => error);
  assert.ok(error instanceof TimingGapError);
  assert.ok(isTimingGapError(error) && client.isTimingGapError(error));
  assert.match(error.transactionId, UUID);
  assert.ok(sent.length < 25, `${sent.length} requests in a minute`);
  assert.equal(clock.time, 60_000);
  assert.deepEqual(names(), ["started", "timing_gap"], "pending is not failed");
});

test("an edge that is away while it is waited for is asked again", async () => {
  const { client, clock, sent } = setUp([pending(), lost(), json(503, { reason: "journal_unavailable" }), lost(), shown("RECOVERED")]);
  const result = await clock.through(client.request("POST", ADD, { body: {} }));
  assert.ok(result.recovered);
  assert.deepEqual(sent.map(({ method }) => method), ["POST", "GET", "GET", "GET", "GET"]);
});

test("a wait ends with the time for recovery, also when the edge is silent", async () => {
  const { client, clock } = setUp([pending(), never], { recoveryTimeout: 10_000 });
  await assert.rejects(clock.through(client.request("POST", ADD, { body: {} })), TimingGapError);
  assert.equal(clock.time, 10_000);
  assert.equal(clock.timers.size, 0);
});

test("without waiting, a timing gap is an error that can be waited for", async () => {
  const { client, clock, names } = setUp([pending(), shown("RECOVERED")], { waitForRecovery: false });
  const error = await clock.through(client.request("POST", ADD, { body: {} })).catch((error) => error);
  assert.ok(isTimingGapError(error));
  assert.equal(error.recovery, "pending");
  assert.deepEqual(names(), ["started", "timing_gap"]);
  const transaction = await clock.through(client.pollForTransactionCompletion(error.transactionId));
  assert.equal(transaction.status, "RECOVERED");
  assert.deepEqual(names(), ["started", "timing_gap", "recovered"]);
});

test("recovery unknown, and the edge knows nothing of it: again with the same id", async () => {
  const missing = json(404, { error: "no such transaction" });
  const { client, clock, sent, ids } = setUp([pending({ recovery: "unknown" }), missing, json(201, {})]);
  await clock.through(client.request("POST", ADD, { body: {} }));
  assert.deepEqual(sent.map(({ method }) => method), ["POST", "GET", "POST"]);
  assert.equal(ids().size, 1);
});

test("recovery pending, and the edge knows nothing of it: an error, not a second write", async () => {
  const { client, clock, sent } = setUp([pending(), json(404, { error: "no such transaction" })]);
  await assert.rejects(clock.through(client.request("POST", ADD, { body: {} })), UnknownTransactionError);
  assert.deepEqual(sent.map(({ method }) => method), ["POST", "GET"]);
});

test("a 404 that is not the edge's is not taken for its word", async () => {
  const { client, clock, sent } = setUp([pending({ recovery: "unknown" }), new Response("", { status: 404 })]);
  const error = await clock.through(client.request("POST", ADD, { body: {} })).catch((error) => error);
  assert.equal(error.status, 404);
  assert.deepEqual(sent.map(({ method }) => method), ["POST", "GET"]);
  assert.match(error.transactionId, UUID);
});

test("abandoned: an error with id and reason", async () => {
  const answers = [pending(), shown("ABANDONED", { failure_reason: "wrong dimension", response_status: 400 })];
  const { client, clock, names } = setUp(answers);
  const error = await clock.through(client.request("POST", ADD, { body: {} })).catch((error) => error);
  assert.ok(error instanceof TransactionAbandonedError);
  assert.deepEqual([error.reason, error.status], ["wrong dimension", 400]);
  assert.match(error.message, /wrong dimension/);
  assert.match(error.transactionId, UUID);
  assert.deepEqual(names(), ["started", "timing_gap", "failed"]);
  assert.equal(isTimingGapError(error), false);
});

test("still running: waited for, then the same id gets the stored answer", async () => {
  const running = json(409, { error: "ChromaError", reason: "transaction_running", transaction_id: "e-1" }, { "retry-after": "1" });
  const replay = json(201, { n: 1 }, { "idempotent-replayed": "true" });
  const { client, clock, sent, ids, names } = setUp([lost(), running, shown("COMPLETED"), replay], { maxRetries: 1 });
  const result = await clock.through(client.request("POST", ADD, { body: {} }));
  assert.deepEqual(sent.map(({ method }) => method), ["POST", "POST", "GET", "POST"]);
  assert.equal(ids().size, 1);
  assert.ok(result.replayed);
  assert.deepEqual(names(), ["started", "retry", "completed"]);
});

test("an edge that says running for ever is not asked for ever", async () => {
  const running = json(409, { reason: "transaction_running", transaction_id: "e-1" });
  const answers = [({ method }) => (method === "GET" ? shown("COMPLETED") : running)];
  const { client, clock, sent } = setUp(answers, { maxRetries: 2 });
  await assert.rejects(clock.through(client.request("POST", ADD, { body: {} })), { status: 409 });
  assert.equal(sent.filter(({ method }) => method === "POST").length, 4);
});

test("a request without an answer in time is sent again with the same id", async () => {
  const { client, clock, sent, ids } = setUp([never, json(201, {})], { requestTimeout: 1000 });
  await clock.through(client.request("POST", ADD, { body: {} }));
  assert.equal(sent.length, 2);
  assert.equal(ids().size, 1);
  assert.ok(sent[0].signal.aborted);
});

for (const [where, answers, options] of [
  ["in a request", [never], {}],
  ["between attempts", [lost()], { initialRetryDelay: 1e6, maxRetryDelay: 1e6 }],
  ["while the edge is waited for", [pending(), never], {}],
  ["between two waits", [pending(), lost()], { initialRetryDelay: 1e6, maxRetryDelay: 1e6 }],
]) {
  for (const way of ["abort", "close"]) {
    test(`${way} ${where} stops everything`, async () => {
      const { client, clock, sent, names } = setUp(answers, options);
      const controller = new AbortController();
      const operation = client.request("POST", ADD, { body: {}, signal: controller.signal });
      const outcome = operation.catch((error) => error);
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      assert.ok(clock.timers.size > 0);
      const before = sent.length;
      if (way === "abort") controller.abort();
      else client.close();
      assert.equal((await outcome).name, "AbortError");
      assert.equal(clock.timers.size, 0, "no timer is left");
      if (answers.at(-1) === never) assert.ok(sent.at(-1).signal.aborted, "the connection is let go");
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(sent.length, before);
      assert.equal(names().at(-1), "failed");
    });
  }
}

test("an aborted signal sends nothing", async () => {
  const { client, sent } = setUp([json(201, {})]);
  await assert.rejects(client.request("POST", ADD, { body: {}, signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.equal(sent.length, 0);
});

test("a handler's mistake is not the operation's", async (context) => {
  context.mock.method(console, "error", () => {});
  const { client, clock } = setUp([json(201, {})]);
  client.on("transaction:completed", () => {
    throw new Error("handler");
  });
  await clock.through(client.request("POST", ADD, { body: {} }));
  assert.equal(console.error.mock.callCount(), 1);
});

test("ids and options that cannot be are refused before anything is sent", async () => {
  const { client, sent } = setUp([json(201, {})]);
  for (const transactionId of ["", "a b", "é", "x".repeat(256), "..", "a\n"]) {
    await assert.rejects(client.request("POST", ADD, { body: {}, transactionId }), TypeError);
  }
  assert.equal(sent.length, 0);
  assert.throws(() => new TransactionSafetyClient(EDGE, { maxRetries: -1 }), RangeError);
  assert.throws(() => new TransactionSafetyClient("not a url"), TypeError);
});

test("add, upsert, update and delete send what Chroma expects, and embed what has no embedding", async () => {
  const embed = async (documents) => documents.map((text) => Float32Array.of(text.length, 0.5));
  const { client, clock, sent } = setUp([json(200, {})], { embed, session: "s-1", headers: { "x-chroma-token": "k" } });
  await clock.through(client.add("my docs/1", { ids: ["a"], documents: ["abc"] }));
  await clock.through(client.upsert({ id: "c-1" }, { ids: ["a"], embeddings: [[1, 2]] }, { tenant: "t2" }));
  await clock.through(client.update("c", { ids: ["a"], metadatas: [{ n: 1 }] }));
  await clock.through(client.delete("c", { ids: ["a"], whereDocument: { $contains: "x" } }));
  const place = "/api/v2/tenants/default_tenant/databases/default_database/collections";
  assert.deepEqual(sent.map(({ url }) => url.slice(EDGE.length)), [
    `${place}/my%20docs%2F1/add`, `${place.replace("default_tenant", "t2")}/c-1/upsert`, `${place}/c/update`, `${place}/c/delete`,
  ]);
  assert.deepEqual(JSON.parse(sent[0].body), { ids: ["a"], embeddings: [[3, 0.5]], documents: ["abc"] });
  assert.deepEqual(JSON.parse(sent[2].body), { ids: ["a"], metadatas: [{ n: 1 }] });
  assert.deepEqual(JSON.parse(sent[3].body), { ids: ["a"], where_document: { $contains: "x" } });
  for (const { headers } of sent) {
    assert.deepEqual([headers.get("x-client-session"), headers.get("x-chroma-token"), headers.get("content-type")], ["s-1", "k", "application/json"]);
  }
});

test("a watch that no retry can mend is an error for those who ask for errors, and no transaction", async () => {
  const { client, told } = setUp([json(401, { error: "AuthError", message: "m" })]);
  const { error } = await new Promise((resolve) => {
    client.on("error", resolve);
    client.watch();
  });
  assert.equal(error.status, 401);
  assert.deepEqual(told, []);
});

test("a digest is SHA-256", () => {
  for (const text of ["", "abc", "x".repeat(55), "x".repeat(56), "x".repeat(64), "ä€😀".repeat(999)]) {
    assert.equal(sha256(text), createHash("sha256").update(text).digest("hex"));
  }
});

test("text is split at paragraphs, lines, sentences and words, and nothing is lost", () => {
  assert.deepEqual(splitText("aaa bbb. ccc ddd\n\neee fff", 10), ["aaa bbb. ", "ccc ddd\n\n", "eee fff"]);
  for (const text of ["", "x".repeat(25), "😀".repeat(9), "a b\n".repeat(30), "word. ".repeat(20)]) {
    for (const size of [1, 2, 3, 10]) {
      const pieces = splitText(text, size);
      assert.equal(pieces.join(""), text);
      assert.ok(pieces.every((piece) => piece.length > 0 && piece.length <= size));
      if (size > 1) assert.ok(pieces.every((piece) => piece.isWellFormed?.() ?? true));
    }
  }
});
