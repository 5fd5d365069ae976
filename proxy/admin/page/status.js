// The page shows what /events says and asks for nothing else, except what its user asks for with the token.
const WINDOW = 60; // samples, one a second
const SHOWN = 50; // records
const AGAIN_MS = 3000; // as the browser's own wait
const $ = (id) => document.getElementById(id);
const samples = [];
let token = sessionStorage.getItem("backstay-token") ?? "";
let listed = 0; // how many records there were when they were last asked for
let searches = 0;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Text of strangers: what would reorder or hide other text is shown by its code.
const ACTIVE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const shown = (text) => String(text ?? "").replace(ACTIVE, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);

const number = (value) => value.toLocaleString("en");
const share = (part, whole) => (whole ? `${Math.round((100 * part) / whole)} %` : "–");
const sum = (values) => values.reduce((total, value) => total + value, 0);

function time(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "> 10 s";
  return seconds < 1 ? `${(seconds * 1000).toPrecision(2) * 1} ms` : `${seconds.toPrecision(2) * 1} s`;
}

// what happened between two samples

function between(before, after) {
  const buckets = after.buckets.map((count, n) => count - (before?.buckets[n] ?? 0));
  return { buckets, count: after.count - (before?.count ?? 0), succeeded: after.succeeded - (before?.succeeded ?? 0) };
}

function quantile(q, buckets, bounds) {
  const rank = q * sum(buckets);
  if (!rank) return null;
  let below = 0;
  for (const [n, count] of buckets.entries()) {
    if (below + count >= rank) {
      if (n === bounds.length) return Infinity;
      const from = n ? bounds[n - 1] : 0;
      return from + ((bounds[n] - from) * (rank - below)) / count;
    }
    below += count;
  }
  return null;
}

const routeIn = (sample, name) => sample.routes.find((route) => route.name === name);

// Each second's figure covers the five before it: one request more or less is no peak.
function seriesOf(name, figure) {
  return samples.slice(1).map((sample, n) => {
    const from = samples[Math.max(0, n - 4)];
    const after = routeIn(sample, name);
    if (!after) return null;
    return figure(between(routeIn(from, name), after), sample.now - from.now, sample.bounds);
  });
}

// plots

function plot(values, { limits = [], label }) {
  const [width, height] = [170, 34];
  const known = values.filter((value) => value !== null && value !== Infinity);
  const top = Math.max(...known, ...limits, 1e-9) * 1.08;
  const x = (n) => width - ((values.length - 1 - n) * width) / (WINDOW - 1);
  const y = (value) => height - 1 - (Math.min(value, top) / top) * (height - 2);
  const svg = drawn("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const limit of limits) svg.append(drawn("line", { class: "limit", x1: 0, x2: width, y1: y(limit), y2: y(limit) }));
  let points = [];
  const finish = () => {
    if (!points.length) return;
    if (points.length === 1) points.push([points[0][0] + 1.5, points[0][1]]);
    const path = points.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join(" L ");
    svg.append(drawn("path", { class: "area", d: `M ${points[0][0]} ${height} L ${path} L ${points.at(-1)[0]} ${height} Z` }));
    svg.append(drawn("path", { class: "line", d: `M ${path}` }));
    points = [];
  };
  values.forEach((value, n) => (value === null ? finish() : points.push([x(n), y(value)])));
  finish();
  return svg;
}

function bars(list, entries) {
  const most = Math.max(...entries.map(([, count]) => count), 1);
  list.replaceChildren(...entries.flatMap(([name, count, kind = "mark"]) => {
    const svg = drawn("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(drawn("rect", { class: `fill-${kind}`, width: (100 * count) / most, height: 10 }));
    return [element("dt", { textContent: name }), element("dd", { className: "bar" }, svg), element("dd", { textContent: number(count) })];
  }));
}

// sections

const FORCED = { open: "held open by hand", close: "held closed by hand", observe: "only observing" };

function circuitText(circuit) {
  const parts = [];
  if (circuit.state === "OPEN") parts.push(circuit.probes_in_s > 0 ? `probes in ${circuit.probes_in_s.toFixed(0)} s` : "probes with the next request");
  else parts.push(`${circuit.failures} failures in a row`);
  if (circuit.opened_ago_s !== null) parts.push(`opened ${circuit.opened_ago_s.toFixed(0)} s ago`);
  if (circuit.mode !== "auto") parts.unshift(FORCED[circuit.mode]);
  return parts.join(" · ");
}

function showCircuits(circuits) {
  const list = $("circuits");
  for (const circuit of circuits) {
    let card = list.querySelector(`[data-name="${CSS.escape(circuit.name)}"]`);
    if (!card) {
      const button = element("button", { textContent: "Reset", ariaLabel: `Reset the circuit ${circuit.name}` });
      button.addEventListener("click", () => reset(circuit.name)); // also ends what was forced by hand
      card = element("li", {}, element("b", { textContent: circuit.name }), element("span", { className: "state" }), element("p"), button);
      card.dataset.name = circuit.name;
      list.append(card);
    }
    card.className = circuit.state;
    card.querySelector(".state").textContent = circuit.state.replace("_", " ");
    card.querySelector("p").textContent = circuitText(circuit);
    card.querySelector("button").hidden = !token;
  }
  const names = new Set(circuits.map((circuit) => circuit.name));
  for (const card of [...list.children]) if (!names.has(card.dataset.name)) card.remove();
}

function judged(seconds, target) {
  if (seconds === null || !target) return "";
  if (seconds <= target[1]) return "good";
  return seconds <= target[2] ? "warn" : "bad";
}

function routeRow(route, now, first) {
  const last = between(routeIn(first, route.name), route);
  const [p50, p95] = [0.5, 0.95].map((q) => quantile(q, last.buckets, now.bounds));
  const rates = seriesOf(route.name, (delta, seconds) => delta.count / seconds);
  const tails = seriesOf(route.name, (delta, _, bounds) => quantile(0.95, delta.buckets, bounds));
  const rate = rates.at(-1) ?? 0;
  const cell = (text, className = "n") => element("td", { textContent: text, className });
  return element("tr", {},
    element("th", { scope: "row", textContent: route.name }),
    cell(rate >= 10 ? number(Math.round(rate)) : rate.toFixed(1)),
    cell(share(last.succeeded, last.count), last.count && last.succeeded < 0.99 * last.count ? "n bad" : "n"),
    cell(time(p50)),
    cell(time(p95), `n ${judged(p95, route.target)}`),
    element("td", {}, plot(rates, { label: `requests a second of ${route.name}` })),
    element("td", {}, plot(tails, { limits: route.target ?? [], label: `p95 of ${route.name}, now ${time(p95)}` })),
  );
}

function showRoutes(now) {
  const first = samples[0];
  const used = now.routes.filter((route) => route.count || route.name !== "passthrough");
  document.querySelector("#routes tbody").replaceChildren(...used.map((route) => routeRow(route, now, first)));
}

const KINDS = { restored: "good", restored_empty: "mark", restored_error: "bad" };

function showSums(now) {
  const { led = 0, joined = 0, alone = 0, attempts } = now.roles;
  $("saved").textContent = number(joined);
  $("saved-share").textContent = `of ${number(led + joined + alone)} requests (${share(joined, led + joined + alone)}); ${number(attempts)} upstream attempts`;
  bars($("roles"), [["joined", joined, "good"], ["led", led], ["alone", alone]]);
  $("restored").textContent = number(now.restoration.count);
  $("restored-time").textContent = now.restoration.count ? `in ${time(now.restoration.total_s / now.restoration.count)} on average` : "";
  bars($("restorations"), Object.keys(KINDS).map((name) => [name.replace("_", " "), now.restorations[name] ?? 0, KINDS[name]]));
  $("retried").textContent = number(sum(Object.values(now.retries)));
  $("denied").textContent = `, ${number(sum(Object.values(now.denied)))} not made`;
  const made = Object.entries(now.retries).map(([reason, count]) => [reason.replaceAll("_", " "), count]);
  const denied = Object.entries(now.denied).map(([reason, count]) => [`not: ${reason.replaceAll("_", " ")}`, count, "warn"]);
  bars($("retries"), [...made, ...denied].sort((one, other) => other[1] - one[1]).slice(0, 8));
  const { records, gaps, queue, write_errors: errors } = now.audit;
  $("audit-figures").textContent = `${number(records)} records · ${number(gaps)} lost · ${number(queue)} waiting · ${number(errors)} write errors`;
  $("store-figures").textContent = `Store ${now.store.up ? "available" : "down"} · ${number(now.store.errors)} errors`;
  $("store-figures").className = now.store.up ? "" : "bad";
  $("load").textContent = `${number(now.connections)} connections · ${number(now.in_flight)} requests under way`;
  followRecords(records);
}

function principalRow(one) {
  const cell = (text, className = "n") => element("td", { textContent: shown(text), className });
  const by = Object.entries(one.by).sort((a, b) => b[1] - a[1]).map(([claim, count]) => `${claim} (${number(count)})`);
  return element("tr", {},
    element("th", { scope: "row", textContent: one.name }),
    cell(number(one.keys), one.keys ? "n" : "n bad"), cell(one.keys_age_s === null ? "–" : `${number(Math.round(one.keys_age_s))} s ago`),
    cell(number(one.tokens)), cell(number(one.splits)), cell(by.join(", "), ""), cell(one.failure || "well", one.failure ? "bad" : "good"));
}

function showPrincipals(principals) {
  $("principals").hidden = !principals.length;
  document.querySelector("#principals tbody").replaceChildren(...principals.map(principalRow));
}

function say(text, kind) {
  $("live").textContent = text;
  $("live").className = kind;
}

function show(now) {
  if (samples.length && now.now < samples.at(-1).now) samples.length = 0; // another process answers
  samples.push(now);
  if (samples.length > WINDOW + 1) samples.shift();
  $("version").textContent = now.version;
  const off = Object.entries(now.switches).filter(([, on]) => !on).map(([name]) => `${name} off`);
  say([now.ready ? "live" : "draining", ...off].join(", "), now.ready && !off.length ? "on" : "");
  showCircuits(now.circuits);
  showRoutes(now);
  showSums(now);
  showPrincipals(now.principals);
}

// what needs the token

async function ask(path, method = "GET") {
  const response = await fetch(path, { method, headers: { Authorization: `Bearer ${token}` } });
  const document = await response.json();
  if (!response.ok) throw new Error(document.detail);
  return document;
}

async function reset(name) {
  try {
    for (const action of ["reset", "auto"]) await ask(`circuits/${encodeURIComponent(name)}/${action}`, "POST");
  } catch (error) {
    $("found").textContent = error.message;
  }
}

function recordRow(record) {
  const cell = (text, className = "") => element("td", { textContent: shown(text), className });
  const id = record.correlation_id ?? "";
  const link = element("button", { type: "button", title: "Search for this id" }, element("code", { textContent: id }));
  link.addEventListener("click", () => {
    $("by").value = "correlation_id";
    $("wanted").value = id;
    search();
  });
  const attempts = (record.attempts ?? []).map((attempt) => attempt.status ?? attempt.error).join(" → ");
  const outcome = [record.outcome, record.metadata?.recovery, record.metadata?.restoration].filter(Boolean).join(", ");
  return element("tr", {},
    cell((record.ts ?? "").slice(11, 23)), cell(record.operation), cell(record.subject),
    cell(record.status, record.success ? "good" : "bad"), cell(outcome), cell(record.duration_ms?.toFixed(1), "n"),
    cell(attempts || (record.flight?.role === "joined" ? "joined" : "")), element("td", {}, id ? link : ""));
}

// The newest records follow what happens, but never under the hands of somebody who searches or walks the list.
function followRecords(records) {
  const busy = $("wanted").value.trim() || $("records").contains(document.activeElement) || document.hidden;
  if (records === listed || busy) return;
  listed = records;
  search();
}

async function search() {
  if (!token) return;
  const query = new URLSearchParams({ limit: SHOWN });
  const wanted = $("wanted").value.trim();
  if (wanted) query.set($("by").value, wanted);
  if ($("failures").checked) query.set("failures", "true");
  const table = $("records");
  const turn = ++searches;
  try {
    const records = (await ask(`audit?${query}`)).reverse();
    if (turn !== searches) return; // something else has been asked for meanwhile
    table.tBodies[0].replaceChildren(...records.map(recordRow));
    table.hidden = !records.length;
    $("found").textContent = records.length ? `${records.length} ${records.length === 1 ? "record" : "records"}, the newest first` : "No record matches.";
  } catch (error) {
    table.hidden = true;
    $("found").textContent = error.message;
  }
}

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("backstay-token", token);
  search();
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("token").value = token;
search();

// The browser connects again after a network error, and never after a status such as 503 (too many viewers).
function follow() {
  const events = new EventSource("events");
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.onerror = () => {
    say("no connection, trying again", "off");
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN_MS);
  };
}
follow();
