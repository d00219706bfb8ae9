"""Checks whether one schema version reads another's data with the meaning unchanged; needs no registry.

Stricter than a registry: besides Avro's resolution rules, no logical type, precision, scale or time unit may change
(Avro calls decimal scale 4 -> 2 compatible, which makes money wrong by a hundred), and no promotion may lose a digit.
Source: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from typing import Any

from rtap_assets.contracts.avro.schemas import SchemaVersion, parsed
from rtap_assets.errors import ContractError

# Avro also promotes int -> float, long -> float, long -> double and bytes -> string, but not every value survives those.
EXACT_PROMOTIONS = {("int", "long"), ("int", "double"), ("float", "double"), ("string", "bytes")}
LOSSY_PROMOTIONS = {("int", "float"), ("long", "float"), ("long", "double"), ("bytes", "string")}
LOGICAL_ATTRIBUTES = ("logicalType", "precision", "scale")
NAMED_TYPES = {"record", "enum", "fixed", "error"}

Schema = Any  # an Avro schema in JSON form: a name, an object, or a list for a union


def contract_breaks(writer_text: str, reader_text: str) -> list[str]:
    """Return what keeps `reader_text` from reading every datum of `writer_text` with the same meaning; [] if nothing.

    Fields that only the writer has are not breaks: the reader skips them.
    """
    try:
        writer = parsed(writer_text)
    except ContractError as error:
        return [f"writer: {error.message}"]
    try:
        reader = parsed(reader_text)
    except ContractError as error:
        return [f"reader: {error.message}"]
    comparison = _Comparison(_names(writer), _names(reader))
    return list(comparison.breaks(writer, reader, "$"))


def check_subject(versions: Sequence[SchemaVersion]) -> list[str]:
    """Return the findings over all versions of a subject: each pair in both directions, added fields, missing docs."""
    invalid = [f"{version.subject}: {version.version}: {fault}" for version in versions for fault in _validity(version)]
    if invalid:
        return invalid
    findings = []
    for writer, reader in permutations(versions, 2):
        prefix = f"{writer.subject}: {writer.version} read as {reader.version}"
        findings += [f"{prefix}: {broken}" for broken in contract_breaks(writer.text, reader.text)]
    for older, newer in pairwise(versions):
        for name in _added_without_null(older, newer):
            findings.append(f'{newer.subject}: {newer.version}: {name}: a new field must be ["null", T] with default null')
    for version in versions:
        undocumented = [name for name, child in _fields(version).items() if not child.get("doc")]
        findings += [f"{version.subject}: {version.version}: {name}: has no doc" for name in undocumented]
    return findings


def _validity(version: SchemaVersion) -> list[str]:
    try:
        parsed(version.text)
    except ContractError as error:
        return [error.message]
    return []


def _fields(version: SchemaVersion) -> dict[str, dict[str, Any]]:
    return {child["name"]: child for child in parsed(version.text).get("fields", [])}


def _added_without_null(older: SchemaVersion, newer: SchemaVersion) -> list[str]:
    added = [child for name, child in _fields(newer).items() if name not in _fields(older)]
    return [child["name"] for child in added if not (_is_optional(child["type"]) and child.get("default", "none") is None)]


def _is_optional(schema: Schema) -> bool:
    return isinstance(schema, list) and schema[0] == "null"


def _names(schema: Schema) -> dict[str, dict[str, Any]]:
    """Return the definition of every named type below `schema`, by full name."""
    found: dict[str, dict[str, Any]] = {}
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            if node["type"] in NAMED_TYPES:
                found[node["name"]] = node
            pending += [node[part] for part in ("items", "values") if part in node]
            pending += [child["type"] for child in node.get("fields", [])]
            if not isinstance(node["type"], str):
                pending.append(node["type"])
    return found


@dataclass
class _Comparison:
    """One writer schema against one reader schema, with the named types of each."""

    writer_names: dict[str, dict[str, Any]]
    reader_names: dict[str, dict[str, Any]]
    seen: set[tuple[str, str]] = field(default_factory=set)

    def breaks(self, writer: Schema, reader: Schema, path: str) -> Iterator[str]:
        """Yield every break at or below `path`."""
        writer, reader = _resolved(writer, self.writer_names), _resolved(reader, self.reader_names)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.breaks(branch, reader, path)
        elif isinstance(reader, list):
            yield from self._union_breaks(writer, reader, path)
        elif _kind(writer) != _kind(reader):
            yield from _promotion_breaks(writer, reader, path)
        else:
            yield from _logical_breaks(writer, reader, path)
            yield from self._same_kind_breaks(writer, reader, path)

    def _union_breaks(self, writer: Schema, reader: list[Schema], path: str) -> Iterator[str]:
        """Yield the breaks of the branch that Avro picks: the writer's own type and name, else the first promotion."""
        branches = [_resolved(branch, self.reader_names) for branch in reader]
        same = [branch for branch in branches if _kind(branch) == _kind(writer) and _same_name(writer, branch)]
        promoted = [branch for branch in branches if (_kind(writer), _kind(branch)) in EXACT_PROMOTIONS | LOSSY_PROMOTIONS]
        if same or promoted:
            yield from self.breaks(writer, (same or promoted)[0], path)
        else:
            yield f"{path}: {_label(writer)} is in no branch of the reader's union [{', '.join(map(_label, branches))}]"

    def _same_kind_breaks(self, writer: dict[str, Any], reader: dict[str, Any], path: str) -> Iterator[str]:
        kind = _kind(writer)
        if kind in NAMED_TYPES and not _same_name(writer, reader):
            yield f"{path}: {kind} {writer['name']} in the writer, {reader['name']} in the reader"
        elif kind in ("record", "error"):
            yield from self._record_breaks(writer, reader, path)
        elif kind == "enum":
            yield from _enum_breaks(writer, reader, path)
        elif kind == "fixed" and writer["size"] != reader["size"]:
            yield f"{path}: fixed of {writer['size']} bytes in the writer, {reader['size']} in the reader"
        elif kind == "array":
            yield from self.breaks(writer["items"], reader["items"], f"{path}[]")
        elif kind == "map":
            yield from self.breaks(writer["values"], reader["values"], f"{path}{{}}")

    def _record_breaks(self, writer: dict[str, Any], reader: dict[str, Any], path: str) -> Iterator[str]:
        pair = (writer["name"], reader["name"])
        if pair in self.seen:  # a record that contains itself
            return
        self.seen.add(pair)
        written = {child["name"]: child for child in writer["fields"]}
        for child in reader["fields"]:
            here = f"{path}.{child['name']}"
            source = next((written[name] for name in (child["name"], *child.get("aliases", ())) if name in written), None)
            if source is not None:
                yield from self.breaks(source["type"], child["type"], here)
            elif "default" not in child:
                yield f"{here}: missing in the writer, and the reader has no default"


def _resolved(schema: Schema, names: dict[str, dict[str, Any]]) -> Schema:
    """Return `schema` with a name replaced by its definition, and with `{"type": {…}}` unwrapped."""
    while isinstance(schema, dict) and not isinstance(schema["type"], str):
        schema = schema["type"]
    return names.get(schema, {"type": schema}) if isinstance(schema, str) else schema


def _kind(schema: dict[str, Any]) -> str:
    return str(schema["type"])


def _label(schema: dict[str, Any]) -> str:
    return str(schema.get("name") or schema.get("logicalType") or schema["type"])


def _same_name(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    """Return true for unnamed types; named types need the same full name, or an alias in the reader."""
    if _kind(writer) not in NAMED_TYPES:
        return True
    namespace = reader["name"].rpartition(".")[0]
    aliases = {alias if "." in alias or not namespace else f"{namespace}.{alias}" for alias in reader.get("aliases", ())}
    return writer["name"] in {reader["name"], *aliases}


def _promotion_breaks(writer: dict[str, Any], reader: dict[str, Any], path: str) -> Iterator[str]:
    pair = (_kind(writer), _kind(reader))
    if pair in LOSSY_PROMOTIONS:
        yield f"{path}: {pair[0]} in the writer, {pair[1]} in the reader: Avro promotes it, but not every value survives"
    elif pair not in EXACT_PROMOTIONS:
        yield f"{path}: {_label(writer)} in the writer, {_label(reader)} in the reader"
    else:
        yield from _logical_breaks(writer, reader, path)


def _logical_breaks(writer: dict[str, Any], reader: dict[str, Any], path: str) -> Iterator[str]:
    for attribute in LOGICAL_ATTRIBUTES:
        default = 0 if attribute == "scale" and "decimal" in (writer.get("logicalType"), reader.get("logicalType")) else None
        ours, theirs = writer.get(attribute, default), reader.get(attribute, default)
        if ours != theirs:
            yield f"{path}: {attribute} {ours or 'none'} in the writer, {theirs or 'none'} in the reader"


def _enum_breaks(writer: dict[str, Any], reader: dict[str, Any], path: str) -> Iterator[str]:
    """Yield each symbol that the reader would not decode as itself."""
    for symbol in writer["symbols"]:
        if symbol not in reader["symbols"]:
            fate = f"would be read as {reader['default']}" if "default" in reader else "the reader does not know it"
            yield f"{path}: symbol {symbol} of the writer: {fate}"
