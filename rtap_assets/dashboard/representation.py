"""The forms in which rows leave the API: JSON, CSV and Arrow, chosen by the `Accept` header; answers kept as they are sent.

A decimal is text in JSON and CSV, with all its digits: a reader would turn a number into a float. Arrow has the types. In
CSV a text that a spreadsheet would take for a formula begins with an apostrophe: producers write it, and an operator opens
the file. An answer is kept while its snapshot is the newest: equal requests cost one statement.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
TYPES = (JSON, CSV, ARROW)
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
MOST_ANSWERS, MOST_BYTES = 256, 16 * 2**20  # of the answers that are kept; the least recently used leaves first
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # the last four are full-width, which count too
CHARSET = {JSON: "", CSV: "; charset=utf-8", ARROW: ""}


@dataclass(frozen=True)
class Rows:
    """Rows with their columns' names and DuckDB types; `next_cursor` begins the next page, `as_of` is their time."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    as_of: str = ""
    next_cursor: str = ""


@dataclass(frozen=True)
class Answer:
    """One answer: what names its snapshot and form, its bytes, and the headers that are its own."""

    identity: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class KeptAnswers:
    """Answers by the identity of their snapshot and the request. The event loop alone uses it."""

    most_answers: int = MOST_ANSWERS
    most_bytes: int = MOST_BYTES
    size: int = 0
    _kept: OrderedDict[tuple[str, str], Answer] = field(default_factory=OrderedDict)
    _making: dict[tuple[str, str], asyncio.Task[Answer]] = field(default_factory=dict)

    async def get(self, identity: str, request: str, make: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return the answer to a request from a snapshot; `make` it once for all who ask meanwhile, even if one leaves.

        What `make` read from a newer snapshot is kept as an answer of that one.
        """
        key = (identity, request)
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found
        if key not in self._making:
            self._making[key] = task = asyncio.create_task(self._made(request, make))
            task.add_done_callback(lambda _: self._making.pop(key))
        return await asyncio.shield(self._making[key])

    async def _made(self, request: str, make: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        answer = await make()
        key = (answer.identity, request)
        if len(answer.body) <= self.most_bytes and key not in self._kept:
            self._kept[key] = answer
            self.size += len(answer.body)
        while self.size > self.most_bytes or len(self._kept) > self.most_answers:
            _, dropped = self._kept.popitem(last=False)
            self.size -= len(dropped.body)
        return answer


def chosen_type(accept: str) -> str | None:
    """Return the type that the header prefers, JSON where it does not say; None when it takes none of them.

    Source: RFC 9110, section 12.5.1.
    """
    if not accept.strip():
        return JSON
    offers: dict[str, tuple[float, int]] = {}
    for part in accept.split(","):
        name, _, parameters = part.strip().partition(";")
        quality = _quality(parameters)
        for kind in TYPES:
            precision = _precision(name.strip().lower(), kind)
            if precision >= offers.get(kind, (0.0, -1))[1] and precision >= 0:
                offers[kind] = (quality, precision)
    wanted = {kind: quality for kind, (quality, _) in offers.items() if quality > 0}
    return max(wanted, key=lambda kind: (wanted[kind], -TYPES.index(kind)), default=None)


def written(found: Rows, kind: str) -> bytes:
    """Return the rows in one of the forms."""
    return {JSON: _json, CSV: _csv, ARROW: _arrow}[kind](found)


def _json(found: Rows) -> bytes:
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    document = {"as_of": found.as_of or None, "rows": rows, "next": found.next_cursor or None}
    return json.dumps(document, default=_text, ensure_ascii=False, separators=(",", ":")).encode()


def _csv(found: Rows) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(found.columns)
    is_text = [kind == "VARCHAR" for kind in found.types]
    writer.writerows([[_cell(value, text) for value, text in zip(row, is_text, strict=True)] for row in found.rows])
    return out.getvalue().encode()


def _arrow(found: Rows) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - a third of the process's memory, for the few who ask for it

    columns = {
        name: pa.array([row[index] for row in found.rows], _arrow_type(found.types[index], pa))
        for index, name in enumerate(found.columns)
    }
    table = pa.table(columns)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()


def _arrow_type(kind: str, pa: Any) -> Any:
    """Return Arrow's type for one of DuckDB's, so that every page of a reading has the same types."""
    if decimal := _DECIMAL.fullmatch(kind):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    plain = {
        "BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "BLOB": pa.binary(),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"), "HUGEINT": pa.decimal128(38, 0),
    }  # fmt: skip
    return plain.get(kind, pa.string())


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _cell(value: Any, is_text: bool) -> str:
    if value is None:
        return ""
    cell = str(value).lower() if isinstance(value, bool) else str(_text(value))
    return f"'{cell}" if is_text and cell.startswith(FORMULA) else cell


def _quality(parameters: str) -> float:
    for one in parameters.split(";"):
        name, _, value = one.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _precision(name: str, kind: str) -> int:
    if name == kind:
        return 2
    if name == f"{kind.partition('/')[0]}/*":
        return 1
    return 0 if name == "*/*" else -1
