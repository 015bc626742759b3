// A headless Chromium, controlled through its pipe, without a WebSocket or a package.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Returns the browser's program, or null. */
export function findChromium() {
  const names = [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome"].filter(Boolean);
  return names.find((name) => spawnSync(name, ["--version"]).status === 0) ?? null;
}

export class Chromium {
  #waiting = new Map();
  #listeners = new Set();
  #next = 1;

  constructor(program) {
    this.profile = mkdtempSync(join(tmpdir(), "chromium-"));
    const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"];
    this.process = spawn(program, [...flags, `--user-data-dir=${this.profile}`, "about:blank"], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    this.exited = new Promise((resolve) => this.process.on("exit", resolve));
    this.exited.then(() => this.#waiting.forEach(({ reject }) => reject(new Error("Chromium ended"))));
    let text = "";
    this.process.stdio[3].on("error", () => {});
    this.process.stdio[4].setEncoding("utf8").on("data", (part) => {
      const messages = (text + part).split("\0");
      text = messages.pop();
      for (const message of messages) this.#heard(JSON.parse(message));
    });
  }

  #heard({ id, result, error, method, params }) {
    if (id === undefined) return this.#listeners.forEach((listener) => listener(method, params));
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  send(method, params = {}) {
    const id = this.#next++;
    this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.session })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  async open(url) {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    this.session = (await this.send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    await this.send("Page.enable");
    const loaded = new Promise((resolve) => this.#listeners.add((method) => method === "Page.loadEventFired" && resolve()));
    await this.send("Page.navigate", { url });
    await loaded;
  }

  /** Evaluates the expression in the page and returns its value. Promises are awaited. */
  async run(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Presses a key, as a person would. */
  async press(key, code = key, text = undefined) {
    const codes = { Tab: 9, Enter: 13, End: 35, Home: 36, ArrowUp: 38, ArrowDown: 40, Delete: 46 };
    const all = { key, code, text, windowsVirtualKeyCode: codes[key] };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...all });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...all });
  }

  /** Asks it to end, with all its processes, and kills it otherwise. A profile that they still write to is left behind. */
  async close() {
    const grace = setTimeout(() => this.process.kill("SIGKILL"), 5000);
    this.session = undefined;
    this.send("Browser.close").catch(() => {});
    await this.exited;
    clearTimeout(grace);
    try {
      rmSync(this.profile, { recursive: true, force: true, maxRetries: 20 });
    } catch (failure) {
      console.error(`chromium: its profile stays: ${failure.message}`);
    }
  }
}
