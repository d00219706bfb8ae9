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
from odd_schemas import ODD
from poison import YEAR_2099, Writer, padded, poison
from pyspark.sql import DataFrame, SparkSession
from spark_fixtures import largest_generated_method, projections_outside_generated_code, rows_of

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.avro.known_writers import KnownWriters
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.avro.writer_schemas import Contract, Decoding, RegisteredSchema, judge_schema
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.transforms.bronze import Limits, bronze_steps
from rtap_assets.transforms.decoding import writer_keys
from rtap_assets.transforms.decoding_faults import UNLISTED_WRITER
from rtap_assets.transforms.projections import Steps, apply_steps

MAX_EVENT_BYTES = 4096
FUTURE_SECONDS, PAST_SECONDS = 300, 30 * 86_400
ID_V1, ID_V2, ID_V3, ID_SCALE_2, ID_ODD = 11, 12, 13, 14, 100

V3 = with_field(V2, "campaign_id", "long")
SCALE_2 = with_amount(V1, precision=18, scale=2)


WRITERS = {ID_V1: V1, ID_V2: V2, ID_V3: V3, ID_SCALE_2: SCALE_2}
WRITERS |= {ID_ODD + n: one.text for n, one in enumerate(ODD.values())}


def steps(*, settled: bool = True, texts: Mapping[int, str] = WRITERS) -> Steps:
    contract = Contract.of(load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", EVENTS_SUBJECT_FOLDER))
    verdicts = {str(schema_id): judge_schema(RegisteredSchema(text), contract) for schema_id, text in texts.items()}
    own = verdicts[str(ID_V2)]
    assert isinstance(own, Decoding)
    limits = Limits(MAX_EVENT_BYTES, FUTURE_SECONDS, PAST_SECONDS)
    return bronze_steps(KnownWriters(verdicts, own), limits, settled=settled)


def decoded(records: DataFrame, *, settled: bool = True) -> DataFrame:
    return apply_steps(records, steps(settled=settled))


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


UNLISTED = Record(framed(UNLISTED_ID, body(event())))


@pytest.mark.parametrize("impossible", [2**31, 2**32 - 1])
def test_an_id_of_which_nothing_is_known_fails_the_batch_unless_no_registry_can_have_given_it(
    spark: SparkSession, impossible: int
) -> None:
    never = Record(framed(impossible, body(event())))
    (row,) = rows_of(decoded(kafka_frame(spark, [never]), settled=False))
    assert row["error_reason"] == Reason.UNKNOWN_SCHEMA_ID
    with pytest.raises(Exception, match=f"{UNLISTED_WRITER}: {UNLISTED_ID}"):
        rows_of(decoded(kafka_frame(spark, [Record(v1()), never, UNLISTED]), settled=False))


def test_the_writers_of_a_batch_are_counted(spark: SparkSession) -> None:
    records = [Record(v1()), Record(v2()), Record(v1()), Record(None), Record(b"{}"), UNLISTED]
    found = {row["writer_key"]: row["count"] for row in writer_keys(kafka_frame(spark, records)).collect()}
    assert found == {str(ID_V1): 2, str(ID_V2): 1, str(UNLISTED_ID): 1}


def test_a_detail_names_what_was_found(batch: Judged) -> None:
    shown = {
        "JSON": "JSON text",
        "JSON behind a schema id": "JSON text behind a schema id",
        "Protobuf": "Protobuf (a text as field 1)",
        "Glue": "AWS Glue Schema Registry (header version 3, a schema version's UUID)",
        "Azure's content type": "the content type avro/binary+0123456789abcdef0123456789abcdef",
        "a bare body": "an Avro body without any framing",
        "a schema id of two bytes in a header": "the header __value_schema_id with 2 bytes, which are no id",
        "a version with cents": f"schema id {ID_SCALE_2}: $.amount: bytes with logical type decimal(18, 2); the contract "
        "wants decimal(18, 4) on bytes, or on a fixed that is large enough",
        "an id of nobody": f"schema id {UNLISTED_ID}: the registry knows no schema under it",
    }
    assert {name: batch[name]["error_detail"] for name in shown} == shown


ODD_IDS = {name: ID_ODD + number for number, name in enumerate(ODD)}


def test_odd_schemas_are_read_or_refused_each_alone(spark: SparkSession) -> None:
    records = [Record(framed(ODD_IDS[name], one.body)) for name, one in ODD.items()]
    rows = dict(zip(ODD, rows_of(decoded(kafka_frame(spark, records)).orderBy("kafka_offset")), strict=True))
    assert {name: row["error_reason"] for name, row in rows.items()} == {
        name: Reason.INCOMPATIBLE_SCHEMA.value if one.finding else None for name, one in ODD.items()
    }
    whole = event()
    fields = [name for name in whole if name != "amount"]
    assert [
        name for name, one in ODD.items() if not one.finding and any(rows[name][key] != whole[key] for key in fields)
    ] == []


def test_a_tree_nine_hundred_levels_deep_is_read_over(spark: SparkSession) -> None:
    name = "a record that contains itself"
    leaf = b"\x02a"
    value = framed(ODD_IDS[name], body(event()) + b"\x02" + (leaf + b"\x02") * 900 + leaf + b"\x00" + b"\x00" * 901)
    (row,) = rows_of(decoded(kafka_frame(spark, [Record(value)])))
    assert row["error_reason"] is None


def test_a_record_passes_one_stage_of_generated_code(spark: SparkSession) -> None:
    records = kafka_frame(spark, [Record(v1())])
    rows = apply_steps(spark.createDataFrame(records.rdd, records.schema), steps(texts={ID_V1: V1, ID_V2: V2}))
    assert projections_outside_generated_code(rows) == 0
    # At 13,300 the JVM's first compiler gives up, and the method is interpreted until the second one is done.
    assert largest_generated_method(rows) < 11_000
