// Time that passes only when nothing else can happen.

export class FakeClock {
  time = 0;
  timers = new Map();
  /** Delays that ran to their end. */
  slept = [];
  #next = 1;

  now = () => this.time;

  setTimer = (run, ms) => {
    const timer = this.#next++;
    this.timers.set(timer, { run, ms, at: this.time + ms });
    return timer;
  };

  clearTimer = (timer) => {
    this.timers.delete(timer);
  };

  /** Lets time pass until the promise is settled. */
  async through(promise) {
    let over = false;
    promise.then(() => (over = true), () => (over = true));
    while (!over) {
      for (let turn = 0; turn < 20 && !over; turn++) await new Promise((resolve) => setImmediate(resolve));
      if (!over) this.step();
    }
    return promise;
  }

  step() {
    const next = [...this.timers].sort(([, one], [, other]) => one.at - other.at)[0];
    if (!next) return;
    const [timer, { run, ms, at }] = next;
    this.timers.delete(timer);
    this.time = Math.max(this.time, at);
    this.slept.push(ms);
    run();
  }
}

/** Returns a fetch with scripted answers: a Response, an Error to throw, or the result of a function of the request. */
export function scriptedFetch(answers) {
  const sent = [];
  const fetch = async (url, init = {}) => {
    const request = { url: String(url), method: init.method ?? "GET", headers: new Headers(init.headers), body: init.body, signal: init.signal };
    sent.push(request);
    const next = answers.length > 1 ? answers.shift() : answers[0];
    const answer = typeof next === "function" ? await next(request) : next;
    if (answer instanceof Error) throw answer;
    return answer.clone();
  };
  return { fetch, sent };
}

export const lost = () => new TypeError("fetch failed");
export const json = (status, body, headers = {}) => new Response(JSON.stringify(body), { status, headers });
export const never = ({ signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
