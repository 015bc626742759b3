// Over real connections, against a double of the edge.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, beforeEach, test } from "node:test";

import { TransactionSafetyClient, installSafeFetch, isTimingGapError } from "../chroma-edge-client.js";
import { FakeEdge } from "../support/fake_edge.mjs";

const COLLECTION = "/api/v2/tenants/default_tenant/databases/default_database/collections/c";
const quick = { initialRetryDelay: 1, maxRetryDelay: 5 };
const record = { ids: ["a"], embeddings: [[1, 2]], documents: ["text"] };

let edge;
const open = [];

beforeEach(async () => {
  edge = await FakeEdge.start();
  open.push(edge);
});
after(() => Promise.all(open.map((one) => one.stop())));

function connect(options = {}) {
  const client = new TransactionSafetyClient(edge.url, { ...quick, ...options });
  const told = [];
  client.on("*", ({ type, transactionId }) => told.push(`${type.replace("transaction:", "")} ${transactionId}`));
  return { client, told };
}

for (const fault of ["lose", "lose after", "cut"]) {
  test(`a connection that is lost (${fault}): one success, one execution`, async () => {
    const { client, told } = connect();
    edge.script.push(fault);
    const result = await client.add("c", record, { transactionId: "mine" });
    assert.equal(result.replayed, fault !== "lose");
    assert.equal(edge.executed.length, 1);
    assert.deepEqual(edge.writes.map(({ headers }) => headers["transaction-id"]), ["mine", "mine"]);
    assert.deepEqual(told, ["started mine", "retry mine", "completed mine"]);
  });
}

test("all instances down: timing gap, then recovered, one copy", async () => {
  edge.up = false;
  const { client, told } = connect();
  const writing = client.add("c", record, { transactionId: "mine" });
  await edge.until(() => edge.polls.length === 1);
  assert.match(edge.polls[0].path, /\?wait=60$/);
  assert.deepEqual(told, ["started mine", "timing_gap mine"]);
  edge.recover();
  const result = await writing;
  assert.deepEqual([result.recovered, result.status, result.data], [true, 201, { done: true }]);
  assert.deepEqual(told, ["started mine", "timing_gap mine", "recovered mine"]);
  assert.equal(edge.executed.length, 1);
  assert.equal(edge.writes.length, 1);
});

test("the 503 itself is lost: the same id finds it running, waits, and gets the stored answer", async () => {
  edge.up = false;
  edge.script.push("lose after");
  const { client } = connect();
  const writing = client.add("c", record);
  await edge.until(() => edge.polls.length === 1);
  edge.recover();
  assert.equal((await writing).recovered, true);
  assert.equal(edge.executed.length, 1);
  assert.equal(edge.transactions.size, 1);
});

test("an application that repeats what had no outcome repeats the same write", async () => {
  const { client } = connect({ maxRetries: 0, waitForRecovery: false });
  edge.script.push("lose after");
  await assert.rejects(client.add("c", record), { name: "NoAnswerError" });
  assert.equal((await client.add("c", record)).replayed, true);
  edge.up = false;
  const other = { ...record, ids: ["b"] };
  for (let time = 0; time < 3; time++) await assert.rejects(client.add("c", other), { name: "TimingGapError" });
  edge.recover();
  assert.equal((await client.add("c", other)).replayed, true);
  assert.deepEqual([edge.executed.length, edge.transactions.size], [2, 2]);
  // Once it has its outcome, the same request is a new write.
  await client.add("c", other);
  assert.deepEqual([edge.executed.length, edge.transactions.size], [3, 3]);
});

test("what was withdrawn is sent again with the same id", async () => {
  const body = { error: "InternalError", message: "it was withdrawn", reason: "withdrawn" };
  edge.script.push({ status: 503, body, headers: { "retry-after": "0" } });
  const { client } = connect();
  await client.add("c", record);
  assert.equal(edge.executed.length, 1);
  assert.equal(new Set(edge.writes.map(({ headers }) => headers["transaction-id"])).size, 1);
});

test("the same id with another request is an error at once", async () => {
  const { client } = connect();
  await client.add("c", record, { transactionId: "mine" });
  const again = client.add("c", { ...record, ids: ["b"] }, { transactionId: "mine" });
  await assert.rejects(again, { status: 422, reason: "transaction_id_reused", transactionId: "mine" });
  assert.equal(edge.writes.length, 2);
  assert.equal(edge.executed.length, 1);
});

test("aborting lets the connection go, in a request and in a wait", async () => {
  for (const waits of [false, true]) {
    edge.requests.length = 0;
    edge.up = !waits;
    if (!waits) edge.script.push("hang");
    const { client } = connect();
    const controller = new AbortController();
    const writing = client.add("c", record, { signal: controller.signal });
    writing.catch(() => {});
    await edge.until(() => edge.requests.length === (waits ? 2 : 1));
    const asked = edge.requests.at(-1);
    controller.abort();
    await assert.rejects(writing, { name: "AbortError" });
    await edge.until(() => asked.closed);
  }
});

test("a file becomes documents, in transactions of a batch, and the same file the same documents", async () => {
  const text = Array.from({ length: 30 }, (_, n) => `Paragraph ${n}.`).join("\n\n");
  const file = new File([text], "notes.txt", { type: "text/plain" });
  const { client, told } = connect({ embed: (documents) => documents.map((one) => [one.length]), chunkSize: 40, batchSize: 5 });
  edge.script.push("pass", "lose after");
  const upload = await client.uploadFileWithSafety(file, "c", { author: "me" }, { transactionId: "up" });
  assert.equal(upload.documentIds.length, edge.documents.size);
  assert.equal([...edge.documents.values()].join(""), text);
  assert.equal(upload.transactions.length, Math.ceil(upload.documentIds.length / 5));
  assert.deepEqual([...edge.transactions.keys()], upload.transactions.map((_, part) => `up-${part}`));
  assert.equal(edge.executed.length, upload.transactions.length, "a lost answer stores nothing twice");
  const [metadata] = edge.executed[0].metadatas;
  assert.deepEqual(metadata, { author: "me", file_name: "notes.txt", chunk: 0, chunks: upload.documentIds.length });
  const again = await client.uploadFileWithSafety(file, "c");
  assert.deepEqual(again.documentIds, upload.documentIds);
  assert.equal(edge.documents.size, upload.documentIds.length);
  const other = await client.uploadFileWithSafety(new File([`${text}!`], "notes.txt"), "c");
  assert.notEqual(other.documentIds[0], upload.documentIds[0]);
  assert.ok(told.includes("completed up-0"));
});

test("an upload during a timing gap is stored once, and can be aborted while it embeds", async () => {
  edge.up = false;
  const { client, told } = connect({ embed: (documents) => documents.map(() => [1]) });
  const uploading = client.uploadFileWithSafety({ name: "a.txt", text: async () => "hello" }, "c", {}, { transactionId: "up" });
  await edge.until(() => edge.polls.length === 1);
  edge.recover();
  assert.equal((await uploading).transactions[0].recovered, true);
  assert.deepEqual(told, ["started up", "timing_gap up", "recovered up"]);
  assert.equal(edge.documents.size, 1);

  const controller = new AbortController();
  const stuck = client.uploadFileWithSafety("text", "c", {}, { embed: () => new Promise(() => {}), signal: controller.signal });
  controller.abort();
  await assert.rejects(stuck, { name: "AbortError" });
  await assert.rejects(new TransactionSafetyClient(edge.url).uploadFileWithSafety("text", "c"), TypeError);
  await assert.rejects(client.uploadFileWithSafety(" \n", "c"), TypeError);
});

test("a timing gap as an error, and polling for its completion", async () => {
  edge.up = false;
  const { client } = connect({ waitForRecovery: false });
  const error = await client.add("c", record).catch((error) => error);
  assert.ok(isTimingGapError(error));
  await assert.rejects(client.pollForTransactionCompletion(error.transactionId, { timeout: 20 }), isTimingGapError);
  const polled = client.pollForTransactionCompletion(error.transactionId);
  await edge.until(() => edge.polls.length === 2);
  edge.abandon("wrong dimension", 400);
  await assert.rejects(polled, { name: "TransactionAbandonedError", reason: "wrong dimension", transactionId: error.transactionId });
  await assert.rejects(client.pollForTransactionCompletion("absent"), { name: "UnknownTransactionError" });
  assert.equal((await client.getTransaction(error.transactionId)).status, "ABANDONED");
});

test("messages of one transaction: from its first to its last", async () => {
  edge.up = false;
  const { client } = connect({ waitForRecovery: false });
  await client.add("c", record, { transactionId: "mine" }).catch(() => {});
  const seen = [];
  for await (const { event } of client.events({ transaction: "mine" })) {
    seen.push(event);
    edge.recover();
  }
  assert.deepEqual(seen, ["transaction:timing_gap", "transaction:recovered"]);
});

test("messages of a session go on after a lost connection, from the last one seen", async () => {
  edge.cutEvents = true;
  const { client } = connect({ session: "s 1" });
  const seen = [];
  const reading = (async () => {
    for await (const { client_transaction_id, lastEventId } of client.events()) {
      seen.push(`${client_transaction_id} ${lastEventId}`);
      if (seen.length === 3) return;
    }
  })();
  await edge.until(() => edge.requests.length === 1);
  assert.equal(edge.requests[0].path, "/transaction/safety/events?client=s%201");
  for (const transactionId of ["one", "two", "three"]) await client.add("c", record, { transactionId });
  await reading;
  assert.deepEqual(seen, ["one 1", "two 2", "three 3"]);
  const streams = edge.requests.filter(({ path }) => path.startsWith("/transaction/safety/events"));
  assert.deepEqual(streams.map(({ headers }) => headers["last-event-id"]), [undefined, "1", "2"]);
  await edge.until(() => streams.at(-1).closed);
});

test("watching tells of other pages of the session, and of the own only once", async () => {
  const { client, told } = connect({ session: "shared" });
  const other = new TransactionSafetyClient(edge.url, { ...quick, session: "shared" });
  const stop = client.watch();
  await edge.until(() => edge.requests.length === 1);
  await client.add("c", record, { transactionId: "own" });
  edge.up = false;
  const elsewhere = other.add("c", record, { transactionId: "other" });
  const failed = new Promise((resolve) => client.on("transaction:failed", resolve));
  await edge.until(() => edge.polls.length === 1);
  edge.abandon("refused");
  await assert.rejects(elsewhere);
  assert.deepEqual([(await failed).transactionId, (await failed).reason], ["other", "refused"]);
  assert.deepEqual(told, ["started own", "completed own", "timing_gap other", "failed other"]);
  stop();
  await edge.until(() => edge.requests[0].closed);
});

test("a watched operation that this client no longer waits for is told of when it ends", async () => {
  const { client, told } = connect({ waitForRecovery: false });
  client.watch();
  await edge.until(() => edge.requests.length === 1);
  edge.up = false;
  await client.add("c", record, { transactionId: "mine" }).catch(() => {});
  const recovered = new Promise((resolve) => client.on("transaction:recovered", resolve));
  edge.recover();
  await recovered;
  assert.deepEqual(told, ["started mine", "timing_gap mine", "recovered mine"]);
  client.close();
  await edge.until(() => edge.requests[0].closed);
});

// ---- fetch

test("fetch: writes to the edge get ids and safe retries, all else passes untouched", async (context) => {
  const elsewhere = await FakeEdge.start();
  open.push(elsewhere);
  const { client, told } = connect();
  const before = globalThis.fetch;
  const undo = installSafeFetch(client);
  context.after(undo);
  assert.throws(() => installSafeFetch(client), /installed already/);
  edge.script.push("lose after");
  const request = new Request(`${edge.url}${COLLECTION}/add`, { method: "POST", body: JSON.stringify(record), headers: { "x-other": "1" } });
  const response = await fetch(request);
  assert.deepEqual([response.status, await response.json()], [201, { done: true }]);
  assert.equal(response.headers.get("idempotent-replayed"), "true");
  assert.equal(edge.executed.length, 1);
  assert.equal(new Set(edge.writes.map(({ headers }) => headers["transaction-id"])).size, 1);
  assert.ok(edge.writes.every(({ headers }) => headers["x-other"] === "1"));
  assert.equal(told.length, 3);

  edge.requests.length = 0;
  await (await fetch(new URL(`${edge.url}/api/v2/version`))).text();
  await (await fetch(`${edge.url}${COLLECTION}/query`, { method: "POST", body: "{}" })).text();
  await (await fetch(`${elsewhere.url}${COLLECTION}/add`, { method: "POST", body: "{}" })).text();
  await (await fetch(`${edge.url}/other`, { method: "POST", body: "{}" })).text();
  assert.ok([...edge.requests, ...elsewhere.requests].every(({ headers }) => headers["transaction-id"] === undefined));
  assert.equal(elsewhere.requests.length, 1);
  edge.script.push("lose");
  await assert.rejects(fetch(`${edge.url}/api/v2/version`), TypeError, "reads are not retried");
  await assert.rejects(fetch("/relative", { method: "POST" }), TypeError);

  await (await fetch(`${edge.url}${COLLECTION}`, { method: "DELETE", headers: { "Transaction-ID": "mine" } })).text();
  assert.equal(edge.writes.at(-1).headers["transaction-id"], "mine");
  edge.requests.length = 0;
  await client.add("c", record);
  assert.equal(edge.writes.length, 1, "the client's own requests are not wrapped twice");

  undo();
  assert.equal(globalThis.fetch, before);
  await (await fetch(`${edge.url}${COLLECTION}/add`, { method: "POST", body: "{}" })).text();
  assert.equal(edge.requests.at(-1).headers["transaction-id"], undefined);
});

test("fetch: a prefix of the host or path is not the edge", async () => {
  const asked = [];
  const inner = async (url, init) => (asked.push(new Headers(init?.headers ?? url.headers).get("transaction-id")), new Response("{}", { status: 201 }));
  const client = new TransactionSafetyClient("http://edge:80/db/", { fetch: inner });
  const safe = client.wrapFetch(inner);
  for (const url of ["http://edge/dbase/api/v2/reset", "http://edge.evil/db/api/v2/reset", "http://edge:8080/db/api/v2/reset", "https://edge/db/api/v2/reset", "http://edge/api/v2/reset"]) {
    await safe(url, { method: "POST" });
  }
  assert.deepEqual(asked.splice(0), [null, null, null, null, null]);
  await safe("HTTP://EDGE:80/db/api/v2/reset", { method: "post" });
  assert.ok(asked[0]);
});

test("fetch: a timing gap is waited for; abandoned is an error answer; aborting works; no answer is the error it was", async () => {
  const { client } = connect({ maxRetries: 1 });
  const safe = client.wrapFetch();
  const headers = { "x-chroma-token": "k" };
  const send = (init) => safe(`${edge.url}${COLLECTION}/add`, { method: "POST", body: JSON.stringify(record), headers, ...init });
  edge.up = false;
  const sent = send();
  await edge.until(() => edge.polls.length === 1);
  edge.recover();
  const response = await sent;
  assert.deepEqual([response.status, await response.json()], [201, { done: true }]);
  assert.equal(edge.executed.length, 1);
  assert.equal(edge.polls[0].headers["x-chroma-token"], "k", "the edge is asked as whom the write was");

  edge.up = false;
  const refused = send();
  await edge.until(() => edge.polls.length === 2);
  edge.abandon("wrong dimension", 400);
  const answer = await refused;
  assert.equal(answer.status, 400);
  assert.match((await answer.json()).message, /wrong dimension/);

  const controller = new AbortController();
  const aborted = send({ signal: controller.signal });
  aborted.catch(() => {});
  await edge.until(() => edge.polls.length === 3);
  controller.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  edge.script.push("lose", "lose");
  await assert.rejects(send(), (error) => error instanceof TypeError && typeof error.transactionId === "string");
});

// The official client, if it is installed: CHROMA_EDGE_CACHE is where scripts/setup.sh puts it.
let chromadb = null;
for (const from of [process.env.CHROMA_EDGE_CACHE && `${process.env.CHROMA_EDGE_CACHE}/js/`, import.meta.url].filter(Boolean)) {
  try {
    chromadb ??= createRequire(from)("chromadb");
  } catch {
    // Not there.
  }
}
const absent = "the official client is not here: npm install chromadb, or CHROMA_EDGE_CACHE of scripts/setup.sh";
test("the official client, without knowing it", { skip: chromadb ? false : absent }, async (context) => {
  const { client, told } = connect();
  const { hostname, port } = new URL(edge.url);
  const official = new chromadb.ChromaClient({ host: hostname, port: Number(port), ssl: false, tenant: "default_tenant", database: "default_database" });
  context.after(installSafeFetch(client));
  edge.script.push("lose after");
  const made = await official.createCollection({ name: "made", embeddingFunction: null });
  assert.equal(made.name, "made");
  assert.equal(edge.executed.length, 1);
  edge.up = false;
  edge.requests.length = 0;
  const adding = made.add(record);
  await edge.until(() => edge.polls.length === 1);
  edge.recover();
  await adding;
  assert.equal(edge.executed.length, 2);
  assert.deepEqual(told.map((one) => one.split(" ")[0]), ["started", "retry", "completed", "started", "timing_gap", "recovered"]);
  await assert.rejects(
    (edge.script.push({ status: 409, body: { error: "ChromaError", message: "exists" } }), official.createCollection({ name: "made", embeddingFunction: null })),
    chromadb.ChromaUniqueError,
  );
});
