// Writes the cases with avsc, decimals and times by logical types of the kind that its users write: `node write.js` prints lines.
"use strict";

const avro = require("avsc");
const fs = require("fs");
const path = require("path");

const recorded = path.join(__dirname, "..", "..");
const published = path.join(recorded, "..", "..", "..", "schemas", "sales.events.v1-value");
const schemas = {
  1: path.join(published, "1.avsc"),
  2: path.join(published, "2.avsc"),
  fixed: path.join(recorded, "fixed.avsc"),
};

function twosComplement(number, size) {
  let width = size || 1;
  while (!size && BigInt.asIntN(8 * width, number) !== number) width += 1;
  const digits = BigInt.asUintN(8 * width, number).toString(16).padStart(2 * width, "0");
  return Buffer.from(digits, "hex");
}

class DecimalType extends avro.types.LogicalType {
  _toValue(text) {
    const [whole, fraction] = text.replace("-", "").split(".");
    const unscaled = BigInt(whole + fraction.padEnd(4, "0")) * (text.startsWith("-") ? -1n : 1n);
    // Zero as no bytes, as encoders do that drop leading zeros.
    if (unscaled === 0n && !this.underlyingType.size) return Buffer.alloc(0);
    return twosComplement(unscaled, this.underlyingType.size);
  }
}

class MillisType extends avro.types.LogicalType {
  _toValue(date) {
    return date.getTime();
  }
}

const cases = JSON.parse(fs.readFileSync(path.join(recorded, "cases.json"), "utf8"));
const by = "avsc " + require("avsc/package.json").version;
for (const [name, file] of Object.entries(schemas)) {
  const type = avro.Type.forSchema(JSON.parse(fs.readFileSync(file, "utf8")), {
    logicalTypes: { decimal: DecimalType, "timestamp-millis": MillisType },
    registry: {},
  });
  for (const [label, values] of Object.entries(cases)) {
    const event = Object.assign({}, values, {
      event_time: new Date(values.event_time),
      ingest_time: new Date(values.ingest_time),
      schema_version: name === "1" ? 1 : 2,
    });
    console.log(JSON.stringify({ schema: name, case: label, body: type.toBuffer(event).toString("hex"), by }));
  }
}
