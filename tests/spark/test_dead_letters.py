"""Quarantined bronze rows to dead letters: the bytes as they came, the reason and the coordinates in headers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lake_fixtures import bronze_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of, rows_of

from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.transforms.dlq import build_dead_letters

OURS = ("reason", "detail", "topic", "partition", "offset", "timestamp", "schema.id", "attempts")


def letters(session: SparkSession, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    return rows_of(build_dead_letters(frame_of(session, BRONZE, rows)))


def test_a_valid_row_makes_no_dead_letter(spark: SparkSession) -> None:
    assert letters(spark, bronze_row(1)) == []


def test_key_and_value_are_the_original_bytes_and_its_own_headers_come_first(spark: SparkSession) -> None:
    every_byte = bytes(range(256))
    own = [("trace", b"\x00\xff"), ("rtap.dlq.reason", b"forged"), ("trace", None)]
    row = bronze_row(7) | {
        "error_reason": Reason.UNKNOWN_SCHEMA_ID.value,
        "error_detail": "schema id 4294967295",
        "raw_key": every_byte,
        "raw_value": every_byte * 3,
        "kafka_headers": [{"key": key, "value": value} for key, value in own],
        "kafka_partition": 2,
        "kafka_offset": 2**40,
        "kafka_timestamp": datetime(2026, 3, 1, 12, 0, 0, 40_000, tzinfo=UTC),
        "schema_id": 2**32 - 1,
    }
    (letter,) = letters(spark, row)
    assert (letter["key"], letter["value"]) == (every_byte, every_byte * 3)
    assert [(header["key"], header["value"]) for header in letter["headers"]] == [
        *own,
        ("rtap.dlq.reason", b"unknown_schema_id"),
        ("rtap.dlq.detail", b"schema id 4294967295"),
        ("rtap.dlq.topic", b"sales.events.v1"),
        ("rtap.dlq.partition", b"2"),
        ("rtap.dlq.offset", str(2**40).encode()),
        ("rtap.dlq.timestamp", b"2026-03-01T12:00:00.040Z"),
        ("rtap.dlq.schema.id", b"4294967295"),
        ("rtap.dlq.attempts", b"1"),
    ]


def test_a_tombstone_without_key_and_headers_is_a_dead_letter_with_all_of_ours(spark: SparkSession) -> None:
    row = bronze_row(1, error_reason=Reason.TOMBSTONE.value, raw_key=None, raw_value=None, kafka_headers=None)
    (letter,) = letters(spark, row)
    assert (letter["key"], letter["value"]) == (None, None)
    assert [header["key"] for header in letter["headers"]] == [f"rtap.dlq.{name}" for name in OURS]
    assert {header["key"]: header["value"] for header in letter["headers"]}["rtap.dlq.schema.id"] == b""


def test_the_detail_is_what_bronze_found_and_empty_where_nothing_was(spark: SparkSession) -> None:
    rows = (
        bronze_row(1, error_reason=Reason.UNKNOWN_REGION.value, error_detail="m\ufffdrs"),
        bronze_row(2, error_reason=Reason.NULL_KEY.value),
    )
    headers = [{header["key"]: header["value"].decode() for header in letter["headers"]} for letter in letters(spark, *rows)]
    assert [(each["rtap.dlq.reason"], each["rtap.dlq.detail"]) for each in headers] == [
        ("unknown_region", "m\ufffdrs"),
        ("null_key", ""),
    ]
