// The JS library and the official client under its fetch, against a real edge whose instances are all down for a while.
//
//   node safety.mjs [URL]         the edge's URL, or CHROMA_EDGE_URL; NODE_PATH or CHROMA_JS leads to the official client
//
// In step with what drives it, by lines: says `kill`, and reads a line when every instance is down; says
// `timing_gap ID` for each write that the edge holds, then `restart`; says `recovered ID` for each as the instances come
// back, and `exactly one copy` at the end. Exits non-zero on the first surprise.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

import { TransactionSafetyClient, installSafeFetch } from "../../clients/js/chroma-edge-client.js";

const url = process.argv[2] ?? process.env.CHROMA_EDGE_URL;
const { ChromaClient } = createRequire(process.env.CHROMA_JS ?? import.meta.url)("chromadb");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => console.log(line);
const heard = async () => assert.equal((await lines.next()).done, false, "whoever drives this is gone");

const session = `safety-js-${process.pid}-${Date.now()}`;
const client = new TransactionSafetyClient(url, {
  session, initialRetryDelay: 100, maxRetryDelay: 1000, recoveryTimeout: 120_000,
  embed: (documents) => documents.map((text) => [text.length, 1, 0.5]),
});
const place = "/api/v2/tenants/default_tenant/databases/default_database/collections";

async function all(collection) {
  const body = { include: ["documents", "metadatas"] };
  return (await client.request("POST", `${place}/${collection.id}/get`, { body, maxRetries: 20 })).data;
}

async function main() {
  const { data: collection } = await client.createCollection(`safety_${process.pid}_${Date.now()}`);
  const undo = installSafeFetch(client);
  const { hostname, port } = new URL(url);
  const official = new ChromaClient({ host: hostname, port: Number(port), ssl: false, tenant: "default_tenant", database: "default_database" });
  const same = await official.getCollection({ name: collection.name, embeddingFunction: null });
  await same.add({ ids: ["before"], embeddings: [[1, 2, 3]] });
  let writes = 2;

  say("kill");
  await heard();
  const gaps = new Set();
  const recovered = new Set();
  const held = new Promise((resolve) => {
    client.on("transaction:timing_gap", ({ transactionId }) => {
      say(`timing_gap ${transactionId}`);
      gaps.add(transactionId);
      if (gaps.size === 3) resolve();
    });
  });
  client.on("transaction:recovered", ({ transactionId }) => {
    say(`recovered ${transactionId}`);
    recovered.add(transactionId);
  });
  const record = { ids: ["own"], embeddings: [[4, 5, 6]], documents: ["own"] };
  const own = client.add(collection.id, record, { transactionId: `${session}-own` });
  const upload = client.uploadFileWithSafety({ name: "gap.txt", text: async () => "written in the gap" }, collection.name);
  const under = same.add({ ids: ["official"], embeddings: [[7, 8, 9]], documents: ["official"] });
  writes += 3;
  await Promise.race([held, Promise.all([own, upload, under])]);
  assert.equal(gaps.size, 3, "every write met a timing gap");
  assert.ok((await client.getTransaction(`${session}-own`)).is_timing_gap_failure);
  const messages = [];
  const reading = (async () => {
    for await (const { event } of client.events({ transaction: `${session}-own` })) messages.push(event);
  })();
  say("restart");

  const [result, uploaded] = await Promise.all([own, upload, under, reading]);
  assert.ok(result.recovered);
  assert.equal(result.status, 201);
  assert.ok(uploaded.transactions[0].recovered);
  assert.deepEqual([...recovered].sort(), [...gaps].sort());
  assert.deepEqual(messages, ["transaction:timing_gap", "transaction:recovered"]);
  undo();

  const again = await client.add(collection.id, record, { transactionId: `${session}-own` });
  assert.deepEqual([again.replayed, again.status], [true, 201]);
  await assert.rejects(client.add(collection.id, { ...record, ids: ["x"] }, { transactionId: `${session}-own` }), { status: 422 });
  const transaction = await client.pollForTransactionCompletion(`${session}-own`);
  assert.equal(transaction.status, "RECOVERED");
  assert.equal((await client.pollForTransactionCompletion(transaction.transaction_id)).client_transaction_id, `${session}-own`);

  const found = await all(collection);
  assert.deepEqual([...found.ids].sort(), ["before", "official", "own", uploaded.documentIds[0]].sort());
  assert.equal(found.documents[found.ids.indexOf(uploaded.documentIds[0])], "written in the gap");
  const { data: trail } = await client.request("GET", `/transaction/safety/transactions?session=${session}`);
  assert.equal(trail.total, writes, "as many transactions as writes");
  assert.deepEqual([trail.counts.COMPLETED, trail.counts.RECOVERED], [2, 3]);
  assert.equal(trail.transactions.length, writes);
  client.close();
  say("exactly one copy");
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
