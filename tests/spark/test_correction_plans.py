"""What a correction decides, as pure plans: which copy of an event counts, what is late, and which rows need a look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from lake_fixtures import NOON, silver_row
from pyspark.sql import SparkSession
from spark_fixtures import frame_of, from_arrow, rows_of

from rtap_assets.contracts.tables import SILVER
from rtap_assets.transforms.corrections import (
    ID_HASH,
    arrivals,
    beyond_offsets,
    decide_copies,
    repeated_hashes,
    window_changes,
    with_hash,
)

DAY = 86_400
HELD, LACKING = True, False
ARRIVALS = pa.schema(
    [
        ("event_id", pa.string()),
        ("topic", pa.string()),
        ("topic_epoch", pa.int32()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("kafka_timestamp", pa.timestamp("us", tz="UTC")),
        ("is_held", pa.bool_()),
    ]
)
Copy = tuple[str, int, float, bool]  # event, offset, arrival in seconds after noon, held by silver


def copies(session: SparkSession, rows: Sequence[Copy]) -> Any:
    named = [
        {
            "event_id": event,
            "topic": "t",
            "topic_epoch": 0,
            "kafka_partition": offset % 3,
            "kafka_offset": offset,
            "kafka_timestamp": NOON + timedelta(seconds=seconds),
            "is_held": held,
        }
        for event, offset, seconds, held in rows
    ]
    return from_arrow(session, named, ARRIVALS)


def decided(session: SparkSession, *rows: Copy) -> list[tuple[str, int, str, bool]]:
    found = rows_of(decide_copies(copies(session, rows), horizon_seconds=7 * DAY))
    return sorted((row["event_id"], row["kafka_offset"], row["action"], row["has_held"]) for row in found)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a", 1, 0, HELD)], []),
        ([("a", 1, 0, HELD), ("a", 2, 10, HELD), ("a", 3, 5, HELD)], [("a", 2, "remove", True), ("a", 3, "remove", True)]),
        ([("a", 1, 0, HELD), ("a", 2, 10, LACKING)], []),
        ([("a", 1, 0, LACKING)], [("a", 1, "add", False)]),
        ([("a", 1, 0, LACKING), ("a", 2, 10, LACKING)], [("a", 1, "add", False)]),
        ([("a", 1, 0, LACKING), ("a", 2, 10, HELD)], [("a", 1, "add", True), ("a", 2, "remove", True)]),
        ([("a", 2, 0, HELD), ("a", 4, 0, HELD)], [("a", 2, "remove", True)]),
        ([("a", 1, 0, HELD), ("a", 2, 7 * DAY, HELD)], [("a", 2, "remove", True)]),
        ([("a", 1, 0, HELD), ("a", 2, 7 * DAY + 1, HELD)], []),
        ([("a", 1, 0, HELD), ("b", 2, 1, HELD), ("b", 4, 2, HELD)], [("b", 4, "remove", True)]),
    ],
    ids=[
        "a single row",
        "copies in one batch and in a later one",
        "a copy that silver never took",
        "a late row",
        "a late row and its copy",
        "a late first copy",
        "the same instant: by partition",
        "at the horizon",
        "beyond the horizon",
        "another event",
    ],
)
def test_the_first_copy_counts_whatever_became_of_it(
    spark: SparkSession, rows: list[Copy], expected: list[tuple[str, int, str, bool]]
) -> None:
    assert decided(spark, *rows) == expected


def test_what_was_decided_is_decided_alike_afterwards(spark: SparkSession) -> None:
    assert decided(spark, ("a", 1, 0, HELD), ("a", 2, 10, LACKING), ("b", 3, 0, HELD)) == []


def test_ids_are_looked_at_that_are_lacking_repeated_or_seen_before(spark: SparkSession) -> None:
    arrived = [
        ("single", 1, 0, HELD),
        ("twice", 2, 0, HELD),
        ("twice", 3, 1, HELD),
        ("late", 4, 0, LACKING),
        ("old", 5, 0, HELD),
    ]
    new = with_hash(copies(spark, arrived))
    earlier = with_hash(copies(spark, [("old", 0, -100, HELD)]))
    hashes = repeated_hashes(new, earlier)
    concerned = rows_of(new.join(hashes, ID_HASH, "left_semi").select("event_id").distinct())
    assert sorted(row["event_id"] for row in concerned) == ["late", "old", "twice"]


def test_rows_are_new_by_the_offsets_of_their_kafka_partition_and_the_epoch_of_their_topic(spark: SparkSession) -> None:
    places = [(0, 0, 4), (0, 0, 5), (0, 1, 9), (0, 2, 0), (1, 0, 0)]
    rows = [
        silver_row(f"{epoch}/{partition}/{offset}", topic_epoch=epoch, kafka_partition=partition, kafka_offset=offset)
        for epoch, partition, offset in places
    ] + [silver_row("before the column", kafka_partition=0, kafka_offset=6)]
    frame = frame_of(spark, SILVER, rows)
    beyond = rows_of(frame.where(beyond_offsets(0, {0: 5, 1: 10})).select("event_id"))
    assert sorted(row["event_id"] for row in beyond) == ["0/0/5", "0/2/0", "1/0/0", "before the column"]
    later = rows_of(frame.where(beyond_offsets(1, {})).select("event_id"))
    assert [row["event_id"] for row in later] == ["1/0/0"]
    assert arrivals(frame, is_held=True).count() == len(rows)


def test_rows_amount_to_signed_changes_of_all_windows_that_hold_them(spark: SparkSession) -> None:
    rows = [
        silver_row("a"),
        silver_row("b", event_time=NOON + timedelta(seconds=90), event_type="refund", net_amount=Decimal("-4.0000")),
    ]
    changes = rows_of(window_changes(frame_of(spark, SILVER, rows), window_seconds=300, slide_seconds=60, sign=-1))
    found = {
        (row["window_start"] - NOON).total_seconds() // 60: (row["net_amount"], row["orders"], row["refunds"])
        for row in changes
    }
    assert found == {
        -4: (Decimal("-10.0000"), -1, 0),
        -3: (Decimal("-6.0000"), -1, -1),
        -2: (Decimal("-6.0000"), -1, -1),
        -1: (Decimal("-6.0000"), -1, -1),
        0: (Decimal("-6.0000"), -1, -1),
        1: (Decimal("4.0000"), 0, -1),
    }
