// The official JS client with tokens: what it may do works, and what it may not raises the right exception.
// node auth.js URL, with the tokens in READER and SCOPED; the edge holds `things` and `other`, and the scoped token knows `things` alone.

const assert = require("node:assert/strict");
const { ChromaClient, ChromaForbiddenError, ChromaNotFoundError, ChromaUnauthorizedError } = require("chromadb");

const url = new URL(process.argv[2]);
const connect = (headers) => new ChromaClient({ host: url.hostname, port: Number(url.port), ssl: false, headers });
const named = (name) => ({ name, embeddingFunction: null });

async function main() {
  await assert.rejects(connect({}).listCollections(), ChromaUnauthorizedError);
  await assert.rejects(connect({ "X-Chroma-Token": "wrong" }).listCollections(), ChromaUnauthorizedError);
  for (const headers of [{ "X-Chroma-Token": process.env.READER }, { Authorization: `Bearer ${process.env.READER}` }]) {
    const reader = connect(headers);
    assert.deepEqual((await reader.listCollections()).map((one) => one.name).sort(), ["other", "things"]);
    const things = await reader.getOrCreateCollection(named("things"));
    assert.deepEqual((await things.get()).ids, ["a"]);
    await assert.rejects(things.add({ ids: ["b"], embeddings: [[1, 2, 3]] }), ChromaForbiddenError);
    await assert.rejects(reader.createCollection(named("new")), ChromaForbiddenError);
  }
  const scoped = connect({ "X-Chroma-Token": process.env.SCOPED });
  assert.deepEqual((await scoped.listCollections()).map((one) => one.name), ["things"]);
  await assert.rejects(scoped.getCollection(named("other")), ChromaNotFoundError);
  await (await scoped.getCollection(named("things"))).upsert({ ids: ["a"], embeddings: [[3, 2, 1]] });
  console.log("as expected");
}

main().catch((error) => { console.error(error); process.exit(1); });
