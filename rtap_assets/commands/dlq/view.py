"""Renders dead letters as text as wide as the terminal. Producers' text is escaped: it cannot control the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rtap_assets.contracts.avro.wire import HEADER_BYTES
from rtap_assets.contracts.dead_letters import DeadLetter, Group, SchemaOf, read_dead_letter
from rtap_assets.contracts.rules import EXPLANATIONS, Reason
from rtap_assets.contracts.visible import shown_bytes, visible
from rtap_assets.runtime.terminal import text_width, wrapped

INDENT = "    "
MOST_FIELDS = 60
SHOWN_TEXT = 120


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Iterator[str]:
    """Yield the lines of a table; the columns in `right` hold numbers. Cells are printed unchanged."""
    widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
    for row in (header, *rows):
        sized = enumerate(zip(row, widths, strict=True))
        cells = (cell.rjust(width) if index in right else cell.ljust(width) for index, (cell, width) in sized)
        yield "  ".join(cells).rstrip()


def groups_table(groups: Sequence[Group], *, period: str, limit: int) -> Iterator[str]:
    """Yield the counts by period, reason and schema id, then an explanation of each reason."""
    form = "%Y-%m-%d" if period == "day" else "%Y-%m-%d %H:00"
    shown = groups[:limit] if limit else groups
    rows = [
        (
            group.period.strftime(form),
            visible(group.reason, limit=30),
            "-" if group.schema_id is None else str(group.schema_id),
            f"{group.records:,}",
            f"{group.redriven:,}" if group.redriven else "-",
        )
        for group in shown
    ]
    yield from table((f"{period} (UTC)", "reason", "schema id", "records", "redriven"), rows, right=(2, 3, 4))
    if len(shown) < len(groups):
        rest = sum(group.records for group in groups[len(shown) :])
        yield f"… and {len(groups) - len(shown):,} more groups with {rest:,} records: --limit 0 shows all"
    yield ""
    for reason in dict.fromkeys(group.reason for group in shown):
        yield from wrapped(f"{reason}: {_explained(reason)}")


def record_lines(record: DeadLetter, schema_of: SchemaOf, *, redriven: str = "") -> Iterator[str]:
    """Yield one record in full: identity, reason, detail, headers, and the value decoded as far as possible."""
    yield visible(record.identity, limit=text_width())
    yield f"  appended {record.kafka_timestamp:%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"
    yield from wrapped(f"  {record.reason}: {_explained(record.reason)}")
    if record.detail:
        yield from wrapped(f"  detail: {visible(record.detail)}")
    if record.redriven:
        yield from wrapped(f"  sent again {record.redriven} times; first sent as {visible(record.origin)}")
    if redriven:
        yield from wrapped(f"  {redriven}")
    yield from wrapped(f"  key: {visible(record.key)}")
    for name, value in record.headers:
        yield from wrapped(f"  header {visible(name, limit=60)}: {visible(value)}")
    yield from _value_lines(record, schema_of)


def _value_lines(record: DeadLetter, schema_of: SchemaOf) -> Iterator[str]:
    yield from wrapped(f"  value: {shown_bytes(record.value, limit=24)}")
    reading = read_dead_letter(record, schema_of)
    if reading is None:
        if record.value is not None and len(record.value) >= HEADER_BYTES and record.value[0] == 0:
            yield from wrapped(f"  not decoded: the registry has no schema {int.from_bytes(record.value[1:5], 'big')}")
        elif record.value:
            yield from wrapped(f"  as text: {visible(record.value, limit=SHOWN_TEXT)}")
        return
    yield f"  decoded with schema {record.schema_id if record.schema_id is not None else '?'}:"
    for value in reading.values[:MOST_FIELDS]:
        yield from wrapped(f"{INDENT}{visible(value.path, limit=40)} = {shown_value(value.value)}")
    if len(reading.values) > MOST_FIELDS:
        yield f"{INDENT}… and {len(reading.values) - MOST_FIELDS} more values"
    for finding in reading.findings:
        yield from wrapped(f"{INDENT}! {visible(str(finding))} ({finding.fault.value})")


def shown_value(value: Any) -> str:
    """Return one decoded value as text."""
    if isinstance(value, bytes):
        return shown_bytes(value, limit=16)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return visible(str(value), limit=SHOWN_TEXT)


def _explained(reason: str) -> str:
    return EXPLANATIONS[Reason(reason)] if reason in [known.value for known in Reason] else "a reason of another version"
