// Times in the zone that the viewer chose, which is always named.
let zone = "UTC";
let formats = {};

export function useZone(name) {
  zone = name;
  formats = {};
}

export const zoneName = () => zone;

function format(kind, options) {
  formats[kind] ??= new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options });
  return formats[kind];
}

const CLOCK = { hour: "2-digit", minute: "2-digit" };
const plain = (ms) => format("clock", CLOCK).format(ms);
// When clocks are set back, an hour comes twice (half of one on Lord Howe): its times bear their offset.
const isTwice = (ms) => [-60, -30, 30, 60].some((minutes) => plain(ms + minutes * 60000) === plain(ms));
export const clock = (ms) => (isTwice(ms) ? format("offset", { ...CLOCK, timeZoneName: "shortOffset" }).format(ms) : plain(ms));
export const seconds = (ms) => format("seconds", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(ms);
export const day = (ms) => format("day", { day: "numeric", month: "short" }).format(ms);
export const moment = (ms) => `${day(ms)}, ${clock(ms)}`;

export function ago(ms, now) {
  const passed = Math.max(0, (now - ms) / 1000);
  if (passed < 90) return `${Math.round(passed)} s`;
  if (passed < 5400) return `${Math.round(passed / 60)} min`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h`;
  return `${Math.round(passed / 86400)} days`;
}

export function zones() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const all = Intl.supportedValuesOf ? Intl.supportedValuesOf("timeZone") : [];
  return [...new Set(["UTC", own, ...all])];
}

export function isZone(name) {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
