// The dashboard in a real Chromium, against a real edge: what a person reads while a server is killed and comes back.
//
//   node dashboard.mjs URL        DASHBOARD_SHOTS names a folder for screenshots, if there are to be any
//
// In step with what drives it, by lines: says `write`, and reads a line when many writers have written; says `kill` and `restart`, and reads a line when the replica is down, or back; says
// `stop the edge`, and reads one when it is gone; `seen` at the end. Says `no browser` alone where there is none.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { Chromium, findChromium } from "../../clients/js/support/chromium.mjs";

const url = process.argv[2];
const program = findChromium();
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => console.log(line);
const heard = async () => assert.equal((await lines.next()).done, false, "whoever drives this is gone");

/** Waits until the expression, in the page, is true. */
const until = (browser, expression, what) => browser.run(`new Promise((done, failed) => {
  const end = Date.now() + 60000;
  const look = () => (${expression}) ? done() : Date.now() > end
    ? failed(new Error(${JSON.stringify(what)} + ": " + document.body.innerText)) : setTimeout(look, 20);
  look();
})`);
const level = (name) => `document.getElementById("verdict").dataset.level === "${name}"`;
const card = (name) => `[...document.querySelectorAll("article")].find((one) => one.querySelector("h3").firstChild.textContent === "${name}")`;

async function shot(browser, name) {
  if (!process.env.DASHBOARD_SHOTS) return;
  await browser.send("Emulation.setDeviceMetricsOverride", { width: 1180, height: 1400, deviceScaleFactor: 1, mobile: false });
  const { data } = await browser.send("Page.captureScreenshot", { format: "png" });
  writeFileSync(join(process.env.DASHBOARD_SHOTS, name), Buffer.from(data, "base64"));
}

async function watch(browser) {
  await browser.open(`${url}/dashboard`);
  await until(browser, level("safe"), "all is well");
  assert.match(await browser.run(`document.getElementById("headline").textContent`), /^All data is safe/);
  assert.equal(await browser.run(`document.querySelectorAll("article").length`), 2);
  await shot(browser, "safe.png");

  assert.equal(await browser.run(`document.getElementById("merged").textContent`), "-", "nothing was written");
  say("write");
  await heard();
  await until(browser, `Number(document.getElementById("merged").textContent) > 1`, "writes share requests");
  await until(browser, `new Set([...document.querySelector("#merged-chart polyline").points].map((one) => one.y)).size > 1`, "and are drawn");

  say("kill");
  await heard();
  await until(browser, level("reduced"), "a server is missed");
  const said = await browser.run(`document.getElementById("details").textContent`);
  assert.match(said, /^replica is down: /);
  await until(browser, `${card("replica")}.querySelectorAll("rect").length >= 2`, "its states are drawn");
  await until(browser, `/replica: down/.test(document.getElementById("changes").textContent)`, "the change is listed");
  await shot(browser, "down.png");
  await browser.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: "dark" }] });
  await shot(browser, "dark.png");
  await browser.send("Emulation.setEmulatedMedia", { features: [] });

  say("restart");
  await heard();
  await until(browser, level("safe"), "all is well again");
  await operate(browser);

  say("stop the edge");
  await heard();
  await until(browser, `document.getElementById("link").dataset.lost === "yes"`, "old numbers are called old");
  assert.match(await browser.run(`document.getElementById("link").textContent`), /what you see is old/);
}

/** With keys alone: a drain and its end, and another primary. */
async function operate(browser) {
  const confirmed = async (key, ready) => {
    await until(browser, `document.querySelector('[data-key="${key}"]')`, `the button "${key}"`);
    await browser.run(`document.querySelector('[data-key="${key}"]').focus()`);
    await until(browser, `document.activeElement.dataset.key === "${key}"`, "the focus outlives new numbers");
    await browser.press("Enter", "Enter", "\r");
    if (ready) {
      await until(browser, `document.getElementById("confirm").open`, "it asks first");
      assert.equal(await browser.run("document.activeElement.value"), "no", "the harmless answer has the focus");
      await browser.run(`document.getElementById("confirm-yes").focus()`);
      await browser.press("Enter", "Enter", "\r");
    }
  };
  await confirmed("drain replica", true);
  await until(browser, `${card("replica")}.querySelector(".state").textContent.startsWith("drain")`, "it is drained");
  await confirmed("undrain replica", false);
  await until(browser, `${card("replica")}.querySelector(".state").textContent === "up"`, "it is back");
  await confirmed("primary replica", true);
  await until(browser, `/^primary/.test(${card("replica")}.querySelector("p").textContent)`, "it is the primary");
}

if (!program) {
  say("no browser");
} else {
  const browser = new Chromium(program);
  try {
    await watch(browser);
    say("seen");
  } finally {
    await browser.close();
  }
}
process.exit(0);
