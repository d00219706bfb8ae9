"""Messages of the aggregate topic are read exactly, by their writer's schema, or refused."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from dashboard_stage import SCHEMA, SCHEMA_ID, value_of
from lake_fixtures import NOON, gold_row

from rtap_assets.contracts.avro.wire import frame
from rtap_assets.dashboard.revenue_messages import Measures, RevenueReader, decimal_text
from rtap_assets.errors import ContractError, DependencyUnavailable


def reader_of(schemas: dict[int, Any]) -> RevenueReader:
    return RevenueReader({number: json.dumps(schema) for number, schema in schemas.items()}.get)


def written(schema: dict[str, Any], row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    return frame(SCHEMA_ID, out.getvalue())


def changed(**types: Any) -> dict[str, Any]:
    schema = json.loads(SCHEMA)
    for field in schema["fields"]:
        field["type"] = types.get(field["name"], field["type"])
    return schema


@pytest.mark.parametrize(
    "amount", ["0.0000", "0.0001", "-0.0001", "-12.5000", "99999999999999999999.9999", "-327.6800", "-1.2800"]
)
def test_an_amount_is_exactly_what_was_written(amount: str) -> None:
    row = gold_row(NOON, gross_amount=Decimal(amount), refund_amount=Decimal("0.0000"), revision=3)
    message = reader_of({SCHEMA_ID: json.loads(SCHEMA)}).read(value_of(row))
    assert decimal_text(message.measures.gross) == amount
    assert message.measures == Measures(message.measures.gross, 0, message.measures.gross, 1, 0)
    assert (message.start_ms, message.end_ms - message.start_ms) == (NOON.timestamp() * 1000, 300_000)
    assert (message.plan_tier, message.region, message.currency, message.revision) == ("pro", "emea", "EUR", 3)


def test_a_later_schema_with_more_fields_and_a_smaller_scale_is_read_with_the_same_meaning() -> None:
    schema = changed(gross_amount={"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2})
    schema["fields"].append({"name": "discount", "type": ["null", "long"], "default": None})
    value = written(
        schema, gold_row(NOON, gross_amount=Decimal("12.34")) | {"discount": 5, "net_amount": Decimal("12.3400")}
    )
    assert decimal_text(reader_of({SCHEMA_ID: schema}).read(value).measures.gross) == "12.3400"


@pytest.mark.parametrize(
    "schema",
    [
        changed(gross_amount={"type": "bytes", "logicalType": "decimal", "precision": 28, "scale": 6}),
        changed(gross_amount="double"),
        changed(window_start="long"),
        {"type": "record", "name": "Other", "fields": []},
    ],
)
def test_a_schema_that_would_change_a_figure_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        reader_of({SCHEMA_ID: schema}).read(value_of(gold_row(NOON)))


@pytest.mark.parametrize(
    "value", [b"", b"\x01\x00\x00\x00\x07", b"\x00\x00\x00\x00\x07\x02", b"\x00\x00\x00\x00\x63" + b"a" * 40]
)
def test_bytes_that_are_no_message_are_refused(value: bytes) -> None:
    with pytest.raises(ContractError):
        reader_of({SCHEMA_ID: json.loads(SCHEMA)}).read(value)


@pytest.mark.parametrize(
    "row",
    [gold_row(NOON, plan_tier=""), gold_row(NOON, region="x" * 101), gold_row(NOON, window_end=NOON - timedelta(minutes=1))],
)
def test_a_window_without_a_usable_key_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        reader_of({SCHEMA_ID: json.loads(SCHEMA)}).read(value_of(row))


def test_a_registry_that_is_away_is_no_verdict_on_the_message() -> None:
    answers: list[Any] = [DependencyUnavailable("away"), SCHEMA]

    def schema_of(_: int) -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    reader = RevenueReader(schema_of)
    with pytest.raises(DependencyUnavailable):
        reader.read(value_of(gold_row(NOON)))
    assert reader.read(value_of(gold_row(NOON))).currency == "EUR"
