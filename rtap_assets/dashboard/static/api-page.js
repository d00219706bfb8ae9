// The API's page, written from its OpenAPI description.
import { $, make } from "./dom.js";

const EXAMPLES = { "/api/dead-letters/{reason}": "/api/dead-letters/undecodable?limit=10", "/api/revenue": "/api/revenue?currency=EUR&limit=24", "/api/windows/tumbling": "/api/windows/tumbling?status=restated" };

const document_ = await (await fetch("openapi.json")).json();
$("about").textContent = document_.info.description.replaceAll("`", "");
for (const [path, { get }] of Object.entries(document_.paths)) {
  const rows = get.parameters.map((one) => make("tr", {}, make("td", {}, make("code", { text: one.name })), make("td", { text: one.description ?? "" })));
  const address = new URL(`.${EXAMPLES[path] ?? path}`, location.href).href;
  $("endpoints").append(make("section", { class: "card endpoint" }, make("h2", {}, make("code", { text: `GET ${path}` })), make("p", { text: get.summary }), make("code", { text: `curl '${address}' -H 'Accept: text/csv'` }), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Parameters of ${path}` }, make("table", {}, make("tbody", {}, ...rows)))));
}
