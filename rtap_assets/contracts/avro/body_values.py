"""What reading an Avro body gives: its values with their places in the bytes, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any

from rtap_assets.runtime.clock import EPOCH

MOST_DECIMAL_BYTES = 4_096


class Fault(StrEnum):
    """What can be wrong with a body."""

    TRUNCATED = "truncated"
    LENGTH_BOMB = "length_bomb"
    NEGATIVE_LENGTH = "negative_length"
    INVALID_NUMBER = "invalid_number"
    INVALID_BOOLEAN = "invalid_boolean"
    INVALID_BRANCH = "invalid_union_branch"
    INVALID_SYMBOL = "invalid_enum_index"
    INVALID_UTF8 = "invalid_utf8"
    TRAILING_BYTES = "trailing_bytes"
    TOO_LARGE = "too_many_values"
    UNUSABLE_SCHEMA = "unusable_schema"


@dataclass(frozen=True)
class Finding:
    """One fault: in which field, at which byte of the value, and a sentence."""

    fault: Fault
    path: str
    offset: int
    detail: str

    def __str__(self) -> str:
        where = f"field {self.path}, " if self.path else ""
        return f"{where}byte {self.offset}: {self.detail}"


@dataclass(frozen=True)
class Value:
    """One value that was read: bytes `start` to `end` (exclusive), without the index of a union in front of it.

    `content` is what a string, bytes or fixed holds; `value` is Python's, by its logical type where that is known.
    """

    path: str
    kind: str
    start: int
    end: int
    value: Any
    content: bytes | None = None
    logical: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """The values in the order of the bytes, and the faults. It is `complete` when all fields could be read.

    Text that is not UTF-8 and bytes behind the end are faults of a complete reading.
    """

    values: tuple[Value, ...]
    findings: tuple[Finding, ...]
    complete: bool
    end: int

    def find(self, path: str) -> Value | None:
        """Return the value at a path, for example `amount` or `tags[0]`."""
        return next((value for value in self.values if value.path == path), None)


def by_logical_type(value: Any, logical: Mapping[str, Any]) -> Any:
    """Return the value by its logical type; as it is where that is unknown or out of Python's reach."""
    kind = logical.get("logicalType")
    try:
        if kind in ("timestamp-millis", "timestamp-micros"):
            return EPOCH + timedelta(microseconds=value * (1000 if kind.endswith("millis") else 1))
        if kind == "date":
            return date(1970, 1, 1) + timedelta(days=value)
        if kind == "decimal" and isinstance(value, bytes) and len(value) <= MOST_DECIMAL_BYTES:
            return _unscaled_to_decimal(value, scale=int(logical.get("scale", 0)))
    except (OverflowError, TypeError, ValueError):
        pass  # shown as the number that it is: 1.8e18 milliseconds are no instant of the calendar
    return value


def _unscaled_to_decimal(unscaled: bytes, *, scale: int) -> Decimal:
    """Return an amount exactly: two's complement, big-endian, any width; no bytes are zero."""
    with localcontext() as context:
        context.prec = max(28, 3 * len(unscaled) + 3)
        return Decimal(int.from_bytes(unscaled, "big", signed=True)).scaleb(-scale)
