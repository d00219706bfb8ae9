"""The forms in which rows leave the API, and which of them an Accept header gets."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from rtap_assets.dashboard.representation import ARROW, CSV, JSON, Rows, chosen_type, written

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = Rows(
    ("at", "net", "orders", "name", "flag", "nothing"),
    ("TIMESTAMP WITH TIME ZONE", "DECIMAL(28,4)", "BIGINT", "VARCHAR", "BOOLEAN", "VARCHAR"),
    [(NOON, Decimal("12345678901234567890.1000"), 3, 'a "quoted",\nname', True, None)],
    as_of="then",
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", JSON), ("*/*", JSON), ("text/csv", CSV), ("text/*", CSV), (ARROW, ARROW),
        ("text/csv;q=0.9, application/json", JSON),
        ("application/json;q=0.2, text/csv;q=0.9", CSV), ("text/html, */*;q=0.1", JSON), ("application/json;q=0, */*", CSV),
        ("image/png", None), ("text/csv;q=0", None), ("text/csv;q=abc", None), ("APPLICATION/JSON", JSON),
    ],
)  # fmt: skip
def test_the_accept_header_chooses(accept: str, kind: str | None) -> None:
    assert chosen_type(accept) == kind


def test_json_keeps_every_digit_of_a_decimal() -> None:
    (row,) = json.loads(written(ROWS, JSON))["rows"]
    assert row == {
        "at": "2026-03-01T12:00:00Z", "net": "12345678901234567890.1000", "orders": 3, "name": 'a "quoted",\nname',
        "flag": True, "nothing": None,
    }  # fmt: skip


def test_csv_quotes_what_would_break_a_line() -> None:
    assert written(ROWS, CSV).decode() == (
        'at,net,orders,name,flag,nothing\r\n2026-03-01T12:00:00Z,12345678901234567890.1000,3,"a ""quoted"",\nname",true,\r\n'
    )


@pytest.mark.parametrize("rows", [ROWS.rows, []])
def test_arrow_has_the_same_types_whatever_the_rows(rows: list[tuple[object, ...]]) -> None:
    table = pa.ipc.open_stream(io.BytesIO(written(Rows(ROWS.columns, ROWS.types, rows), ARROW))).read_all()
    assert [str(field.type) for field in table.schema] == [
        "timestamp[us, tz=UTC]", "decimal128(28, 4)", "int64", "string", "bool", "string",
    ]  # fmt: skip
    assert table.to_pylist() == [dict(zip(ROWS.columns, row, strict=True)) for row in rows]
