// The panels below the chart: breakdowns, windows, streams, quality, quarantine, corrections, latency.
import { shown, share, sum, units, drawn } from "./amounts.js";
import { $, each, make, pill, prose, sparkSvg, sparkline, write } from "./dom.js";
import { ago, clock, day, moment, zoneName } from "./times.js";
import { read } from "./api.js";

const count = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const STATUS = { provisional: "Provisional", final: "Final", restated: "Restated", none: "No events" };
const STREAM_KIND = { running: "ok", stopped: "idle", starting: "idle", stopping: "idle", waiting: "warn", backoff: "warn", stalled: "warn", dirty: "warn", broken: "bad", refused: "bad", unknown: "unknown" };

export const words = (status) => STATUS[status] ?? status;

// rows: [{name, texts, pressed, currency}]; choose is called with the name, or with nothing to lift the filter.
export function breakdown(list, rows, choose, { comparable = true } = {}) {
  const totals = rows.map((row) => sum(row.texts));
  const most = totals.reduce((high, total) => (total > high ? total : high), 0n);
  each(
    list, rows.map((row, index) => ({ ...row, total: totals[index] })), (row) => row.name,
    (row) => {
      const button = make("button", { type: "button", onclick: () => choose(button.getAttribute("aria-pressed") === "true" ? "" : row.name) });
      button.append(make("span", { class: "name" }), sparkSvg(), make("span", { class: "value" }));
      if (comparable) button.append(make("progress", { max: "1000", "aria-hidden": "true" }));
      return make("li", {}, button);
    },
    (item, row) => {
      const [name, svg, value, bar] = item.firstChild.children;
      item.firstChild.setAttribute("aria-pressed", String(row.pressed));
      write(name, row.name);
      write(value, `${shown(row.total, row.currency)}${comparable ? "" : ` ${row.currency}`}`);
      value.dataset.figure = row.name;
      sparkline(svg, row.texts.map(drawn));
      if (bar) bar.value = most > 0n && row.total > 0n ? Number((row.total * 1000n) / most) : 0;
    },
  );
}

export function windowTable(rows, currency, now) {
  write($("windows-zone"), `Window, ${zoneName()}`);
  each(
    $("windows").tBodies[0], rows, (row) => String(row.start),
    () => make("tr", {}, ...["", "number", "number", "number", "", ""].map((name) => make("td", { class: name }))),
    (line, row) => {
      const [when, net, orders, refunds, status, change] = line.children;
      line.dataset.start = row.start;
      write(when, `${day(row.start) === day(now) ? "" : `${day(row.start)}, `}${clock(row.start)}\u2060–\u2060${clock(row.end)}`); // not broken at the dash
      write(net, row.status === "none" ? "–" : `${shown(units(row.net), currency)} ${currency}`);
      write(orders, count.format(row.orders));
      write(refunds, count.format(row.refunds));
      if (!status.firstChild) status.append(make("span"));
      pill(status.firstChild, row.status, words(row.status));
      write(change, row.change ?? "");
    },
  );
}

// Corrections of a window in this view: what the figure was before them, and their causes.
export function changeOf(window, corrections, currency) {
  const found = corrections.filter((one) => Date.parse(one.window_start) === window.start && Date.parse(one.window_end) === window.end);
  if (!found.length) return window.status === "restated" ? "The cause follows with the next refresh of the marts." : "";
  const change = found.reduce((total, one) => total + units(one.to_net_amount) - units(one.from_net_amount), 0n);
  const causes = [...new Set(found.map((one) => one.cause.replaceAll("_", " ")))].join(", ");
  const now = units(window.net);
  return `${shown(now - change, currency)} → ${shown(now, currency)} (${causes})`;
}

const rate = (value) => (value === null ? "–" : count.format(value));
const span = (value) => (value === null ? "–" : value < 10 ? `${value.toFixed(1)} s` : ago(0, value * 1000));

export function streams(list, found, now) {
  const late = (one) => Date.parse(one.valid_until) < now;
  each(
    list, found, (one) => one.name,
    (one) => {
      const facts = ["Lag", "Batch", "Committed", "Watermark"].flatMap((name) => [make("dt", { text: name }), make("dd")]);
      return make("li", {}, make("div", { class: "head" }, make("h3", { text: one.name }), make("span")), make("p", { class: "rate" }, make("span"), make("small", { text: " rows/s in" })), make("dl", {}, ...facts), make("p", { class: "why" }));
    },
    (item, one) => {
      const state = late(one) ? "unknown" : one.observed, known = state !== "unknown";
      const [head, speed, facts, why] = item.children;
      pill(head.lastChild, STREAM_KIND[state] ?? "idle", state);
      write(speed.firstChild, known ? rate(one.input_rows_per_second) : "–");
      const lag = one.lag_records === null ? "–" : one.lag_seconds ? `${rate(one.lag_records)} (${span(one.lag_seconds)})` : rate(one.lag_records);
      const mark = one.watermark === null ? "–" : `${ago(Date.parse(one.watermark), now)} ago`;
      const committed = one.last_commit_at === null ? "–" : `${ago(Date.parse(one.last_commit_at), now)} ago`;
      [lag, span(one.batch_seconds), committed, mark].forEach((text, index) => write(facts.children[2 * index + 1], known ? text : "–"));
      const error = one.last_error && state !== "running" ? `${one.last_error.message} ${one.last_error.remedy}` : "";
      const reason = one.waiting_for && known ? `Waits for ${one.waiting_for}. ${error}` : error;
      if (why.dataset.reason !== reason) why.replaceChildren(...prose(reason));
      why.dataset.reason = reason;
    },
  );
}

const PLACE = { "bronze.sales_events": "bronze", "silver.sales_events": "silver", "gold.revenue_5m": "gold" };

export function checks(rows, now) {
  const failed = rows.filter((one) => one.outcome === "failed");
  const idle = rows.filter((one) => one.outcome === "nothing to check");
  write($("checks-sum"), rows.length ? `${rows.length - failed.length - idle.length} passed, ${failed.length} failed, ${idle.length} had nothing to check` : "");
  checkList($("checks"), failed, now, rows.length ? "Every check that had something to look at passes." : "No check has run yet. They run every few minutes, and at once with `rtap dq run`.");
  $("checks-more").hidden = !rows.length;
  checkList($("checks-more").querySelector("ul"), rows, now, "");
}

function checkList(list, rows, now, otherwise) {
  const items = rows.length ? rows : otherwise ? [{ empty: otherwise }] : [];
  each(
    list, items, (one) => (one.empty ? "empty" : `${one.table_name} ${one.check_name}`),
    (one) => (one.empty ? make("li", { class: "empty-text" }) : make("li", {}, make("span", { class: "what" }), make("span"), make("span", { class: "why" }))),
    (item, one) => {
      if (one.empty) {
        if (item.dataset.shown !== one.empty) item.replaceChildren(...prose(one.empty));
        item.dataset.shown = one.empty;
        return;
      }
      const kind = one.outcome === "passed" ? "ok" : one.outcome !== "failed" ? "idle" : one.severity === "error" ? "bad" : "warn";
      write(item.children[0], `${one.check_name.replaceAll("_", " ")} · ${PLACE[one.table_name] ?? one.table_name}`);
      pill(item.children[1], kind, one.outcome === "failed" && one.severity === "warn" ? "failed, warning" : one.outcome);
      write(item.children[2], `${one.sentence} Observed ${number(one.observed)}, at most ${number(one.threshold)}; ${ago(Date.parse(one.measured_at), now)} ago.`);
    },
  );
}

const number = (value) => (value === null ? "–" : new Intl.NumberFormat("en", { maximumSignificantDigits: 4 }).format(value));

const REASONS = 6; // in sight; the rest unfold

export function quarantine(rows) {
  write($("dead-sum"), rows.length ? `${plural(total(rows, "records"), "record")}, ${plural(rows.length, "reason")}` : "");
  const sorted = [...rows].sort((a, b) => b.records - a.records);
  const [seen, more] = [sorted.slice(0, REASONS), sorted.slice(REASONS)];
  reasons($("dead"), seen.length ? seen : [{ empty: "Nothing is quarantined." }]);
  $("dead-more").hidden = !more.length;
  write($("dead-more").querySelector("summary"), `${plural(more.length, "more reason")}, ${plural(total(more, "records"), "record")}`);
  reasons($("dead-more").querySelector("ul"), more);
}

function reasons(list, items) {
  each(
    list, items, (one) => one.reason ?? "empty",
    (one) => {
      if (one.empty) return make("li", { class: "empty-text" });
      const details = make("details", {}, make("summary", {}, make("span", { class: "what" }), make("span", { class: "count" }), make("span", { class: "why" })), make("ul", { class: "samples" }));
      details.addEventListener("toggle", () => details.open && samples(details.lastChild, details.dataset.reason, details.dataset.last));
      return make("li", {}, details);
    },
    (item, one) => {
      if (one.empty) return write(item, one.empty);
      const details = item.firstChild, [what, records, why] = details.firstChild.children;
      details.dataset.reason = one.reason;
      details.dataset.last = one.last_seen;
      if (details.open && details.dataset.zone !== zoneName()) samples(details.lastChild, one.reason, one.last_seen);
      details.dataset.zone = zoneName();
      write(what, one.reason.replaceAll("_", " "));
      write(records, count.format(one.records));
      write(why, `${sentence(one.explanation)} Newest ${moment(Date.parse(one.last_seen))}.`);
    },
  );
}

// A text of the contract, as a sentence: names at its begin stay as they are.
const sentence = (text) => (!text || /[.!?]$/.test(text) ? text ?? "" : `${text}.`);

async function samples(list, reason, last) {
  if (!list.childElementCount) list.append(make("li", { text: "Reading the newest records …" }));
  const from = new Date(Date.parse(last) - 3600000).toISOString();
  try {
    const { rows } = await read(`api/dead-letters/${encodeURIComponent(reason)}`, { limit: "5", from });
    list.replaceChildren(...rows.slice(0, 5).map((one) => make("li", {}, make("span", { text: `${moment(Date.parse(one.kafka_timestamp))} · ${one.topic} ${one.kafka_partition}:${one.kafka_offset} · schema ${one.schema_id ?? "–"}` }), make("span", { text: one.detail ? ` · ${one.detail}` : "" }), make("code", { text: `key ${one.key}` }), make("code", { text: one.value }))));
    if (!rows.length) list.replaceChildren(make("li", { text: "There is no such record any more." }));
  } catch (error) {
    list.replaceChildren(make("li", { text: `The records cannot be read: ${error.message}` }));
  }
}

const CAUSES = { late: "Late rows added", later_copy: "Later copies removed", rejudged: "Judged again", erased: "Erased", foreign: "Changed by other programs" };

export function corrections(rows, now) {
  const headers = [...new Map(rows.map((one) => [one.correction_id, one])).values()];
  const pending = headers.filter((one) => one.state === "pending").length;
  write($("late-sum"), headers.length ? `${plural(headers.length, "correction")}${pending ? `, ${pending} pending` : ""}` : "");
  const items = Object.keys(CAUSES).map((cause) => ({ cause, own: headers.filter((one) => one.cause === cause), windows: rows.filter((one) => one.cause === cause && one.window_start) })).filter((one) => one.own.length);
  each(
    $("late"), items.length ? items : [{ empty: "Nothing has been corrected." }], (one) => one.cause ?? "empty",
    (one) => (one.empty ? make("li", { class: "empty-text" }) : make("li", {}, make("span", { class: "what" }), make("span", { class: "count" }), make("span", { class: "why" }))),
    (item, one) => {
      if (one.empty) return write(item, one.empty);
      const added = total(one.own, "rows_added"), removed = total(one.own, "rows_removed");
      write(item.children[0], CAUSES[one.cause]);
      write(item.children[1], [added ? `+${count.format(added)}` : "", removed ? `−${count.format(removed)}` : ""].filter(Boolean).join(" ") || "0");
      write(item.children[2], `${sentence(one.own[0].why)} ${plural(one.windows.length, "window figure changed", "window figures changed")}; last ${ago(Date.parse(one.own[0].planned_at), now)} ago.`);
    },
  );
}

const plural = (size, one, more = `${one}s`) => `${count.format(size)} ${size === 1 ? one : more}`;
const total = (rows, name) => rows.reduce((all, one) => all + (one[name] ?? 0), 0);
const PARTS = { ingest: "Event to producer", delivery: "Event to Kafka", processing: "Kafka to silver", end_to_end: "Event to silver" };

export function latency(rows) {
  const order = Object.keys(PARTS);
  const overall = rows.filter((one) => one.hour === null).sort((a, b) => order.indexOf(a.latency) - order.indexOf(b.latency));
  each(
    $("latency").tBodies[0], overall, (one) => one.latency,
    () => make("tr", {}, make("td"), ...[1, 2, 3].map(() => make("td", { class: "number" }))),
    (line, one) => [PARTS[one.latency] ?? one.latency, span(one.p50_ms / 1000), span(one.p90_ms / 1000), span(one.p99_ms / 1000)].forEach((text, index) => write(line.children[index], text)),
  );
}

export { share, day };
