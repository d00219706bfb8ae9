"""Decides whether and how the contract reads a registered writer schema; needs no registry.

Stricter than Avro's resolution rules: no logical type, precision, scale or unit may change, and no promotion may lose a
digit. Builds both schemas of a decoder. In the writer's, whatever the contract does not need has a generated name and the
plainest type of the same layout, so that it cannot break the decoder; the reader's has only the contract's fields, always
the same, so that all decoders return the same columns.
Source: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtap_assets.contracts.avro.model import Field, Node, has_finite_values, has_weightless_items, parse
from rtap_assets.contracts.avro.schemas import SchemaVersion
from rtap_assets.contracts.avro.skipping import Skipper
from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import ContractError

AVRO = "AVRO"
# The last field of both schemas: bytes appended to the body, which the decoder must find where the event ends.
END_FIELD, END_TYPE = "end_of_event", "EndOfEvent"
END_OF_EVENT = bytes.fromhex("d1f09b3ee7c2a548")

AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Logical types that change what a number or bytes mean; Avro ignores others and reads the plain type.
INT_MEANINGS = frozenset({"date", "time-millis", "decimal"})
BYTES_MEANINGS = frozenset({"decimal", "big-decimal", "duration"})


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema as registered. `references` holds the texts that it refers to, by name, dependencies first."""

    text: str
    type: str = AVRO
    references: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoding:
    """How the records of a schema are decoded: writer and reader schema, and the source of each field.

    `sources` maps a contract field to the writer's field, `absent` fields become null, `skipped` are the writer's others.
    """

    writer_text: str
    reader_text: str
    sources: Mapping[str, str] = field(compare=False, default_factory=dict)
    absent: tuple[str, ...] = field(compare=False, default=())
    skipped: tuple[str, ...] = field(compare=False, default=())


@dataclass(frozen=True)
class Refusal:
    """Why the records of a schema are quarantined: the reason code, and one sentence with the path and the fault."""

    finding: str
    reason: Reason = Reason.INCOMPATIBLE_SCHEMA


Verdict = Decoding | Refusal


@dataclass(frozen=True)
class Contract:
    """The fields that every event needs, from the newest version of the contract; nullable fields are optional."""

    record: Node

    @classmethod
    def of(cls, versions: Sequence[SchemaVersion]) -> Contract:
        return cls(parse(versions[-1].text))


class _Broken(Exception):
    """Carries a finding to the refusal."""


def judge_schema(schema: RegisteredSchema, contract: Contract) -> Verdict:
    """Return how records written with the schema are read, or why they are not."""
    if schema.type != AVRO:
        return Refusal(f"the registry has a schema of type {schema.type} under this id, not Avro", Reason.NOT_AVRO)
    try:
        writer = parse(schema.text, schema.references)
        return _Judgment(writer, contract.record).decoding()
    except (_Broken, ContractError) as error:
        return Refusal(str(error))
    except RecursionError:
        return Refusal("$: the schema and its references are nested too deeply")


class _Judgment:
    """One writer schema against the contract."""

    def __init__(self, writer: Node, contract: Node) -> None:
        self._writer, self._contract = writer, contract
        self._skipper = Skipper()

    def decoding(self) -> Decoding:
        self._check_root()
        sources = {child.name: self._source(child) for child in self._contract.fields}
        wanted = {id(source): name for name, source in sources.items() if source is not None}
        if len(wanted) < sum(source is not None for source in sources.values()):
            raise _Broken("$: two fields of the contract are read from one field of the writer, by its aliases")
        types = {
            child.name: self._types(source, child)
            for child in self._contract.fields
            if (source := sources[child.name]) is not None
        }
        end = {"name": END_FIELD, "type": {"type": "fixed", "name": END_TYPE, "size": len(END_OF_EVENT)}}
        written: list[dict[str, Any]] = []
        for number, child in enumerate(self._writer.fields):
            name = wanted.get(id(child))
            type_ = self._skipper.skipped(child.type) if name is None else types[name][0]
            written.append({"name": f"skip_{number}" if name is None else name, "type": type_})
        read = [
            {"name": child.name, "type": types[child.name][1]}
            if child.name in types
            else {"name": child.name, "type": _absent(child.type), "default": None}
            for child in self._contract.fields
        ]
        name = self._contract.short_name
        return Decoding(
            writer_text=json.dumps({"type": "record", "name": name, "fields": [*written, end]}),
            reader_text=json.dumps({"type": "record", "name": name, "fields": [*read, end]}),
            sources={name: source.name for name, source in sources.items() if source is not None},
            absent=tuple(name for name, source in sources.items() if source is None),
            skipped=tuple(child.name for child in self._writer.fields if id(child) not in wanted),
        )

    def _check_root(self) -> None:
        writer, ours = self._writer, self._contract
        if writer.kind != "record":
            raise _Broken(f"$: {writer}; the contract wants a record {ours.short_name}")
        if not has_finite_values(writer):
            raise _Broken(f"$: record {writer.name} always contains itself, so no record of it can end")
        odd = next((child.name for child in writer.fields if has_weightless_items(child.type)), None)
        if odd is not None:
            raise _Broken(f"$.{odd}: an array of items that take no bytes, of which a short body may claim any number")
        theirs = {writer.short_name, *(alias.rpartition(".")[2] for alias in writer.aliases)}
        if not theirs & {ours.short_name, *(alias.rpartition(".")[2] for alias in ours.aliases)}:
            raise _Broken(
                f"$: record {writer.name}; the contract wants a record named {ours.short_name} in any namespace, or with "
                "that name as an alias"
            )

    def _source(self, ours: Field) -> Field | None:
        """Return the writer's field for a contract field: by name, by the contract's aliases, by the writer's aliases."""
        fields = self._writer.fields
        for found in (
            [child for child in fields if child.name == ours.name],
            [child for child in fields if child.name in ours.aliases],
            [child for child in fields if ours.name in child.aliases],
        ):
            if len(found) > 1:
                names = ", ".join(child.name for child in found)
                raise _Broken(f"$.{ours.name}: more than one field of the writer stands for it: {names}")
            if found:
                return found[0]
        if ours.type.is_nullable:
            return None
        alike = next((child.name for child in fields if child.name.lower() == ours.name.lower()), None)
        hint = f"; {alike} is another name, case counts" if alike else ""
        raise _Broken(f"$.{ours.name}: the writer's schema has no such field, and the contract has no default for it{hint}")

    def _types(self, source: Field, ours: Field) -> tuple[Any, Any]:
        """Return the types of a needed field, for the writer's schema and for the reader's."""
        path = f"$.{source.name}" if source.name == ours.name else f"$.{source.name} (for {ours.name})"
        wanted = ours.type.without_null
        node = source.type
        if node.kind != "union":
            if node.kind == "null" and ours.type.is_nullable:
                return "null", _absent(ours.type)
            return self._plain(node, wanted, path, source)
        values = [branch for branch in node.branches if branch.kind != "null"]
        if len(values) != 1 or len(node.branches) > 2:
            raise _Broken(f"{path}: {node}; the contract wants {_wish(wanted)}, at most with null beside it")
        written, read = self._plain(values[0], wanted, path, source)
        branches = ["null" if branch.kind == "null" else written for branch in node.branches]
        return branches, ["null", read]

    def _plain(self, node: Node, wanted: Node, path: str, source: Field) -> tuple[Any, Any]:
        if wanted.logical == "decimal":
            type_ = self._amount(node, wanted)
        elif wanted.logical is not None:
            same = (node.kind, node.logical) == (wanted.kind, wanted.logical)
            type_ = {"type": wanted.kind, "logicalType": wanted.logical} if same else None
        elif wanted.kind == "string":
            type_ = self._text(node, path)
        else:
            type_ = node.kind if node.kind == wanted.kind and node.logical not in INT_MEANINGS else None
        if type_ is None:
            raise _Broken(f"{path}: {node}{node.unit}; the contract wants {_wish(wanted)}{_hint(source, wanted)}")
        return type_, type_

    def _amount(self, node: Node, wanted: Node) -> Any:
        """Return bytes for a decimal of the same precision and scale, else None; the value is computed from them later."""
        theirs = (node.logical, node.precision, node.scale)
        if node.kind not in ("bytes", "fixed") or theirs != (wanted.logical, wanted.precision, wanted.scale):
            return None
        if node.kind == "bytes":
            return "bytes"
        if 10 ** int(str(wanted.precision)) > 2 ** (8 * node.size - 1):
            return None  # Avro ignores a logical type that does not fit
        return {"type": "fixed", "name": self._skipper.next_name(), "size": node.size}

    def _text(self, node: Node, path: str) -> Any:
        """Return the type for a text: strings, bytes without another meaning (same layout), or the symbols of an enum."""
        if node.kind == "string" or (node.kind == "bytes" and node.logical not in BYTES_MEANINGS):
            return "string"
        if node.kind != "enum":
            return None
        odd = next((symbol for symbol in node.symbols if not AVRO_NAME.fullmatch(symbol)), None)
        if odd is not None or not node.symbols or len(set(node.symbols)) < len(node.symbols):
            what = f"the symbol {odd!r} is not a name in Avro" if odd is not None else "its symbols are none or not unique"
            raise _Broken(f"{path}: {node}, but {what}")
        return {"type": "enum", "name": self._skipper.next_name(), "symbols": list(node.symbols)}


def _absent(ours: Node) -> list[Any]:
    """Return the reader's type of an optional field that the writer lacks."""
    wanted = ours.without_null
    if wanted.logical == "decimal" or wanted.logical is None:
        return ["null", wanted.kind]
    return ["null", {"type": wanted.kind, "logicalType": wanted.logical}]


def _wish(wanted: Node) -> str:
    if wanted.logical == "decimal":
        return f"decimal({wanted.precision}, {wanted.scale}) on bytes, or on a fixed that is large enough"
    if wanted.kind == "string":
        return "a string"
    return f"{wanted.kind} with logical type {wanted.logical}" if wanted.logical else f"{wanted.kind} without a logical type"


def _hint(source: Field, wanted: Node) -> str:
    if wanted.logical is not None and source.beside is not None:
        return f" (logicalType {source.beside} stands beside the type, where Avro ignores it: write it inside the type)"
    return ""
