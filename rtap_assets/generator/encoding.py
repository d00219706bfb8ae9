"""Avro's binary encoding for whole columns: each function returns one piece of bytes per event, to be joined by row.

A writer called per event costs 13-28 microseconds; joining columns costs about 3. A test compares the result with
fastavro's, byte for byte.
Source: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from fastavro import parse_schema, schemaless_writer
from numpy.typing import NDArray

UUID_CHARACTERS = 36
UUID_DASHES = (8, 13, 18, 23)
_LONGEST_VARINT = 10


def varint(number: int) -> bytes:
    """Return one zigzag variable-length integer."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def varints(numbers: NDArray[np.int64]) -> list[bytes]:
    """Return a zigzag variable-length integer for each number."""
    rest = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    digits = np.empty((len(numbers), _LONGEST_VARINT), dtype=np.uint8)
    lengths = np.ones(len(numbers), dtype=np.int64)
    for position in range(_LONGEST_VARINT):
        digits[:, position] = (rest & np.uint64(0x7F)).astype(np.uint8)
        rest = rest >> np.uint64(7)
        more = rest > 0
        digits[more, position] |= 0x80
        lengths += more
    packed = digits.tobytes()
    starts = range(0, len(packed), _LONGEST_VARINT)
    return [packed[start : start + length] for start, length in zip(starts, lengths.tolist(), strict=True)]


def text(value: str) -> bytes:
    """Return one string: its length in bytes, then UTF-8."""
    encoded = value.encode()
    return varint(len(encoded)) + encoded


def optional_text(value: str | None) -> bytes:
    """Return one value of `["null", "string"]`."""
    return b"\x00" if value is None else b"\x02" + text(value)


def decimals(unscaled: NDArray[np.int64]) -> list[bytes]:
    """Return a decimal in bytes for each unscaled value: the shortest two's complement, big-endian, as Java writes it."""
    sizes = [((number if number >= 0 else ~number).bit_length() >> 3) + 1 for number in unscaled.tolist()]
    return [
        _SHORT_LENGTHS[size] + number.to_bytes(size, "big", signed=True)
        for number, size in zip(unscaled.tolist(), sizes, strict=True)
    ]


_SHORT_LENGTHS = [varint(size) for size in range(64)]


def uuids(rng: np.random.Generator, size: int) -> tuple[list[bytes], list[str]]:
    """Return `size` random UUIDs (version 4), as Avro strings and as text."""
    raw = np.frombuffer(rng.bytes(16 * size), dtype=np.uint8).reshape(size, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    characters = np.frombuffer(raw.tobytes().hex().encode(), dtype=np.uint8).reshape(size, 32)
    framed = np.full((size, UUID_CHARACTERS + 1), ord("-"), dtype=np.uint8)
    framed[:, 0] = varint(UUID_CHARACTERS)[0]
    places = [place for place in range(UUID_CHARACTERS) if place not in UUID_DASHES]
    framed[:, np.array(places) + 1] = characters
    packed = framed.tobytes()
    encoded = [packed[start : start + UUID_CHARACTERS + 1] for start in range(0, len(packed), UUID_CHARACTERS + 1)]
    decoded = packed.decode("ascii")
    return encoded, [
        decoded[start + 1 : start + UUID_CHARACTERS + 1] for start in range(0, len(decoded), UUID_CHARACTERS + 1)
    ]


def join_columns(columns: Iterable[list[bytes]]) -> list[bytes]:
    """Return one value per row: the pieces of all columns, in order."""
    return list(map(b"".join, zip(*columns, strict=True)))


def encode_datum(datum: Any, schema: dict[str, Any]) -> bytes:
    """Return one datum as fastavro encodes it; for the few that are encoded individually."""
    buffer = io.BytesIO()
    schemaless_writer(buffer, schema, datum)
    return buffer.getvalue()


def physical(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the record schema without logical types: times are integers and decimals bytes, so any value can be written."""
    fields = [{**child, "type": _physical_type(child["type"])} for child in schema["fields"]]
    plain: dict[str, Any] = parse_schema({**schema, "fields": fields}, named_schemas={})
    return plain


def as_bytes(schema: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the record schema with bytes as the type of a text field, which has the same encoding."""
    fields = [child if child["name"] != field else {**child, "type": "bytes"} for child in schema["fields"]]
    plain: dict[str, Any] = parse_schema({**unparsed(schema), "fields": fields}, named_schemas={})
    return plain


def unparsed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without the annotations of fastavro's parser."""
    return {name: value for name, value in schema.items() if not name.startswith("__")}


def _physical_type(schema: Any) -> Any:
    return schema["type"] if isinstance(schema, dict) and "logicalType" in schema else schema
