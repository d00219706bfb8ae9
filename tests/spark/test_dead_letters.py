"""Quarantined bronze rows to dead letters: the bytes as they came, the reason and the coordinates in headers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
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


@pytest.mark.parametrize(
    ("reason", "columns", "detail"),
    [
        (Reason.TOO_SHORT, {"raw_value": b"\x00\x01"}, "2 bytes"),
        (Reason.BAD_MAGIC, {"raw_value": b"\xa5\x01"}, "first byte 0xA5"),
        (Reason.KEY_MISMATCH, {"raw_key": b"acct-2", "account_id": "acct-1"}, "key acct-2, account_id acct-1"),
        (Reason.KEY_MISMATCH, {"raw_key": b"\xff", "account_id": "acct-1"}, "key \ufffd, account_id acct-1"),
        (Reason.UNKNOWN_REGION, {"region": "m" * 500}, "m" * 200),
        (Reason.EVENT_TIME_IN_FUTURE, {"event_time": datetime(2099, 1, 1, tzinfo=UTC)}, "2099-01-01 00:00:00"),
        (Reason.EVENT_TIME_IN_FUTURE, {"event_time": None}, ""),
        (Reason.NEGATIVE_QUANTITY, {"quantity": -3}, "-3"),
        (Reason.NULL_KEY, {"raw_key": None}, ""),
    ],
)
def test_the_detail_says_what_broke_the_rule(
    spark: SparkSession, reason: Reason, columns: dict[str, Any], detail: str
) -> None:
    (letter,) = letters(spark, bronze_row(1, error_reason=reason.value) | columns)
    headers = {header["key"]: header["value"] for header in letter["headers"]}
    assert (headers["rtap.dlq.reason"].decode(), headers["rtap.dlq.detail"].decode("utf-8", "replace")) == (reason, detail)
