// The chart of net revenue: one series in the accent color; what is provisional is lighter, what was restated is marked.
import { make, write } from "./dom.js";
import { clock, day, zoneName } from "./times.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export class Chart {
  constructor(box) {
    this.box = box;
    this.plot = null;
    this.shape = "";
    this.points = [];
    this.tip = box.appendChild(make("div", { class: "tip", "aria-hidden": "true", hidden: "" }));
    new ResizeObserver(() => this.resize()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.plot?.redraw(false));
  }

  repaint() {
    this.plot?.redraw(false);
  }

  // points: [{start, end, value, text, status}], oldest first; times in milliseconds.
  show(found, { bars }) {
    const points = (this.points = withGaps(found)), data = split(points, bars);
    const shape = `${bars}|${zoneName()}`;
    if (!this.plot || shape !== this.shape) {
      this.plot?.destroy();
      this.shape = shape;
      this.plot = new uPlot(this.settings(bars), data, this.box);
    } else {
      this.plot.setData(data);
    }
  }

  clear() {
    this.plot?.destroy();
    this.plot = null;
    this.tip.hidden = true;
  }

  resize() {
    if (this.plot && this.box.clientWidth) this.plot.setSize(this.size());
  }

  size() {
    return { width: this.box.clientWidth, height: this.box.clientHeight };
  }

  settings(bars) {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const font = `${0.75 * rem}px ${css("--font")}`;
    const paths = bars ? uPlot.paths.bars({ size: [0.72, 5 * rem], radius: 0.15 }) : uPlot.paths.linear();
    const axis = { stroke: () => css("--muted"), font, ticks: { show: false }, grid: { stroke: () => css("--line"), width: 1 } };
    const one = { paths, points: { show: false }, width: bars ? 0 : (2 * rem) / 16, spanGaps: false };
    return {
      ...this.size(),
      padding: [rem * 0.5, rem * 1.25, 0, 0], // room for half of the last label
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), zoneName()),
      scales: { x: { time: true, range: () => span(this.points, bars) }, y: { range: (_, low, high) => [Math.min(0, low), Math.max(high, 1) * 1.08] } },
      axes: [
        { ...axis, grid: { show: false }, incrs: MARKS, size: 2 * rem, gap: 0.5 * rem, space: 5 * rem, values: (_, marks, __, ___, distance) => marks.map((mark) => (distance >= 86400 ? day(mark * 1000) : clock(mark * 1000))) },
        { ...axis, size: 3.75 * rem, gap: 0.5 * rem, space: 2.5 * rem, values: (_, marks) => marks.map((mark) => compact.format(mark)) },
      ],
      series: [
        {},
        { ...one, stroke: () => css("--accent"), fill: () => (bars ? css("--accent") : css("--accent-soft")) },
        { ...one, stroke: () => css("--accent"), dash: bars ? undefined : [5, 4], fill: () => css("--accent-soft"), width: (1.5 * rem) / 16 },
      ],
      hooks: { draw: [(plot) => this.mark(plot)], setCursor: [(plot) => this.point(plot)] },
    };
  }

  mark(plot) {
    const { ctx } = plot, size = 0.28 * parseFloat(getComputedStyle(document.documentElement).fontSize) * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = css("--warn");
    for (const point of this.points) {
      if (point.status !== "restated" || point.value === null) continue;
      const x = plot.valToPos(middle(point), "x", true), y = plot.valToPos(point.value, "y", true) - size * 2;
      ctx.beginPath();
      ctx.moveTo(x, y - size);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y + size);
      ctx.lineTo(x - size, y);
      ctx.fill();
    }
    ctx.restore();
  }

  point(plot) {
    const point = this.points[plot.cursor.idx];
    this.tip.hidden = !point || point.value === null || plot.cursor.left < 0;
    if (this.tip.hidden) return;
    write(this.tip, `${clock(point.start)}–${clock(point.end)}  ${point.text}  ${point.status}`);
    const left = plot.valToPos(middle(point), "x") + plot.bbox.left / devicePixelRatio;
    this.tip.style.left = `${Math.min(Math.max(left, this.tip.offsetWidth / 2), this.box.clientWidth - this.tip.offsetWidth / 2)}px`;
  }
}

const MARKS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080].map((minutes) => 60 * minutes);
const middle = (point) => (point.start + point.end) / 2000;
const step = (points) => points.slice(1).reduce((least, one, index) => Math.min(least, middle(one) - middle(points[index])), points.length > 1 ? Infinity : 300);

// Where windows are missing nothing is known to have happened: a line must not lead across.
function withGaps(points) {
  const wide = step(points) * 1500;
  return points.flatMap((one, index) => (index && one.start - points[index - 1].start > wide ? [{ start: points[index - 1].end, end: one.start, value: null, status: "none" }, one] : [one]));
}

// The times that the chart spans, from the points themselves: for a single one uPlot would choose years.
function span(points, bars) {
  const room = bars || points.length < 2 ? step(points) / 2 : 0;
  return points.length ? [middle(points[0]) - room, middle(points.at(-1)) + room] : [0, 1];
}

// Two series: what is settled, and what is provisional. A line joins the two at the point where one ends.
function split(points, bars) {
  const settled = [], open = [];
  points.forEach((point, index) => {
    const isOpen = point.status === "provisional";
    settled.push(isOpen ? null : point.value);
    const joins = !bars && !isOpen && points[index + 1]?.status === "provisional";
    open.push(isOpen || joins ? point.value : null);
  });
  return [points.map(middle), settled, open];
}
