// Every operation of the official JS client, with its results checked. Exits non-zero on the first surprise.
// node drop_in.js URL

const assert = require("node:assert/strict");
const { ChromaClient, AdminClient, ChromaNotFoundError } = require("chromadb");

const url = new URL(process.argv[2]);
const place = { host: url.hostname, port: Number(url.port), ssl: false };
const named = (name, more = {}) => ({ name, embeddingFunction: null, ...more });

async function system(client) {
  assert.ok((await client.heartbeat()) > 0);
  assert.equal(await client.version(), "1.0.0");
  assert.equal((await client.getUserIdentity()).tenant, "default_tenant");
  await assert.rejects(client.reset());
}

async function catalog(client) {
  const made = await client.createCollection(named("catalog", { metadata: { a: 1 } }));
  assert.equal((await client.getCollection(named("catalog"))).id, made.id);
  const again = await client.getOrCreateCollection(named("catalog", { metadata: { b: 2 } }));
  assert.deepEqual([again.id, again.metadata], [made.id, { a: 1 }]);
  await assert.rejects(client.createCollection(named("catalog")));
  await assert.rejects(client.getCollection(named("absent")), ChromaNotFoundError);
  await client.createCollection(named("second"));
  assert.deepEqual((await client.listCollections()).map((one) => one.name).sort(), ["catalog", "second"]);
  assert.equal((await client.listCollections({ limit: 1, offset: 1 })).length, 1);
  assert.equal(await client.countCollections(), 2);
  await made.modify({ name: "renamed", metadata: { c: 3 } });
  const found = await client.getCollection(named("renamed"));
  assert.deepEqual([found.id, found.metadata], [made.id, { c: 3 }]);
  await client.deleteCollection({ name: "renamed" });
  await client.deleteCollection({ name: "second" });
  await assert.rejects(client.deleteCollection({ name: "renamed" }), ChromaNotFoundError);
  await assert.rejects(made.count(), ChromaNotFoundError);
}

async function records(client) {
  const things = await client.createCollection(named("things"));
  const embeddings = [[1, 0, 0.5], [0, 1, 0.25], [0.1, 0.2, 0.3]];
  await things.add({
    ids: ["a", "b", "c"], embeddings, documents: ["red fox", "blue fox", "red hen"],
    metadatas: [{ n: 1 }, { n: 2 }, { n: 3 }], uris: ["u:a", "u:b", "u:c"],
  });
  assert.equal(await things.count(), 3);
  const all = await things.get({ include: ["embeddings", "documents", "metadatas", "uris"] });
  assert.deepEqual(all.ids, ["a", "b", "c"]);
  assert.deepEqual(all.embeddings.map((one) => one.map(Math.fround)), embeddings.map((one) => one.map(Math.fround)));
  assert.deepEqual([all.documents[2], all.uris[1], all.metadatas[0]], ["red hen", "u:b", { n: 1 }]);
  assert.deepEqual((await things.peek({ limit: 1 })).ids, ["a"]);
  assert.deepEqual((await things.get({ where: { n: { $gte: 2 } }, limit: 1, offset: 1 })).ids, ["c"]);
  const found = await things.query({ queryEmbeddings: [[1, 0, 0.5]], nResults: 2, whereDocument: { $contains: "red" } });
  assert.deepEqual(found.ids, [["a", "c"]]);
  await things.update({ ids: ["a"], metadatas: [{ t: "y" }], documents: ["new"], embeddings: [[7, 7, 7]] });
  await things.upsert({ ids: ["b", "d"], embeddings: [[5, 5, 5], [6, 6, 6]] });
  const now = await things.get({ ids: ["a", "b"], include: ["embeddings", "documents", "metadatas"] });
  assert.deepEqual(now.metadatas, [{ n: 1, t: "y" }, { n: 2 }]);
  assert.deepEqual([now.documents, now.embeddings[1]], [["new", "blue fox"], [5, 5, 5]]);
  await things.delete({ ids: ["d"] });
  await things.delete({ where: { n: { $gt: 2 } } });
  assert.deepEqual((await things.get()).ids, ["a", "b"]);
  await assert.rejects(things.add({ ids: ["w"], embeddings: [[1]] }));
  await client.deleteCollection({ name: "things" });
}

async function places() {
  const admin = new AdminClient(place);
  const tenant = `tenant-${process.pid}-${Date.now()}`;
  await admin.createTenant({ name: tenant });
  await admin.getTenant({ name: tenant });
  await assert.rejects(admin.getTenant({ name: "absent" }), ChromaNotFoundError);
  await admin.createDatabase({ name: "one", tenant });
  assert.equal((await admin.getDatabase({ name: "one", tenant })).name, "one");
  const scoped = new ChromaClient({ ...place, tenant, database: "one" });
  const made = await scoped.createCollection(named("same"));
  await made.add({ ids: ["x"], embeddings: [[1, 2]] });
  assert.equal(await made.count(), 1);
  assert.deepEqual((await admin.listDatabases({ tenant })).map((one) => one.name), ["one"]);
  await admin.deleteDatabase({ name: "one", tenant });
  await assert.rejects(made.count(), ChromaNotFoundError);
}

async function main() {
  const client = new ChromaClient({ ...place, tenant: "default_tenant", database: "default_database" });
  await system(client);
  await catalog(client);
  await records(client);
  await places();
  console.log("every operation as expected");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
