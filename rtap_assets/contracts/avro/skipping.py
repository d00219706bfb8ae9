"""Avro types of skipped fields: the same byte layout under names and types that every implementation accepts.

Names, docs, defaults, logical types and symbols do not affect the layout and are left out: the result has no name that a
parser could refuse, and two writers that differ only in these get the same text.
"""

from __future__ import annotations

from typing import Any

from rtap_assets.contracts.avro.model import PRIMITIVES, Node

TYPE_PREFIX = "t_"


class Skipper:
    """Renders the skipped types of one schema; named types are numbered in order of appearance."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._count = 0

    def next_name(self) -> str:
        """Return a type name that is unused in this schema."""
        self._count += 1
        return f"{TYPE_PREFIX}{self._count}"

    def skipped(self, node: Node) -> Any:
        """Return a JSON type with the byte layout of `node`."""
        if node.kind in PRIMITIVES:
            return node.kind
        if node.kind == "enum":
            return "int"  # how an enum is encoded
        if node.kind in ("array", "map"):
            part = "items" if node.kind == "array" else "values"
            return {"type": node.kind, part: self.skipped(node.branches[0])}
        return self._union(node) if node.kind == "union" else self._named(node)

    def _named(self, node: Node) -> Any:
        if id(node) in self._names:
            return self._names[id(node)]
        name = self._names[id(node)] = self.next_name()
        if node.kind == "fixed":
            return {"type": "fixed", "name": name, "size": node.size}
        fields = [{"name": f"f_{number}", "type": self.skipped(child.type)} for number, child in enumerate(node.fields)]
        return {"type": "record", "name": name, "fields": fields}

    def _union(self, node: Node) -> list[Any]:
        """Return the branches in order. A record around a branch adds no bytes and keeps equal branches distinct."""
        branches: list[Any] = []
        for branch in node.branches:
            text = self.skipped(branch)
            if not isinstance(text, str) or text in branches or text.startswith(TYPE_PREFIX):
                text = {"type": "record", "name": self.next_name(), "fields": [{"name": "f_0", "type": text}]}
            branches.append(text)
        return branches
