"""Every reason code from bytes that are written here, as a batch and as a stream, in one plan with all writer schemas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from event_bytes import (
    ACCOUNT,
    APPENDED_AT,
    V1,
    V2,
    Record,
    body,
    event,
    framed,
    kafka_frame,
    with_amount,
    with_field,
)
from poison import YEAR_2099, Writer, padded, poison
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from spark_fixtures import rows_of

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.registered import RegisteredWriters, judge_writers
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.streaming.failures import Verdict, judge
from rtap_assets.transforms.bronze import UNLISTED_SCHEMA_ID, decode_sales_events

MAX_EVENT_BYTES = 4096
FUTURE_SECONDS, PAST_SECONDS = 300, 30 * 86_400
ID_V1, ID_V2, ID_V3, ID_SCALE_2 = 11, 12, 13, 14
HORIZON = 100
KNOWN_UNTIL = APPENDED_AT + timedelta(seconds=1)

V3 = with_field(V2, "campaign_id", "long")
SCALE_2 = with_amount(V1, precision=18, scale=2)


def writers() -> RegisteredWriters:
    return judge_writers(
        {ID_V1: V1, ID_V2: V2, ID_V3: V3, ID_SCALE_2: SCALE_2},
        load_subject(PROJECT_ROOT / "schemas", EVENTS_SUBJECT_FOLDER),
        known_until=KNOWN_UNTIL,
        id_horizon=HORIZON,
    )


def decoded(records: DataFrame) -> DataFrame:
    return decode_sales_events(
        records,
        writers=writers(),
        max_event_bytes=MAX_EVENT_BYTES,
        future_seconds=FUTURE_SECONDS,
        past_seconds=PAST_SECONDS,
    )


WRITER = Writer(ID_V1, ID_V2)
v1, v2, raw_v1 = WRITER.v1, WRITER.v2, WRITER.raw_v1


def _after(seconds: float) -> datetime:
    return APPENDED_AT + timedelta(seconds=seconds)


VALID: dict[str, Record] = {
    "version 1": Record(v1()),
    "version 2": Record(v2()),
    "version 3, newer than this code": Record(
        framed(ID_V3, body(event(schema_version=3, promo_code="SPRING", sales_channel=None, campaign_id=7), V3))
    ),
    "amount 0 as no bytes": Record(raw_v1(amount=b"")),
    "amount 3.2768 in 12 bytes": Record(raw_v1(amount=(32_768).to_bytes(12, "big"))),
    "largest amount": Record(v1(amount=Decimal("99999999999999.9999"))),
    "white space of other kinds": Record(
        v1(event_id=event()["event_id"] + "\n", currency="EUR\t", region="\u00a0emea", product_id="\ufeffseat\u200b")
    ),
    "amount with needless sign bytes": Record(raw_v1(amount=b"\x00\x00\x00\x01\xe8\x48")),
    "five minutes ahead, to the second": Record(v1(event_time=_after(FUTURE_SECONDS))),
    "thirty days behind, to the second": Record(v1(event_time=_after(-PAST_SECONDS))),
    "other spellings": Record(
        v1(
            event_type=" Refund ",
            plan_tier="PROFESSIONAL",
            region=" Europe",
            currency="eur ",
            event_id=event()["event_id"].upper(),
        )
    ),
    "quantity 0": Record(v1(quantity=0)),
    "beyond ASCII": Record(v1(product_id="Größe-尺寸-🎫")),
    "as large as allowed": Record(padded(WRITER, MAX_EVENT_BYTES)),
    "with headers": Record(v1(), headers=[("trace", b"\x00\xff"), ("trace", None)]),
}
UNLISTED_ID = ID_SCALE_2 + 1
QUARANTINED = poison(WRITER, unknown_id=UNLISTED_ID, max_event_bytes=MAX_EVENT_BYTES) | {
    "an unlisted id at the very moment of the listing": (
        Reason.UNKNOWN_SCHEMA_ID,
        Record(framed(UNLISTED_ID, body(event())), timestamp=KNOWN_UNTIL),
    ),
    "an id too far ahead, after the listing": (
        Reason.UNKNOWN_SCHEMA_ID,
        Record(framed(ID_SCALE_2 + HORIZON + 1, body(event())), timestamp=KNOWN_UNTIL + timedelta(days=1)),
    ),
    "the largest id, after the listing": (
        Reason.UNKNOWN_SCHEMA_ID,
        Record(framed(2**32 - 1, body(event())), timestamp=KNOWN_UNTIL + timedelta(days=1)),
    ),
    "a version with cents": (
        Reason.INCOMPATIBLE_SCHEMA,
        Record(framed(ID_SCALE_2, body(event(amount=Decimal("12.50")), SCALE_2))),
    ),
    "2^64 + 1, with a byte behind it": (
        Reason.TRAILING_BYTES,
        Record(raw_v1(amount=(2**64 + 1).to_bytes(9, "big")) + b"\0"),
    ),
    "a millisecond too far ahead": (Reason.EVENT_TIME_IN_FUTURE, Record(v1(event_time=_after(FUTURE_SECONDS + 0.001)))),
    "a millisecond too old": (Reason.EVENT_TIME_TOO_OLD, Record(v1(event_time=_after(-PAST_SECONDS - 0.001)))),
}
CASES: dict[str, Record] = VALID | {name: record for name, (_, record) in QUARANTINED.items()}
EXPECTED: dict[str, str | None] = dict.fromkeys(VALID) | {name: reason.value for name, (reason, _) in QUARANTINED.items()}

Judged = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="module")
def batch(spark: SparkSession) -> Judged:
    """All cases, decoded in one batch: case -> bronze row."""
    rows = rows_of(decoded(kafka_frame(spark, list(CASES.values()))).orderBy("kafka_offset"))
    return dict(zip(CASES, rows, strict=True))


def test_every_reason_is_tried_and_sizes_are_what_they_say() -> None:
    assert [len(CASES[name].value or b"") for name in ("as large as allowed", "a byte larger than allowed")] == [4096, 4097]
    assert {reason for reason, _ in QUARANTINED.values()} | {Reason.UNSUPPORTED_FRAMING, Reason.NOT_AVRO} == set(Reason)


def test_each_record_gets_exactly_its_reason(batch: Judged) -> None:
    assert {name: row["error_reason"] for name, row in batch.items()} == EXPECTED


def test_each_record_is_one_row_with_its_bytes_and_coordinates_unchanged(batch: Judged) -> None:
    kept = [
        (row["raw_key"], row["raw_value"], row["topic"], row["kafka_partition"], row["kafka_offset"], row["kafka_timestamp"])
        for row in batch.values()
    ]
    assert kept == [
        (record.key, record.value, "sales.events.v1", 0, offset, record.timestamp)
        for offset, record in enumerate(CASES.values())
    ]
    assert batch["with headers"]["kafka_headers"] == [
        {"key": "trace", "value": b"\x00\xff"},
        {"key": "trace", "value": None},
    ]


def test_the_columns_of_a_valid_event_are_its_fields(batch: Judged) -> None:
    fields = event(schema_version=3, promo_code="SPRING", sales_channel=None)
    row = batch["version 3, newer than this code"]
    assert {name: row[name] for name in fields} == fields
    assert row["schema_id"] == ID_V3
    assert batch["version 1"]["promo_code"] is None
    amounts = ("amount 0 as no bytes", "amount 3.2768 in 12 bytes", "largest amount")
    assert [batch[name]["amount"] for name in amounts] == [
        Decimal("0.0000"),
        Decimal("3.2768"),
        Decimal("99999999999999.9999"),
    ]
    assert batch["beyond ASCII"]["product_id"] == "Größe-尺寸-🎫"


def test_a_schema_id_is_unsigned_and_kept_where_the_header_can_be_read(batch: Judged) -> None:
    assert batch["the largest id, unsigned"]["schema_id"] == 2**32 - 1
    assert batch["no body"]["schema_id"] == ID_V1
    assert batch["JSON"]["schema_id"] is None


def test_a_quarantined_event_keeps_what_could_be_read_as_it_came(batch: Judged) -> None:
    assert (batch["Mars"]["region"], batch["Mars"]["account_id"]) == ("mars", ACCOUNT)
    assert batch["2099"]["event_time"] == YEAR_2099
    assert {row["amount"] for row in batch.values() if row["error_reason"] == Reason.AMOUNT_OVERFLOW} == {None}
    assert [batch[name]["event_time"] for name in ("the year 198000", "198000 years ago", "random")] == [None, None, None]


def test_the_same_records_as_a_stream_give_the_same_rows(spark: SparkSession, batch: Judged, tmp_path: Any) -> None:
    records = kafka_frame(spark, list(CASES.values()))
    records.coalesce(1).write.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(records.schema).parquet(str(tmp_path / "in"))
    query = decoded(stream).writeStream.format("memory").queryName("bronze_stream").trigger(availableNow=True).start()
    assert query.awaitTermination(120)
    streamed = rows_of(spark.table("bronze_stream").orderBy("kafka_offset"))
    assert [_without_clock(row) for row in streamed] == [_without_clock(row) for row in batch.values()]


def _without_clock(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "processed_at"}


def test_the_rows_have_the_columns_of_bronze(spark: SparkSession) -> None:
    schema = decoded(kafka_frame(spark, [])).schema
    assert [(child.name, child.dataType.simpleString()) for child in schema] == [
        (column.name, column.type) for column in BRONZE.columns
    ]


UNLISTED = Record(framed(UNLISTED_ID, body(event())), timestamp=KNOWN_UNTIL + timedelta(milliseconds=1))


def test_an_id_that_may_be_younger_than_the_listing_ends_the_batch_before_its_commit(
    spark: SparkSession, tmp_path: Any
) -> None:
    records = kafka_frame(spark, [Record(v1()), UNLISTED])
    records.coalesce(1).write.parquet(str(tmp_path / "in"))
    stream = decoded(spark.readStream.schema(records.schema).parquet(str(tmp_path / "in")))
    writer = stream.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
    query = writer.trigger(availableNow=True).start(str(tmp_path / "out"))
    with pytest.raises(StreamingQueryException, match=f"{UNLISTED_SCHEMA_ID}: {UNLISTED_ID}") as caught:
        query.awaitTermination(120)
    assert judge(caught.value) == (Verdict.RESTART, "a schema id was registered after the last listing")
    assert [path.name for path in (tmp_path / "checkpoint" / "offsets").glob("[0-9]*")] == ["0"]
    assert list((tmp_path / "checkpoint" / "commits").glob("[0-9]*")) == []
    assert list((tmp_path / "out").glob("*.parquet")) == []
