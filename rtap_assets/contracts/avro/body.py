"""Reads an Avro body value by value and says how far it got: the byte and the field that failed, and why.

A second reader beside Spark's, for people and for repairs: it keeps the place of each value in the bytes, and one fault
does not cost the values before it. Pure and bounded: bytes of anybody can neither exhaust memory nor the stack.
Source: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from rtap_assets.contracts.avro.body_values import Fault, Finding, Reading, Value, by_logical_type

MOST_VALUES = 10_000
MOST_DEPTH = 64
LONG_BYTES = 10  # an integer of 64 bits takes ten bytes at most
TEXT = frozenset({"string", "bytes", "fixed", "enum"})
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def read_body(
    value: bytes, schema: str | Mapping[str, Any], *, start: int = 0, named: Mapping[str, Any] | None = None
) -> Reading:
    """Return what `value` holds from byte `start` on, written with the Avro schema; never raises for the bytes or schema.

    `named` are types that the schema refers to and does not define itself, by full name.
    """
    reader = _Reader(value, start)
    complete = False
    try:
        parsed = json.loads(schema) if isinstance(schema, str) else schema
        reader.names.update(named or {})
        reader.read(parsed, path="", namespace="", depth=0)
        complete = True
    except _Stopped:
        pass
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reader.findings.append(
            Finding(Fault.UNUSABLE_SCHEMA, "", reader.at, f"the writer's schema cannot be used: {type(error).__name__}")
        )
    if complete and reader.at < len(value):
        rest = len(value) - reader.at
        reader.findings.append(Finding(Fault.TRAILING_BYTES, "", reader.at, f"{rest} bytes follow the end of the event"))
    return Reading(tuple(reader.values), tuple(reader.findings), complete, reader.at)


def named_types(text: str) -> dict[str, Any]:
    """Return the named types that a schema's text defines, by full name; {} where it is no JSON."""
    reader = _Reader(b"", 0)
    try:
        _collect(json.loads(text), "", reader)
    except ValueError:
        return {}
    return reader.names


def _collect(schema: Any, namespace: str, reader: _Reader) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, namespace, reader)
    elif isinstance(schema, Mapping):
        inner = reader.name(schema, namespace) if "name" in schema else namespace
        for part in ("type", "items", "values"):
            _collect(schema.get(part), inner, reader)
        for child in schema.get("fields") or []:
            _collect(child.get("type"), inner, reader)


class _Stopped(Exception):
    """Reading cannot go on: the place of the next value is not known."""


class _Reader:
    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at = data, start
        self.values: list[Value] = []
        self.findings: list[Finding] = []
        self.names: dict[str, Any] = {}
        self.before = start

    def read(self, schema: Any, *, path: str, namespace: str, depth: int) -> None:
        if depth > MOST_DEPTH:
            self.stop(Fault.TOO_LARGE, path, self.at, f"values are nested deeper than {MOST_DEPTH}")
        if isinstance(schema, list):
            index = self.long(path)
            if not 0 <= index < len(schema):
                self.stop(Fault.INVALID_BRANCH, path, self.before, f"branch {index} of a union that has {len(schema)}")
            self.read(schema[index], path=path, namespace=namespace, depth=depth + 1)
            return
        if isinstance(schema, str) and schema not in PRIMITIVES:
            full = schema if "." in schema or f"{namespace}.{schema}" not in self.names else f"{namespace}.{schema}"
            if full not in self.names:
                self.stop(Fault.UNUSABLE_SCHEMA, path, self.at, "the writer's schema names a type that it does not define")
            self.read(self.names[full], path=path, namespace=full.rpartition(".")[0], depth=depth + 1)
            return
        attributes = schema if isinstance(schema, Mapping) else {"type": schema}
        kind = attributes["type"]
        if isinstance(kind, list | Mapping):
            self.read(kind, path=path, namespace=namespace, depth=depth + 1)
            return
        if kind in ("record", "error"):
            self.record(attributes, path, namespace, depth)
        elif kind == "array":
            self.array(attributes["items"], path, namespace, depth)
        elif kind == "map":
            self.map(attributes["values"], path, namespace, depth)
        elif kind not in PRIMITIVES and kind not in TEXT:
            self.read(kind, path=path, namespace=namespace, depth=depth + 1)
        else:
            self.scalar(kind, attributes, path, namespace)

    def record(self, schema: Mapping[str, Any], path: str, namespace: str, depth: int) -> None:
        own = self.name(schema, namespace)
        for child in schema["fields"]:
            inner = f"{path}.{child['name']}" if path else str(child["name"])
            self.read(child["type"], path=inner, namespace=own, depth=depth + 1)

    def array(self, items: Any, path: str, namespace: str, depth: int) -> None:
        for index in self.blocks(path):
            self.read(items, path=f"{path}[{index}]", namespace=namespace, depth=depth + 1)

    def map(self, values: Any, path: str, namespace: str, depth: int) -> None:
        for _ in self.blocks(path):
            key = self.text(self.sized(path), path).decode("utf-8", errors="replace")
            self.read(values, path=f"{path}{{{key}}}", namespace=namespace, depth=depth + 1)

    def blocks(self, path: str) -> Iterator[int]:
        """Yield an index for each item, block by block."""
        index = 0
        while count := self.long(path):
            begin = self.before
            if count < 0:
                count = -count
                self.long(path)  # the size of the block in bytes
            if index + count > MOST_VALUES:
                self.stop(
                    Fault.LENGTH_BOMB, path, begin, f"a block of {count} items; {len(self.data) - self.at} bytes follow"
                )
            for _ in range(count):
                yield index
                index += 1

    def scalar(self, kind: str, schema: Mapping[str, Any], path: str, namespace: str) -> None:
        start, content = self.at, None
        value: Any = None
        if kind == "boolean":
            byte = self.take(1, path)[0]
            if byte > 1:
                self.stop(Fault.INVALID_BOOLEAN, path, start, f"byte 0x{byte:02x} is neither 0 nor 1")
            value = bool(byte)
        elif kind in ("int", "long"):
            value = self.long(path)
            if kind == "int" and not -(2**31) <= value < 2**31:
                self.stop(Fault.INVALID_NUMBER, path, start, f"{value} does not fit an int of 32 bits")
        elif kind in ("float", "double"):
            value = struct.unpack("<f" if kind == "float" else "<d", self.take(4 if kind == "float" else 8, path))[0]
        elif kind == "enum":
            value, content = self.symbol(schema, path, namespace)
        elif kind == "fixed":
            self.name(schema, namespace)
            value = content = self.take(int(schema["size"]), path)
        elif kind in ("bytes", "string"):
            value = content = self.sized(path)
            if kind == "string":
                value = self.text(content, path).decode("utf-8", errors="backslashreplace")
        if len(self.values) >= MOST_VALUES:
            self.stop(Fault.TOO_LARGE, path, start, f"more than {MOST_VALUES} values")
        logical = {name: schema[name] for name in ("logicalType", "precision", "scale") if name in schema}
        self.values.append(Value(path, kind, start, self.at, by_logical_type(value, logical), content, logical))

    def symbol(self, schema: Mapping[str, Any], path: str, namespace: str) -> tuple[str, bytes]:
        self.name(schema, namespace)
        start, symbols = self.at, schema["symbols"]
        index = self.long(path)
        if not 0 <= index < len(symbols):
            self.stop(Fault.INVALID_SYMBOL, path, start, f"index {index} of an enum that has {len(symbols)} symbols")
        return symbols[index], str(symbols[index]).encode()

    def name(self, schema: Mapping[str, Any], namespace: str) -> str:
        """Remember a named type; return the namespace that its content is in."""
        full = str(schema.get("name", ""))
        space = schema.get("namespace", namespace)
        if "." not in full and space:
            full = f"{space}.{full}"
        self.names[full] = schema
        return full.rpartition(".")[0]

    def long(self, path: str) -> int:
        """Return a zigzag integer; `before` is where it began."""
        self.before = self.at
        number, shift, byte = 0, 0, 0x80
        while byte & 0x80:
            byte = self.take(1, path)[0]
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 7 * LONG_BYTES or number >= 2**64:
                self.stop(Fault.INVALID_NUMBER, path, self.before, "an integer of more than 64 bits")
        return (number >> 1) ^ -(number & 1)

    def sized(self, path: str) -> bytes:
        start, length = self.at, self.long(path)
        rest = len(self.data) - self.at
        if length < 0:
            self.stop(Fault.NEGATIVE_LENGTH, path, start, f"a length of {length}")
        if length > rest:
            bomb = length > 2 * len(self.data)
            fault = Fault.LENGTH_BOMB if bomb else Fault.TRUNCATED
            self.stop(fault, path, start, f"a length of {length} bytes where {rest} are left")
        return self.take(length, path)

    def text(self, content: bytes, path: str) -> bytes:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            at = self.at - len(content) + error.start
            byte = content[error.start]
            self.findings.append(Finding(Fault.INVALID_UTF8, path, at, f"0x{byte:02x} is not valid UTF-8 ({error.reason})"))
        return content

    def take(self, count: int, path: str) -> bytes:
        if self.at + count > len(self.data):
            self.stop(Fault.TRUNCATED, path, len(self.data), "the value ends here")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def stop(self, fault: Fault, path: str, offset: int, detail: str) -> NoReturn:
        self.findings.append(Finding(fault, path, offset, detail))
        raise _Stopped
