// The page: what the address asks for, what the server says, and what is shown of it.
import { shown, share, sum, units, drawn } from "./amounts.js";
import { keepToken, read, token } from "./api.js";
import { Chart } from "./chart.js";
import { Connection } from "./connection.js";
import { $, make, options, pill, prose, write } from "./dom.js";
import * as panels from "./panels.js";
import { ago, clock, isZone, moment, seconds, useZone, zoneName, zones } from "./times.js";

const HOUR = 3600000;
const RANGES = [["1", "1 h"], ["3", "3 h"], ["6", "6 h"], ["24", "24 h"], ["168", "7 days"]];
const KINDS = [["rolling", "Rolling"], ["tumbling", "Tumbling"]];
const DEFAULTS = { currency: "", plan_tier: "", region: "", range: "3", kind: "rolling", zone: "UTC" };
const TABLE_ROWS = 12;
const RESTATED_ROWS = 12;

const live = { windows: new Map(), currency: "", currencies: [], tiers: new Set(), regions: new Set(), status: null, skew: 0, isLost: false, isCut: false, hasRevenue: false };
const marts = { id: null, corrections: [], hours: [], hoursOf: "", quarantined: null, problem: "" };
let view = fromAddress();
const chart = new Chart($("chart"));
const connection = new Connection({ token, onEvent, onState });
let painted = 0;

function fromAddress() {
  const query = new URLSearchParams(location.search), found = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS)) if (query.has(name)) found[name] = query.get(name).slice(0, 100);
  if (!RANGES.some(([value]) => value === found.range)) found.range = DEFAULTS.range;
  if (!KINDS.some(([value]) => value === found.kind)) found.kind = DEFAULTS.kind;
  if (!isZone(found.zone)) found.zone = DEFAULTS.zone;
  useZone(found.zone);
  return found;
}

function toAddress() {
  const query = new URLSearchParams(Object.entries(view).filter(([name, value]) => value !== DEFAULTS[name]));
  const address = `${location.pathname}${query.size ? `?${query}` : ""}`;
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
}

function choose(change) {
  view = { ...view, ...change };
  useZone(view.zone);
  toAddress();
  begin();
}

const now = () => Date.now() + live.skew;
const isLive = () => Number(view.range) <= 6;

function begin() {
  const { currency, plan_tier, region } = view;
  const query = new URLSearchParams({ currency, plan_tier, region, hours: isLive() ? view.range : "3" });
  const path = `events?${query}`;
  if (path !== connection.path) connection.open(path);
  refreshHours();
  if (marts.quarantined) panels.quarantine(marts.quarantined); // its times, in the chosen zone
  paint();
}

function onState(state) {
  live.isLost = state !== "live";
  if (state === "signed-out") {
    $("sign-in").hidden = false;
    $("main").hidden = true;
    $("token").focus();
  }
  paint();
}

function onEvent(name, data) {
  live.isLost = false;
  $("main").hidden = false;
  $("sign-in").hidden = true;
  if (name === "revenue") takeRevenue(data);
  if (name === "status") takeStatus(data);
  paint();
}

function takeRevenue(data) {
  if (data.full) live.windows.clear();
  Object.assign(live, { currency: data.currency, currencies: data.currencies, isCut: data.cut, hasRevenue: true });
  for (const window of data.windows) {
    live.windows.set(window.start, window);
    for (const tier of Object.keys(window.tiers ?? {})) live.tiers.add(tier);
    for (const region of Object.keys(window.regions ?? {})) live.regions.add(region);
  }
  const oldest = now() - Number(isLive() ? view.range : 3) * HOUR;
  for (const start of live.windows.keys()) if (start < oldest) live.windows.delete(start);
}

function takeStatus(data) {
  live.status = data;
  live.skew = Date.parse(data.now) - Date.now();
  if (data.marts.id !== marts.id) {
    marts.id = data.marts.id;
    refreshMarts();
  }
}

async function refreshMarts() {
  marts.hoursOf = "";
  const parts = [
    ["api/corrections", { limit: "2000" }, (rows) => { marts.corrections = rows; panels.corrections(rows, now()); }],
    ["api/dead-letters", {}, (rows) => { marts.quarantined = rows; panels.quarantine(rows); }],
    ["api/latency", { limit: "5000" }, (rows) => panels.latency(rows)],
  ];
  const problems = await Promise.all(parts.map(async ([path, parameters, take]) => {
    try {
      take((await read(path, parameters)).rows);
      return "";
    } catch (error) {
      return error.message;
    }
  }));
  marts.problem = problems.find(Boolean) ?? "";
  await refreshHours();
  paint();
}

async function refreshChecks() {
  try {
    panels.checks((await read("api/quality")).rows, now());
  } catch (error) {
    write($("checks-sum"), `The results cannot be read: ${error.message}`);
  }
}

async function refreshHours() {
  if (isLive() || !live.currency) return;
  const wanted = JSON.stringify([view, live.currency, marts.id]);
  if (wanted === marts.hoursOf) return;
  marts.hoursOf = wanted;
  const from = new Date(now() - Number(view.range) * HOUR).toISOString();
  try {
    const { rows } = await read("api/revenue", { from, currency: view.currency || live.currency, limit: "10000" });
    if (wanted === marts.hoursOf) marts.hours = rows;
  } catch (error) {
    marts.problem = error.message;
  }
  paint();
}

// Everything is painted at most once a frame.
function paint() {
  if (!painted) painted = requestAnimationFrame(() => { painted = 0; draw(); });
}

function draw() {
  drawFilters();
  drawState();
  const windows = [...live.windows.values()].sort((a, b) => a.start - b.start);
  const tumbling = windows.filter((one) => one.tiers);
  drawNow(windows);
  if (isLive()) drawLive(windows, tumbling);
  else drawHours();
  drawCurrencies(tumbling);
  const corrections = marts.corrections.filter((one) => one.currency === live.currency && (!view.plan_tier || one.plan_tier === view.plan_tier) && (!view.region || one.region === view.region));
  const older = tumbling.slice(0, -TABLE_ROWS).filter((one) => one.status === "restated").slice(-RESTATED_ROWS);
  const rows = [...older, ...tumbling.slice(-TABLE_ROWS)].reverse().map((one) => ({ ...one, change: panels.changeOf(one, corrections, live.currency) }));
  panels.windowTable(rows, live.currency, now());
}

function drawNow(windows) {
  const ended = windows.filter((one) => one.end <= now() && one.status !== "none");
  const newest = ended.at(-1) ?? windows.filter((one) => one.status !== "none").at(-1);
  write($("now-currency"), newest ? live.currency : "");
  write($("now-net"), newest ? shown(units(newest.net), live.currency) : "–");
  $("now-net").parentElement.classList.toggle("long", $("now-net").textContent.length > 13);
  $("now-net").dataset.start = newest?.start ?? "";
  $("now-status").hidden = !newest;
  if (!newest) {
    write($("now-window"), live.hasRevenue ? "There is no revenue in the shown range." : "");
    return write($("now-change"), "");
  }
  const minutes = Math.round((newest.end - newest.start) / 60000);
  write($("hero-title"), `Net revenue, newest ${minutes} minutes`);
  pill($("now-status"), newest.status, panels.words(newest.status));
  const old = now() - newest.end;
  write($("now-window"), `${moment(newest.start)}–${clock(newest.end)} ${zoneName()}${old > 120000 ? `, ended ${ago(newest.end, now())} ago` : ""}`);
  const before = live.windows.get(newest.start - (newest.end - newest.start));
  if (!before || before.status === "none") return write($("now-change"), "");
  const change = units(newest.net) - units(before.net);
  write($("now-change"), `${change < 0n ? "" : "+"}${shown(change, live.currency)} against the ${minutes} minutes before`);
}

function drawTotals(rows, title) {
  const net = sum(rows.map((one) => one.net)), gross = sum(rows.map((one) => one.gross)), refund = sum(rows.map((one) => one.refund));
  const has = rows.length > 0;
  write($("total-title"), title);
  write($("total-net"), has ? shown(net, live.currency) : "–");
  write($("total-orders"), has ? count(rows, "orders") : "–");
  write($("total-refunds"), has ? count(rows, "refunds") : "–");
  write($("total-share"), has ? share(refund, gross) : "–");
}

const count = (rows, name) => rows.reduce((all, one) => all + one[name], 0).toLocaleString("en");

function drawLive(windows, tumbling) {
  const hours = Number(view.range);
  drawTotals(tumbling, `Net, last ${hours} h`);
  const bars = view.kind === "tumbling";
  const chosen = (bars ? tumbling : windows).filter((one) => one.status !== "none");
  const minutes = chosen.length ? Math.round((chosen[0].end - chosen[0].start) / 60000) : 5;
  drawChart(points(chosen, (one) => one), bars, `Net revenue in ${live.currency} per ${minutes}-minute window`);
  const [tiers, regions] = [split(tumbling, "tiers", live.tiers), split(tumbling, "regions", live.regions)];
  panels.breakdown($("tiers"), tiers.map((one) => ({ ...one, pressed: one.name === view.plan_tier, currency: live.currency })), (name) => choose({ plan_tier: name }));
  panels.breakdown($("regions"), regions.map((one) => ({ ...one, pressed: one.name === view.region, currency: live.currency })), (name) => choose({ region: name }));
}

function drawHours() {
  const holds = (one, tier, region) => (!tier || one.plan_tier === tier) && (!region || one.region === region);
  const rows = marts.hours.filter((one) => holds(one, view.plan_tier, view.region));
  const hours = new Map();
  for (const one of rows) {
    const start = Date.parse(one.hour), held = hours.get(start) ?? [];
    hours.set(start, [...held, one]);
  }
  const worst = (held) => ["provisional", "restated", "final"].find((status) => held.some((one) => one.status === status));
  const found = [...hours].sort((a, b) => a[0] - b[0]).map(([start, held]) => ({ start, end: start + HOUR, net: sum(held.map((one) => one.net_amount)), status: worst(held) }));
  drawTotals(rows.map((one) => ({ net: one.net_amount, gross: one.gross_amount, refund: one.refund_amount, orders: one.orders, refunds: one.refunds })), `Net, last ${view.range === "24" ? "24 h" : "7 days"}`);
  drawChart(found.map((one) => ({ ...one, value: Number(one.net) / 10000, text: `${shown(one.net, live.currency)} ${live.currency}` })), true, `Net revenue in ${live.currency} per hour, from the marts`);
  const series = (name, test) => ({ name, texts: [...hours.keys()].sort((a, b) => a - b).map((start) => text(sum(marts.hours.filter((one) => Date.parse(one.hour) === start && test(one)).map((one) => one.net_amount)))), currency: live.currency });
  const names = (key) => inOrder(new Set(marts.hours.map((one) => one[key])));
  panels.breakdown($("tiers"), names("plan_tier").map((name) => ({ ...series(name, (one) => one.plan_tier === name && holds(one, "", view.region)), pressed: name === view.plan_tier })), (name) => choose({ plan_tier: name }));
  panels.breakdown($("regions"), names("region").map((name) => ({ ...series(name, (one) => one.region === name && holds(one, view.plan_tier, "")), pressed: name === view.region })), (name) => choose({ region: name }));
}

const text = (amount) => `${amount < 0n ? "-" : ""}${(amount < 0n ? -amount : amount) / 10000n}.${String((amount < 0n ? -amount : amount) % 10000n).padStart(4, "0")}`;

function points(windows, of) {
  return windows.map((one) => ({ start: one.start, end: one.end, value: drawn(of(one).net), text: `${shown(units(of(one).net), live.currency)} ${live.currency}`, status: one.status }));
}

function drawChart(found, bars, title) {
  $("chart-empty").hidden = found.length > 0;
  if (!found.length) {
    chart.clear();
    if ($("chart-empty").dataset.shown !== emptyText()) $("chart-empty").replaceChildren(...prose(emptyText()));
    $("chart-empty").dataset.shown = emptyText();
    return write($("chart-text"), "");
  }
  delete $("chart-empty").dataset.shown;
  chart.show(found, { bars });
  const high = found.reduce((most, one) => (one.value > most.value ? one : most));
  const restated = found.filter((one) => one.status === "restated").length;
  const open = found.some((one) => one.status === "provisional") ? " Lighter: provisional." : "";
  write($("chart-text"), `${title}, ${moment(found[0].start)} to ${moment(found.at(-1).end)} ${zoneName()}. Highest ${high.text} at ${clock(high.start)}.${open}${restated ? ` ◆ ${restated} restated.` : ""}`);
}

function emptyText() {
  if (!live.hasRevenue) return "Waiting for the first figures …";
  const feed = live.status?.feed.presence;
  if (feed === "catching_up" || feed === "connecting") return "Reading the topic of revenue …";
  return "No revenue in this range. `rtap generate --rate 500` sends events; the streams must run (`rtap streams start`).";
}

const ORDER = { free: 0, starter: 1, pro: 2, enterprise: 3 };
const inOrder = (names) => [...names].sort((a, b) => (ORDER[a] ?? 9) - (ORDER[b] ?? 9) || a.localeCompare(b));

function split(tumbling, name, known) {
  return inOrder(known).map((key) => ({ name: key, texts: tumbling.map((one) => one[name][key] ?? "0") }));
}

function drawCurrencies(tumbling) {
  const rows = live.currencies.map((code) => ({ name: code, texts: tumbling.map((one) => one.by_currency[code] ?? "0"), pressed: code === live.currency, currency: code }));
  write($("currencies-title"), `Each currency by itself${isLive() ? "" : ", last 3 h"}`);
  panels.breakdown($("currencies"), rows, (code) => choose({ currency: code }), { comparable: false });
}

function drawFilters() {
  options($("currency"), live.currencies.length ? live.currencies.map((code) => [code, code]) : [["", "–"]], live.currency);
  const all = (known, chosen) => [["", "All"], ...[...new Set([...known, chosen])].filter(Boolean).sort().map((name) => [name, name])];
  options($("plan_tier"), all(live.tiers, view.plan_tier), view.plan_tier);
  options($("region"), all(live.regions, view.region), view.region);
  for (const [box, values, name] of [[$("ranges"), RANGES, "range"], [$("kinds"), KINDS, "kind"]]) {
    if (!box.childElementCount) box.append(...values.map(([value, label]) => make("label", {}, make("input", { type: "radio", name, value, onchange: () => choose({ [name]: value }) }), label)));
    for (const input of box.querySelectorAll("input")) input.checked = input.value === view[name];
  }
  $("kind-field").hidden = !isLive();
}

function drawState() {
  const { status } = live;
  const silent = live.isLost || !status;
  const feed = status?.feed;
  const state = live.isLost ? "lost" : !status ? "connecting" : feed.presence === "live" ? "live" : feed.presence === "away" ? "away" : "connecting";
  $("live").dataset.state = state;
  const published = feed?.newest_record_ms ? `, newest figures ${ago(feed.newest_record_ms, now())} old` : "";
  write($("live-text"), { lost: "No connection to the dashboard", connecting: feed?.presence === "catching_up" ? "Catching up" : "Connecting", live: `Live${published}`, away: "Live feed is away" }[state]);
  document.body.classList.toggle("stale", state === "lost" || state === "away");
  notices(status, silent);
  if (!status) return;
  panels.streams($("streams"), status.streams.length ? status.streams : [], now());
  write($("fresh"), eventToGold(status));
  const refreshed = status.marts.refreshed_at ? `Marts of ${moment(Date.parse(status.marts.refreshed_at))} ${zoneName()}` : "No marts yet";
  write($("as-of"), `${refreshed}. Times in ${zoneName()}; server time ${seconds(now())}.`);
}

// How old gold's newest event was when gold committed it.
function eventToGold(status) {
  const gold = status.streams.find((one) => one.name === "gold");
  if (!gold?.watermark || !gold.last_commit_at || Date.parse(gold.valid_until) < now()) return "";
  const newest = Date.parse(gold.watermark) + status.gold_delay_seconds * 1000;
  const age = Math.max(0, Date.parse(gold.last_commit_at) - newest) / 1000;
  return `Event to gold: the newest event was ${age.toFixed(age < 10 ? 1 : 0)} s old at its commit`;
}

function notices(status, silent) {
  const found = [];
  const since = (one) => `since ${moment(Date.parse(one.since))} ${zoneName()}`;
  if (live.isLost) found.push(["bad", "No connection to the dashboard.", "The figures below are the last ones received; the page keeps trying to reconnect."]);
  if (!silent && status.feed.presence === "away") found.push(["bad", `The live feed is away ${since(status.feed)}.`, `${status.feed.detail} ${status.feed.remedy} The figures below are the last ones received; final ones still hold.`]);
  if (!silent && status.host.presence === "away") found.push(["warn", "The stream host does not answer.", `${status.host.detail} ${status.host.remedy} Whether streams run is not known; what they publish still appears.`]);
  if (!silent && status.marts.presence === "away") found.push(["warn", `The marts cannot be read ${since(status.marts)}.`, `${status.marts.detail} ${status.marts.remedy} Live figures go on; which windows are final is not known.`]);
  if (!silent && status.marts.presence === "none" && status.marts.refreshed_at) found.push(["warn", `The marts are gone ${since(status.marts)}.`, "Live figures go on; everything else is as it was read last. `rtap marts refresh` makes them again."]);
  else if (!silent && status.marts.presence === "none") found.push(["", "There are no marts yet.", "Status, history and quarantine follow with their first refresh, a few minutes after the start; at once with `rtap marts refresh`."]);
  if (!silent && status.feed.rejected) found.push(["warn", `${status.feed.rejected} messages of the revenue topic could not be read.`, "They are not in the live figures; the log of the dashboard names them."]);
  if (live.isCut) found.push(["warn", "There are more windows than are kept live.", "The oldest of the shown range are left out."]);
  const wanted = JSON.stringify(found);
  if ($("notices").dataset.shown === wanted) return;
  $("notices").dataset.shown = wanted;
  $("notices").replaceChildren(...found.map(([kind, title, body]) => make("p", { "data-is": kind }, make("strong", { text: title }), " ", ...prose(body))));
}

for (const name of ["currency", "plan_tier", "region"]) $(name).addEventListener("change", (event) => choose({ [name]: event.target.value }));
$("filters").addEventListener("submit", (event) => event.preventDefault());
options($("zone"), zones().map((name) => [name, name]), view.zone);
$("zone").addEventListener("change", (event) => choose({ zone: event.target.value }));
addEventListener("popstate", () => { view = fromAddress(); $("zone").value = view.zone; begin(); });
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken($("token").value);
  connection.again();
});

const THEMES = { auto: "automatic", light: "light", dark: "dark" };
function useTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").setAttribute("aria-label", `Appearance: ${THEMES[name]}`);
  $("theme").title = `Appearance: ${THEMES[name]}`;
  chart.repaint();
}
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES), next = names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length];
  try {
    localStorage.setItem("rtap-theme", next);
  } catch {
    // It holds for this page then.
  }
  useTheme(next);
});
useTheme(document.documentElement.dataset.theme ?? "auto");

begin();
refreshChecks();
setInterval(refreshChecks, 30000);
setInterval(paint, 1000);
