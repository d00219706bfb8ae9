// Small helpers: every text reaches the page as text, never as markup; elements are changed in place, so nothing flickers.
export const $ = (id) => document.getElementById(id);

// Characters that turn the direction of text could make a page read as what it does not say.
const TURNING = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const plain = (text) => String(text).replace(TURNING, "\ufffd");

export function write(element, wanted) {
  const text = plain(wanted);
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = plain(value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Sentences with `commands` in them.
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? make("code", { text: part }) : part)).filter((part) => part !== "").map((part) => (typeof part === "string" ? plain(part) : part));
}

// Keeps one child per key, in order: made once, then updated.
export function each(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const key = keyOf(item);
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = create(item);
      child.dataset.key = key;
    }
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    update(child, item);
  });
  for (const child of old.values()) child.remove();
}

export function pill(element, kind, text) {
  if (element.className !== "pill") element.className = "pill";
  if (element.dataset.is !== kind) element.dataset.is = kind;
  write(element, text);
}

export function options(select, values, chosen) {
  const wanted = values.map(([value, label]) => `${value} ${label}`).join(" ");
  if (select.dataset.values !== wanted) {
    select.replaceChildren(...values.map(([value, label]) => make("option", { value, text: label })));
    select.dataset.values = wanted;
  }
  if (select.value !== chosen) select.value = chosen;
}

const SVG = "http://www.w3.org/2000/svg";

export function sparkline(svg, values) {
  const width = 88, height = 24, high = Math.max(...values, 0), low = Math.min(...values, 0), span = high - low || 1;
  const points = values.map((value, index) => {
    const x = values.length < 2 ? width : (index / (values.length - 1)) * width;
    return `${x.toFixed(1)},${(height - 2 - ((value - low) / span) * (height - 4)).toFixed(1)}`;
  });
  const line = svg.firstChild ?? svg.appendChild(document.createElementNS(SVG, "polyline"));
  const text = points.join(" ");
  if (line.getAttribute("points") !== text) line.setAttribute("points", text);
}

export function sparkSvg() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 88 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  return svg;
}
