// Exact decimals: text of any number of digits with four places, added as whole numbers and rounded once, when shown.
const SCALE = 10000n;

export function units(text) {
  const [whole, part = ""] = String(text).replace("-", "").split(".");
  const found = BigInt(whole) * SCALE + BigInt((part + "0000").slice(0, 4));
  return String(text).startsWith("-") ? -found : found;
}

export function sum(texts) {
  return texts.reduce((total, text) => total + units(text), 0n);
}

// Two places, half away from zero as SQL's round; three where the currency has them.
export function shown(amount, currency) {
  const places = minorDigits(currency);
  const step = 10n ** BigInt(4 - places);
  const size = amount < 0n ? -amount : amount;
  const rounded = (size + step / 2n) / step;
  const digits = rounded.toString().padStart(places + 1, "0");
  const whole = digits.slice(0, -places).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return `${amount < 0n && rounded !== 0n ? "−" : ""}${whole}.${digits.slice(-places)}`;
}

export function drawn(text) {
  return Number(text);
}

export function share(part, whole) {
  if (whole === 0n) return "–";
  const tenths = (part * 2000n + whole) / (2n * whole);
  return `${tenths / 10n}.${tenths % 10n} %`;
}

function minorDigits(currency) {
  try {
    return Math.max(2, new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits);
  } catch {
    return 2;
  }
}
