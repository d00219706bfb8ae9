"""An Avro schema as a graph of nodes, reduced to what decides the byte layout and the meaning of a datum.

Lenient on purpose, as registries and clients are: names, docs, defaults and duplicates that some implementations refuse
are accepted as long as the layout is clear. A schema with an ambiguous layout is a `ContractError`.
Source: https://avro.apache.org/docs/1.12.0/specification/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtap_assets.errors import ContractError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
# Deeper schemas are refused: parsers of several languages, ours too, work recursively.
DEEPEST_NESTING = 200
LARGEST_FIXED = 2**31 - 1
UNIT_OF = {
    "timestamp-micros": "microseconds",
    "timestamp-nanos": "nanoseconds",
    "local-timestamp-millis": "milliseconds of a local clock without a time zone",
    "local-timestamp-micros": "microseconds of a local clock without a time zone",
    "local-timestamp-nanos": "nanoseconds of a local clock without a time zone",
    "time-micros": "microseconds of a day",
}


@dataclass(eq=False)
class Field:
    """A field of a record. `beside` is a logical type declared next to the field's type, where Avro ignores it."""

    name: str
    type: Node
    aliases: tuple[str, ...] = ()
    beside: str | None = None


@dataclass(eq=False)
class Node:
    """One type. `kind` is a primitive, or record, enum, fixed, array, map, union; the other attributes belong to some kinds.

    A named type is one node however often it is used, so a recursive record is a cycle.
    """

    kind: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    logical: str | None = None
    precision: object = None
    scale: object = 0
    size: int = 0
    symbols: tuple[str, ...] = ()
    fields: list[Field] = field(default_factory=list)
    branches: list[Node] = field(default_factory=list)  # of a union; the one element of an array or a map

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def is_nullable(self) -> bool:
        return self.kind == "union" and any(branch.kind == "null" for branch in self.branches)

    @property
    def without_null(self) -> Node:
        """Return a union's first branch that is not null; any other type as it is."""
        branches = self.branches if self.kind == "union" else []
        return next((branch for branch in branches if branch.kind != "null"), self)

    @property
    def unit(self) -> str:
        """Return a clause about what a logical type counts; empty for most."""
        unit = UNIT_OF.get(self.logical or "")
        return f", which counts {unit}" if unit else ""

    def __str__(self) -> str:
        if self.kind == "union":
            return f"a union of {', '.join(str(branch) for branch in self.branches[:8]) or 'nothing'}"
        logical = f"decimal({self.precision}, {self.scale})" if self.logical == "decimal" else self.logical
        suffix = f" with logical type {logical}" if logical else ""
        named = f" {self.name}" if self.name else ""
        return f"{self.kind}{named}{suffix}"


def parse(text: str, references: Mapping[str, str] | None = None) -> Node:
    """Return the schema of `text`; `references` holds the schemas it refers to by name, dependencies first.

    Raises:
        ContractError: the text is not an Avro schema with a clear layout; the message gives path and cause.
    """
    names: dict[str, Node] = {}
    for name, definition in (references or {}).items():
        node = _parsed(definition, names, what=f"reference {name}")
        names.setdefault(name, node)
    return _parsed(text, names, what="$")


def _parsed(text: str, names: dict[str, Node], *, what: str) -> Node:
    try:
        document = json.loads(text)
    except ValueError:
        document = text.strip()  # some registries keep a primitive without its quotation marks
        if document not in PRIMITIVES:
            raise ContractError(f"{what}: the registered text is not JSON") from None
    except RecursionError:
        raise ContractError(f"{what}: the schema is nested more than {DEEPEST_NESTING} levels deep") from None
    return _Parser(names).node(document, namespace="", path=what, depth=0)


@dataclass
class _Parser:
    names: dict[str, Node]

    def node(self, document: Any, *, namespace: str, path: str, depth: int) -> Node:
        if depth > DEEPEST_NESTING:
            raise ContractError(f"{path[:60]}…: the schema is nested more than {DEEPEST_NESTING} levels deep")
        if isinstance(document, str):
            return self._by_name(document, namespace=namespace, path=path)
        if isinstance(document, list):
            branches = [self.node(one, namespace=namespace, path=path, depth=depth + 1) for one in document]
            if not branches:
                raise ContractError(f"{path}: a union of nothing has no values")
            return Node("union", branches=branches)
        if not isinstance(document, dict) or "type" not in document:
            raise ContractError(f"{path}: {json.dumps(document)[:60]} is not an Avro type")
        if not isinstance(document["type"], str):
            return self.node(document["type"], namespace=namespace, path=path, depth=depth + 1)
        return self._object(document["type"], document, namespace=namespace, path=path, depth=depth)

    def _object(self, kind: str, document: dict[str, Any], *, namespace: str, path: str, depth: int) -> Node:
        if kind in PRIMITIVES:
            return self._with_logical(Node(kind), document)
        if kind in ("array", "map"):
            part = "items" if kind == "array" else "values"
            if part not in document:
                raise ContractError(f"{path}: the {kind} does not say what its {part} are")
            return Node(kind, branches=[self.node(document[part], namespace=namespace, path=path + "[]", depth=depth + 1)])
        if kind in ("record", "error", "enum", "fixed"):
            return self._named(document, namespace=namespace, path=path, depth=depth)
        return self._by_name(kind, namespace=namespace, path=path)

    def _by_name(self, name: str, *, namespace: str, path: str) -> Node:
        if name in PRIMITIVES:
            return Node(name)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        node = self.names.get(full) or self.names.get(name)
        if node is None:
            raise ContractError(f"{path}: it uses the type {name[:80]}, which neither the schema nor its references define")
        return node

    def _named(self, document: dict[str, Any], *, namespace: str, path: str, depth: int) -> Node:
        name = document.get("name")
        if not isinstance(name, str) or not name:
            raise ContractError(f"{path}: the {document['type']} has no name")
        namespace = name.rpartition(".")[0] if "." in name else str(document.get("namespace") or namespace)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        kind = "record" if document["type"] == "error" else document["type"]
        node = self._with_logical(Node(kind, name=full, aliases=_texts(document.get("aliases"))), document)
        self.names[full] = node  # before its fields, which can refer to it
        if kind == "fixed":
            size = document.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LARGEST_FIXED:
                raise ContractError(f"{path}: fixed {full} has the size {size!r}")
            node.size = size
        elif kind == "enum":
            node.symbols = _texts(document.get("symbols"))
        else:
            self._fields(node, document, namespace=namespace, path=path, depth=depth)
        return node

    def _fields(self, node: Node, document: dict[str, Any], *, namespace: str, path: str, depth: int) -> None:
        fields = document.get("fields")
        if not isinstance(fields, list):
            raise ContractError(f"{path}: record {node.name} has no list of fields")
        for number, one in enumerate(fields):
            if not isinstance(one, dict) or "type" not in one or not isinstance(one.get("name"), str):
                raise ContractError(f"{path}: field {number} of record {node.name} has no name or no type")
            type_ = self.node(one["type"], namespace=namespace, path=f"{path}.{one['name']}", depth=depth + 1)
            beside = one.get("logicalType")
            node.fields.append(
                Field(one["name"], type_, _texts(one.get("aliases")), beside if isinstance(beside, str) else None)
            )

    @staticmethod
    def _with_logical(node: Node, document: dict[str, Any]) -> Node:
        logical = document.get("logicalType")
        node.logical = logical if isinstance(logical, str) else None
        if node.logical == "decimal":
            node.precision, node.scale = document.get("precision"), document.get("scale", 0)
        return node


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _nodes_below(root: Node) -> list[Node]:
    """Return every type in the schema, once."""
    nodes, pending = [], [root]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if id(node) not in seen:
            seen.add(id(node))
            nodes.append(node)
            pending += node.branches + [child.type for child in node.fields]
    return nodes


def has_finite_values(root: Node) -> bool:
    """Return whether any datum of the type is finite: a record that always contains itself has none."""
    return id(root) in _closure(_nodes_below(root), _is_finite)


def has_weightless_items(root: Node) -> bool:
    """Return whether an array's items can take zero bytes: a short body could then claim billions of them."""
    nodes = _nodes_below(root)
    weightless = _closure(nodes, _is_weightless)
    return any(node.kind == "array" and id(node.branches[0]) in weightless for node in nodes)


def _closure(nodes: list[Node], holds: Callable[[Node, set[int]], bool]) -> set[int]:
    """Return the ids of the nodes for which `holds` is true, given those of their parts (the least fixed point)."""
    found: set[int] = set()
    before = -1
    while before != len(found):
        before = len(found)
        found |= {id(node) for node in nodes if holds(node, found)}
    return found


def _is_weightless(node: Node, weightless: set[int]) -> bool:
    if node.kind == "record":
        return all(id(child.type) in weightless for child in node.fields)
    return node.kind == "null" or (node.kind == "fixed" and node.size == 0)


def _is_finite(node: Node, finite: set[int]) -> bool:
    if node.kind == "record":
        return all(id(child.type) in finite for child in node.fields)
    if node.kind == "union":
        return any(id(branch) in finite for branch in node.branches)
    return True  # arrays and maps can be empty
