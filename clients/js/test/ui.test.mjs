// The list of operations in a real Chromium: the content of the page, what a screen reader announces, and the keys.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { Chromium, findChromium } from "../support/chromium.mjs";
import { FakeEdge } from "../support/fake_edge.mjs";

const program = findChromium();
const skip = program ? false : "no Chromium here (Debian and Ubuntu: apt-get install chromium; or CHROMIUM names one)";
// The library's own page rules: nothing inline, and nothing from elsewhere.
const PAGE = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'none'; require-trusted-types-for 'script'">
</head><body><button id="before">before</button><div id="list"></div><script type="module" src="/page.js"></script></body></html>`;
const SCRIPT = `
import * as library from "/transaction/safety/client.js";
globalThis.library = library;
globalThis.client = new library.TransactionSafetyClient(location.origin, {
  initialRetryDelay: 1, maxRetryDelay: 5, embed: (documents) => documents.map(() => [1]),
});
globalThis.ui = new library.TransactionSafetyUI(client, "list");
globalThis.said = [];
const live = document.querySelector("[role=status]");
new MutationObserver(() => said.push(live.textContent)).observe(live, { childList: true });
globalThis.entries = () => Array.from(document.querySelectorAll("#list li"), (one) => [
  one.dataset.state, one.querySelector(".chroma-edge-label").textContent, one.querySelector(".chroma-edge-state").textContent,
  one.getAttribute("aria-busy"), !one.querySelector("button").hidden,
]);
globalThis.focused = () => {
  const one = document.activeElement;
  return one.closest("li")?.dataset.label ? one.localName + " " + one.closest("li").dataset.label : one.id || one.textContent || one.localName;
};
globalThis.write = (label, ids = [label]) =>
  client.upsert("c", { ids, embeddings: [[1]] }, { label }).then((one) => one.status, (error) => error.name);
globalThis.ready = true;
`;

let edge;
let browser;

before(async () => {
  if (skip) return;
  edge = await FakeEdge.start();
  edge.pages.set("/page", { type: "text/html", text: PAGE });
  edge.pages.set("/page.js", { type: "text/javascript", text: SCRIPT });
  const file = fileURLToPath(new URL("../chroma-edge-client.js", import.meta.url));
  edge.pages.set("/transaction/safety/client.js", { type: "text/javascript", file });
  browser = new Chromium(program);
});
after(async () => {
  await browser?.close();
  await edge?.stop();
});

async function page() {
  edge.up = true;
  await browser.open(`${edge.url}/page`);
  await browser.run("new Promise((done) => { const look = () => globalThis.ready ? done() : setTimeout(look, 5); look(); })");
}

test("running, waiting, recovered, failed: each is shown and announced", { skip }, async () => {
  await page();
  edge.script.push("hang");
  await browser.run(`void (globalThis.aborter = new AbortController(), client.upsert("c", {ids: ["r"], embeddings: [[1]]}, {label: "slow", signal: aborter.signal}).catch(() => {}))`);
  await edge.until(() => edge.writes.length === 1);
  assert.deepEqual(await browser.run("entries()"), [["running", "slow", "running", "true", false]]);

  edge.up = false;
  edge.requests.length = 0;
  await browser.run(`void (globalThis.waiting = client.uploadFileWithSafety(new File(["hello"], "report.txt"), "c"))`);
  await edge.until(() => edge.polls.length === 1);
  assert.deepEqual((await browser.run("entries()"))[1], ["waiting", "report.txt", "saved, waiting for the database", "true", false]);
  edge.recover();
  assert.equal(await browser.run("waiting.then((one) => one.transactions[0].recovered)"), true);
  assert.deepEqual((await browser.run("entries()"))[1], ["recovered", "report.txt", "done after a delay", "false", true]);
  assert.equal(edge.documents.get([...edge.documents.keys()].find((id) => id.endsWith("-0"))), "hello");

  await browser.run("void aborter.abort()");
  edge.script.push({ status: 400, body: { error: "InvalidArgumentError", message: "wrong dimension" } });
  assert.equal(await browser.run(`write("bad")`), "TransactionError");
  assert.equal(await browser.run(`write("good")`), 201);
  assert.deepEqual((await browser.run("entries()")).map(([state, label, text]) => [state, label, text.split(":")[0]]), [
    ["failed", "slow", "failed"], ["recovered", "report.txt", "done after a delay"], ["failed", "bad", "failed"], ["completed", "good", "done"],
  ]);
  assert.match((await browser.run("entries()"))[2][2], /wrong dimension/);
  const said = await browser.run("said");
  for (const words of ["slow: running", "report.txt: saved, waiting for the database", "report.txt: done after a delay", "bad: failed: wrong dimension", "good: done"]) {
    assert.ok(said.includes(words), `${words} in ${said}`);
  }
});

test("a screen reader finds a list, its entries, a status and named buttons", { skip }, async () => {
  await page();
  await browser.run(`write("one")`);
  const { nodes } = await browser.send("Accessibility.getFullAXTree");
  const seen = nodes.filter((node) => !node.ignored).map((node) => `${node.role?.value} ${node.name?.value ?? ""}`.trim());
  for (const role of ["region Saving", "list Saving", "listitem", "status", "button Dismiss one", "button Clear finished"]) {
    assert.ok(seen.some((one) => one.startsWith(role)), `${role} in ${seen.join(", ")}`);
  }
  const status = nodes.find((node) => node.role?.value === "status");
  assert.equal(status.properties.find(({ name }) => name === "live").value.value, "polite");
});

test("names and reasons are text, whatever is in them", { skip }, async () => {
  await page();
  const nasty = `<img src=x onerror="globalThis.hit=1"><b>&amp;`;
  edge.script.push({ status: 400, body: { error: "E", message: nasty } });
  await browser.run(`write(${JSON.stringify(nasty)})`);
  const [entry] = await browser.run("entries()");
  assert.equal(entry[1], nasty);
  assert.equal(entry[2], `failed: ${nasty}`);
  assert.equal(await browser.run("document.querySelectorAll('#list img, #list b').length + (globalThis.hit ?? 0)"), 0);
});

test("everything can be done with the keyboard", { skip }, async () => {
  await page();
  for (const label of ["a", "b", "c"]) await browser.run(`write("${label}")`);
  edge.up = false;
  edge.requests.length = 0;
  await browser.run(`void write("w")`);
  await edge.until(() => edge.polls.length === 1);
  await browser.run("document.getElementById('before').focus()");
  const focused = () => browser.run("focused()");
  await browser.press("Tab");
  assert.equal(await focused(), "li a", "one entry is a stop of the Tab key");
  await browser.press("ArrowDown");
  assert.equal(await focused(), "li b");
  const stops = () => browser.run("Array.from(document.querySelectorAll('#list li[tabindex=\"0\"]'), (one) => one.dataset.label)");
  assert.deepEqual(await stops(), ["b"], "the Tab key comes back to where one was");
  await browser.press("End");
  assert.equal(await focused(), "li w");
  await browser.press("ArrowDown");
  assert.equal(await focused(), "li w");
  await browser.press("Delete");
  assert.equal((await browser.run("entries()")).length, 4, "what waits cannot be taken away");
  await browser.press("Home");
  await browser.press("Delete");
  assert.equal(await focused(), "li b", "the focus goes to the next");
  await browser.press("Tab");
  assert.equal(await focused(), "button b");
  await browser.press("Enter", "Enter", "\r");
  assert.equal(await focused(), "li c");
  assert.deepEqual((await browser.run("entries()")).map(([, label]) => label), ["c", "w"]);
  await browser.press("Tab");
  await browser.press("Tab");
  assert.equal(await focused(), "Clear finished");
  await browser.press("Enter", "Enter", "\r");
  assert.equal(await focused(), "li w");
  assert.deepEqual((await browser.run("entries()")).map(([, label]) => label), ["w"]);
  assert.deepEqual(await stops(), ["w"]);
  edge.recover();
});

test("ended entries give way, pending ones never; destroy leaves nothing", { skip }, async () => {
  await page();
  await browser.run(`ui.destroy(); globalThis.ui = new library.TransactionSafetyUI(client, document.getElementById("list"), { maxEntries: 2 })`);
  edge.up = false;
  edge.requests.length = 0;
  await browser.run(`void write("w1"), void write("w2"), void write("w3")`);
  await edge.until(() => edge.polls.length === 3);
  assert.deepEqual((await browser.run("entries()")).map(([, label]) => label), ["w1", "w2", "w3"]);
  edge.up = true;
  await browser.run(`write("done")`);
  assert.deepEqual((await browser.run("entries()")).map(([, label]) => label), ["w1", "w2", "w3"]);
  await browser.run("ui.destroy()");
  assert.equal(await browser.run("document.getElementById('list').childNodes.length"), 0);
  await browser.run(`write("after")`);
  assert.equal(await browser.run("document.getElementById('list').childNodes.length"), 0);
  assert.equal(await browser.run(`try { new library.TransactionSafetyUI(client, "absent") } catch (error) { error.message }`), "no element with the id absent");
  edge.recover();
});
