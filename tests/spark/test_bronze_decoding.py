"""Every reason code from bytes that are written here, as a batch and as a stream, in one plan with all writer schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
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
    plain,
    with_amount,
    with_field,
)
from pyspark.errors import PySparkException, StreamingQueryException
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
WIDE = with_amount(V1, precision=60, scale=4)


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


def v1(**changes: Any) -> bytes:
    return framed(ID_V1, body(event(**changes)))


def raw_v1(**changes: Any) -> bytes:
    """Version 1 with times as milliseconds and the amount as bytes, so that anything can be written."""
    whole = event(event_time=_milliseconds(APPENDED_AT), ingest_time=_milliseconds(APPENDED_AT), amount=b"\x01\xe8\x48")
    return framed(ID_V1, body(whole | changes, plain(V1)))


def v2(**changes: Any) -> bytes:
    return framed(ID_V2, body(event(schema_version=2, promo_code=None, sales_channel="web", **changes), V2))


def claims_string_of(length: int) -> bytes:
    """A body of a few bytes whose first string claims `length` bytes: a zigzag varint, then next to nothing."""
    zigzag, claimed = length << 1, bytearray()
    while zigzag > 0x7F:
        claimed.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return framed(ID_V1, bytes(claimed) + bytes([zigzag]) + b"abc")


def padded_to(size: int) -> bytes:
    """A good event whose value has exactly `size` bytes."""
    short = v1(product_id="x" * 64)
    return v1(product_id="x" * (64 + size - len(short)))


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _after(seconds: float) -> datetime:
    return APPENDED_AT + timedelta(seconds=seconds)


YEAR_2099 = datetime(2099, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

VALID: dict[str, Record] = {
    "version 1": Record(v1()),
    "version 2": Record(v2()),
    "version 3, newer than this code": Record(
        framed(ID_V3, body(event(schema_version=3, promo_code="SPRING", sales_channel=None, campaign_id=7), V3))
    ),
    "amount -0.0128, a byte longer from fastavro": Record(v1(amount=Decimal("-0.0128"))),
    "amount -3.2768, a byte longer from fastavro": Record(v2(amount=Decimal("-3.2768"))),
    "largest amount": Record(v1(amount=Decimal("99999999999999.9999"))),
    "smallest amount": Record(v1(amount=Decimal("-99999999999999.9999"))),
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
    "as large as allowed": Record(padded_to(MAX_EVENT_BYTES)),
    "with headers": Record(v1(), headers=[("trace", b"\x00\xff"), ("trace", None)]),
}
QUARANTINED: dict[str, tuple[Reason, Record]] = {
    "tombstone": (Reason.TOMBSTONE, Record(None)),
    "tombstone without a key": (Reason.TOMBSTONE, Record(None, key=None)),
    "empty": (Reason.TOO_SHORT, Record(b"")),
    "magic byte and three more": (Reason.TOO_SHORT, Record(b"\x00\x00\x00\x00")),
    "a byte larger than allowed": (Reason.OVERSIZED, Record(padded_to(MAX_EVENT_BYTES + 1))),
    "large and random": (Reason.OVERSIZED, Record(b"\xa5" * 1_000_000)),
    "JSON": (Reason.BAD_MAGIC, Record(json.dumps({"event_id": "x"}).encode())),
    "magic byte 1": (Reason.BAD_MAGIC, Record(b"\x01" + v1()[1:])),
    "id 0": (Reason.UNKNOWN_SCHEMA_ID, Record(framed(0, body(event())))),
    "an id of another subject": (Reason.UNKNOWN_SCHEMA_ID, Record(framed(ID_SCALE_2 + 1, body(event())))),
    "at the very moment of the listing": (
        Reason.UNKNOWN_SCHEMA_ID,
        Record(framed(ID_SCALE_2 + 1, body(event())), timestamp=KNOWN_UNTIL),
    ),
    "an id too far ahead, after the listing": (
        Reason.UNKNOWN_SCHEMA_ID,
        Record(framed(ID_SCALE_2 + HORIZON + 1, body(event())), timestamp=KNOWN_UNTIL + timedelta(days=1)),
    ),
    "the largest id, unsigned": (
        Reason.UNKNOWN_SCHEMA_ID,
        Record(framed(2**32 - 1, body(event())), timestamp=KNOWN_UNTIL + timedelta(days=1)),
    ),
    "a version with cents": (
        Reason.INCOMPATIBLE_SCHEMA,
        Record(framed(ID_SCALE_2, body(event(amount=Decimal("12.50")), SCALE_2))),
    ),
    "19 digits": (Reason.AMOUNT_OVERFLOW, Record(raw_v1(amount=(10**18).to_bytes(8, "big")))),
    "19 digits below zero": (Reason.AMOUNT_OVERFLOW, Record(raw_v1(amount=(-(10**18)).to_bytes(8, "big", signed=True)))),
    "38 digits": (Reason.AMOUNT_OVERFLOW, Record(framed(ID_V1, body(event(amount=Decimal("9" * 34 + ".9999")), WIDE)))),
    "2^64, of which the lowest 64 bits are 0": (Reason.AMOUNT_OVERFLOW, Record(raw_v1(amount=(2**64).to_bytes(9, "big")))),
    "2^64 + 1, with a byte behind it": (
        Reason.AMOUNT_OVERFLOW,
        Record(raw_v1(amount=(2**64 + 1).to_bytes(9, "big")) + b"\0"),
    ),
    "39 digits": (Reason.UNDECODABLE, Record(framed(ID_V1, body(event(amount=Decimal("9" * 35 + ".9999")), WIDE)))),
    "no body": (Reason.UNDECODABLE, Record(framed(ID_V1, b""))),
    "truncated by one byte": (Reason.UNDECODABLE, Record(v1()[:-1])),
    "truncated in the id": (Reason.UNDECODABLE, Record(v1()[:20])),
    "random": (Reason.UNDECODABLE, Record(framed(ID_V1, b"\xb7\x1f\x93\x66\xe1\x0a\x58\xc4" * 10))),
    "claims 200 MB": (Reason.UNDECODABLE, Record(claims_string_of(200_000_000))),
    "claims 1.5 GB": (Reason.UNDECODABLE, Record(claims_string_of(1_500_000_000))),
    "claims 2^31-1000": (Reason.UNDECODABLE, Record(claims_string_of(2**31 - 1000))),
    "claims 2^62": (Reason.UNDECODABLE, Record(claims_string_of(2**62))),
    "version 1's body under version 2's id": (Reason.UNDECODABLE, Record(framed(ID_V2, body(event())))),
    "an instant that overflows": (Reason.UNDECODABLE, Record(raw_v1(event_time=2**63 - 1))),
    "one byte more": (Reason.TRAILING_BYTES, Record(v1() + b"\x00")),
    "two events": (Reason.TRAILING_BYTES, Record(v1() + body(event()))),
    "version 2's body under version 1's id": (Reason.TRAILING_BYTES, Record(framed(ID_V1, v2()[5:]))),
    "no key": (Reason.NULL_KEY, Record(v1(), key=None)),
    "no event_id": (Reason.MISSING_FIELD, Record(v1(event_id=""))),
    "blank product_id": (Reason.MISSING_FIELD, Record(v1(product_id="  "))),
    "blank account_id": (Reason.MISSING_FIELD, Record(v1(account_id=" "), key=b" ")),
    "another account's key": (Reason.KEY_MISMATCH, Record(v1(), key=b"acct-2")),
    "a key of random bytes": (Reason.KEY_MISMATCH, Record(v1(), key=b"\xff\xfe\x00")),
    "an order number": (Reason.INVALID_EVENT_ID, Record(v1(event_id="order-17"))),
    "2099": (Reason.EVENT_TIME_IN_FUTURE, Record(v1(event_time=YEAR_2099))),
    "the year 198000": (Reason.EVENT_TIME_IN_FUTURE, Record(raw_v1(event_time=6_200_000_000_000_000))),
    "a millisecond too far ahead": (Reason.EVENT_TIME_IN_FUTURE, Record(v1(event_time=_after(FUTURE_SECONDS + 0.001)))),
    "1970": (Reason.EVENT_TIME_TOO_OLD, Record(v1(event_time=EPOCH))),
    "198000 years ago": (Reason.EVENT_TIME_TOO_OLD, Record(raw_v1(event_time=-6_200_000_000_000_000))),
    "a millisecond too old": (Reason.EVENT_TIME_TOO_OLD, Record(v1(event_time=_after(-PAST_SECONDS - 0.001)))),
    "taken in in 2099": (Reason.IMPLAUSIBLE_INGEST_TIME, Record(v1(ingest_time=YEAR_2099))),
    "taken in in 1970": (Reason.IMPLAUSIBLE_INGEST_TIME, Record(v1(ingest_time=EPOCH))),
    "giveaway": (Reason.UNKNOWN_EVENT_TYPE, Record(v1(event_type="giveaway"))),
    "no tier": (Reason.UNKNOWN_PLAN_TIER, Record(v1(plan_tier=""))),
    "Mars": (Reason.UNKNOWN_REGION, Record(v1(region="mars"))),
    "Bitcoin": (Reason.UNKNOWN_CURRENCY, Record(v1(currency="BTC"))),
    "quantity -1": (Reason.NEGATIVE_QUANTITY, Record(v1(quantity=-1))),
    "everything wrong: the first rule counts": (
        Reason.EVENT_TIME_IN_FUTURE,
        Record(v1(event_time=YEAR_2099, ingest_time=EPOCH, region="mars", quantity=-1)),
    ),
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
    assert {reason for reason, _ in QUARANTINED.values()} == set(Reason)


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
    amounts = (
        "amount -0.0128, a byte longer from fastavro",
        "amount -3.2768, a byte longer from fastavro",
        "largest amount",
    )
    assert [batch[name]["amount"] for name in amounts] == [
        Decimal("-0.0128"),
        Decimal("-3.2768"),
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


UNLISTED = Record(framed(ID_SCALE_2 + 1, body(event())), timestamp=KNOWN_UNTIL + timedelta(milliseconds=1))


def test_an_id_that_may_have_been_registered_after_the_listing_fails_the_batch(spark: SparkSession) -> None:
    with pytest.raises(PySparkException, match=f"{UNLISTED_SCHEMA_ID}: {ID_SCALE_2 + 1}") as caught:
        decoded(kafka_frame(spark, [Record(v1()), UNLISTED])).collect()
    assert judge(caught.value)[0] is Verdict.RESTART


def test_such_an_id_ends_a_stream_before_its_commit_and_asks_for_a_restart(spark: SparkSession, tmp_path: Any) -> None:
    records = kafka_frame(spark, [Record(v1()), UNLISTED])
    records.coalesce(1).write.parquet(str(tmp_path / "in"))
    stream = decoded(spark.readStream.schema(records.schema).parquet(str(tmp_path / "in")))
    writer = stream.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
    query = writer.trigger(availableNow=True).start(str(tmp_path / "out"))
    with pytest.raises(StreamingQueryException) as caught:
        query.awaitTermination(120)
    assert judge(caught.value) == (Verdict.RESTART, "a schema id was registered after the last listing")
    assert [path.name for path in (tmp_path / "checkpoint" / "offsets").glob("[0-9]*")] == ["0"]
    assert list((tmp_path / "checkpoint" / "commits").glob("[0-9]*")) == []
    assert list((tmp_path / "out").glob("*.parquet")) == []
