"use strict";
(() => {
  const el = (id) => document.getElementById(id);
  const SPAN = 15 * 60 * 1000; // what the strip of states shows
  const MARKS = { safe: "✓", reduced: "!", at_risk: "!!", unavailable: "✕" };
  const GOOD = ["up", "catching_up"];
  const WARN = ["returned", "draining", "drained", "suspect"];
  const tone = (state) => (GOOD.includes(state) ? "good" : WARN.includes(state) ? "warn" : "bad");
  const words = (state) => state.replaceAll("_", " ");
  const whole = new Intl.NumberFormat();
  let lastAt = 0; // when the last piece came, by this browser's clock
  let token = sessionStorage.getItem("chroma-edge-token") || "";

  // Sets a text only where it differs, so that a screen reader hears changes alone.
  const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const make = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties || {});
    node.append(...children);
    return node;
  };
  const shape = (tag, attributes) => {
    const node = document.createElementNS("http:" + "//www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
    return node;
  };
  const span = (millis) => {
    const seconds = Math.max(0, Math.round(millis / 1000));
    if (seconds < 120) return `${seconds} s`;
    if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86400)} d`;
  };
  const bytes = (count) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let at = 0;
    while (count >= 1000 && at < units.length - 1) { count /= 1000; at += 1; }
    return `${at ? count.toFixed(1) : count} ${units[at]}`;
  };
  const millis = (value) => (value === null || value === undefined ? "-" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

  // Replaces the children of `parent`, and keeps the focus on the button of the same name.
  const fill = (parent, children) => {
    const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    parent.replaceChildren(...children);
    if (focused) parent.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  };

  const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

  const answer = (text) => {
    say(el("answer"), text);
    clearTimeout(answer.timer);
    answer.timer = setTimeout(() => say(el("answer"), ""), 12000);
  };

  const act = async (path, body, done) => {
    try {
      const response = await fetch(path, { method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(body) });
      const said = await response.json().catch(() => ({}));
      answer(response.ok ? done : `Not done: ${said.message || said.error || response.status}`);
    } catch {
      answer("Not done: the edge does not answer.");
    }
  };

  const ask = (title, text, go) => {
    say(el("confirm-title"), title);
    say(el("confirm-text"), text);
    const dialog = el("confirm");
    dialog.returnValue = "no";
    dialog.onclose = () => { if (dialog.returnValue === "yes") go(); };
    dialog.showModal();
  };

  const button = (key, text, action) => {
    const node = make("button", { type: "button", textContent: text, onclick: action });
    node.dataset.key = key;
    return node;
  };

  const strip = (one, now) => {
    const drawing = shape("svg", { viewBox: `0 0 ${SPAN} 1`, preserveAspectRatio: "none", role: "img" });
    const spoken = [];
    one.timeline.forEach((part, index) => {
      const end = index + 1 < one.timeline.length ? one.timeline[index + 1].since : now;
      const from = Math.max(0, SPAN - (now - part.since));
      const to = SPAN - (now - end);
      if (to <= 0) return;
      drawing.append(shape("rect", { x: from, y: 0, width: Math.max(to - from, SPAN / 400), height: 1, class: `tone-${tone(part.state)}` }));
      spoken.push(`${words(part.state)} for ${span(end - Math.max(part.since, now - SPAN))}`);
    });
    drawing.setAttribute("aria-label", `${one.name}, the last 15 minutes: ${spoken.join(", then ")}`);
    return make("div", { className: "strip", title: spoken.join(", then ") }, drawing);
  };

  const card = (one, now, alone) => {
    const state = make("span", { className: "state", textContent: words(one.state) });
    state.dataset.tone = tone(one.state);
    const title = make("h3", {}, make("span", { textContent: one.name }), state);
    const facts = [
      `${one.role}, ${words(one.state)} for ${span(now - one.since)}`,
      one.pending_writes ? `${whole.format(one.pending_writes)} writes behind` : "has every write",
    ];
    if (one.diverged_collections) facts.push(`${whole.format(one.diverged_collections)} collections not served from here`);
    const node = make("article", { className: "card" }, title, strip(one, now));
    for (const fact of facts) node.append(make("p", { textContent: fact }));
    node.append(make("p", { className: "quiet", textContent: one.url }));
    for (const trouble of [one.foreign, one.unsupported, one.healthy ? null : one.last_error]) {
      if (trouble) node.append(make("p", { textContent: trouble }));
    }
    if (alone) return node;
    const bar = make("p", { className: "bar" });
    if (one.drain) {
      bar.append(button(`undrain ${one.name}`, "Back into service", () => act("/admin/undrain", { instance: one.name }, `${one.name} is back in service.`)));
    } else {
      bar.append(button(`drain ${one.name}`, "Drain", () => ask(`Drain ${one.name}?`,
        "Clients' requests go to the other servers. It is kept in sync until it is put back into service.",
        () => act("/admin/drain", { instance: one.name, sync: "keep" }, `${one.name} is being drained.`))));
    }
    if (one.role !== "primary" && one.healthy) {
      bar.append(button(`primary ${one.name}`, "Make it the primary", () => ask(`Make ${one.name} the primary?`,
        "It executes writes first from now on. Nothing is lost, and nobody waits longer than a write.",
        () => act("/admin/switchover", { to: one.name }, `${one.name} is the primary.`))));
    }
    node.append(bar);
    return node;
  };

  const chart = (id, samples, value) => {
    const values = samples.map(value);
    const top = Math.max(1, ...values);
    const points = values.map((one, at) => `${300 - (values.length - 1 - at)},${58 - (54 * one) / top}`);
    el(id).replaceChildren(shape("polyline", { points: points.join(" ") }));
  };

  // Writes in one request to a server, on the average over these seconds.
  const merged = (samples) => {
    const sum = (field) => samples.reduce((all, one) => all + one[field], 0);
    return sum("sent_requests") ? sum("sent_writes") / sum("sent_requests") : null;
  };

  const table = (headings, rows, empty) => {
    if (!rows.length) return make("p", { className: "quiet", textContent: empty });
    const head = make("tr", {}, ...headings.map((text) => make("th", { scope: "col", textContent: text })));
    const body = rows.map((cells) => make("tr", {}, ...cells.map((cell, at) => {
      if (cell instanceof Node) return make("td", {}, cell);
      return make("td", { className: at ? "number" : "", textContent: cell });
    })));
    return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  };

  const copy = (one) => {
    const percent = one.percent === null ? 0 : one.percent;
    const progress = make("progress", { max: 100, value: percent });
    progress.setAttribute("aria-label", `${one.collection_name} on ${one.instance}`);
    const left = one.eta_seconds === null ? "" : `, ${span(1000 * one.eta_seconds)} left`;
    const how = one.state === "healing"
      ? `${Math.floor(percent)} %, ${whole.format(Math.round(one.records_per_second))} records/s${left}`
      : one.last_error || words(one.state);
    return [one.collection_name || one.collection_id, `${one.source} → ${one.instance}`, progress, how];
  };

  const show = (state) => {
    const now = state.at;
    say(el("version"), state.version);
    const verdict = el("verdict");
    verdict.dataset.level = state.verdict.level;
    say(el("mark"), MARKS[state.verdict.level] || "?");
    say(el("headline"), state.verdict.headline);
    const details = state.verdict.details.join("\n");
    if (el("details").dataset.said !== details) {
      el("details").dataset.said = details;
      el("details").replaceChildren(...state.verdict.details.map((text) => make("li", { textContent: text })));
    }
    document.title = `${MARKS[state.verdict.level] || "?"} chroma-edge`;
    fill(el("instances"), state.instances.map((one) => card(one, now, state.instances.length === 1)));
    const last = state.samples.at(-1) || { requests: 0, failed: 0, p99_ms: null };
    const transactions = state.transactions || {};
    const numbers = [
      ["Collections", whole.format(state.collections)],
      ["Without a second copy", whole.format(state.without_second_copy)],
      ["Pending writes", whole.format(state.pending_writes)],
      ["Unknown outcome", whole.format(state.in_doubt)],
      ["Recovered writes", state.transactions ? whole.format(transactions.RECOVERED || 0) : "-"],
      ["In quarantine", whole.format(state.quarantine.writes + state.quarantine.reads)],
      ["Differing collections", whole.format(state.differing_collections)],
      ["Requests under way", whole.format(state.requests.under_way)],
      ["Journal", `${bytes(state.journal.used_bytes)} of ${bytes(state.journal.max_bytes)}`],
      ["Failed in the last second", whole.format(last.failed)],
    ];
    fill(el("numbers"), numbers.map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
    say(el("rate"), whole.format(last.requests));
    say(el("slowest"), millis(last.p99_ms));
    const together = merged(state.samples.slice(-10)); // one second alone would flicker
    say(el("merged"), together === null ? "-" : together.toFixed(1));
    say(el("waiting"), whole.format(state.pending_writes));
    chart("rate-chart", state.samples, (one) => one.requests);
    chart("slowest-chart", state.samples, (one) => one.p99_ms || 0);
    chart("merged-chart", state.samples, (one) => merged([one]) || 0);
    chart("waiting-chart", state.samples, (one) => one.pending);
    fill(el("healing"), [table(["Collection", "Where", "Done", "How"], state.healing.map(copy), state.healing_paused ? "Healing is paused." : "None: nothing is being healed.")]);
    say(el("audit"), state.audit ? `Comparing: ${whole.format(state.audit.records)} records so far` : "");
    const lanes = state.lanes.map((one) => [one.name, whole.format(one.pending), whole.format(one.in_doubt)]);
    fill(el("lanes"), [table(["Collection", "Pending", "Unknown"], lanes, "None: every server has every write.")]);
    const changes = state.changes.map((one) => make("li", {}, make("time", { dateTime: new Date(one.at).toISOString(), textContent: new Date(one.at).toLocaleTimeString() }), one.text));
    fill(el("changes"), changes.length ? changes : [make("li", { className: "quiet", textContent: "Nothing since the edge started." })]);
  };

  const link = () => {
    const age = Date.now() - lastAt;
    const lost = lastAt !== 0 && age > 4000;
    el("link").dataset.lost = lost ? "yes" : "no";
    document.querySelector("main").classList.toggle("stale", lost);
    if (lastAt === 0) return;
    say(el("link"), lost ? `No connection to the edge for ${span(age)}: what you see is old` : "Live");
    if (lost) document.title = "? chroma-edge";
  };

  const pieces = async (body) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      // The last one that is whole: earlier ones are old already.
      const data = parts.flatMap((part) => part.split("\n").filter((line) => line.startsWith("data: "))).at(-1);
      if (data) {
        lastAt = Date.now();
        show(JSON.parse(data.slice(6)));
        link();
      }
    }
  };

  const watch = async () => {
    for (;;) {
      try {
        const response = await fetch("/dashboard/live", { headers: headers(), cache: "no-store" });
        const refused = response.status === 401 || response.status === 403;
        el("login").hidden = !refused;
        if (refused) {
          say(el("link"), token ? "The token is not accepted" : "A token is needed");
          return;
        }
        if (response.ok) await pieces(response.body);
        else if (lastAt === 0) say(el("link"), `The edge answers ${response.status}`);
      } catch {
        if (lastAt === 0) say(el("link"), "The edge does not answer");
      }
      link();
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  };

  el("login").onsubmit = (event) => {
    event.preventDefault();
    token = el("token").value.trim();
    sessionStorage.setItem("chroma-edge-token", token);
    el("token").value = "";
    watch();
  };
  el("verify").onclick = () => ask("Compare all servers now?",
    "Every record of every collection is read on every server. Nothing is changed; clients go on.",
    () => act("/admin/audit", {}, "The comparison has begun."));
  setInterval(link, 1000);
  watch();
})();
