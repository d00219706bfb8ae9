"""What encoders of five languages wrote, decoded and judged by the streams' own plan, is what the events say."""

from __future__ import annotations

from typing import Any

import pytest
from event_bytes import Record, framed, kafka_frame
from pyspark.sql import SparkSession
from recorded import Recorded, recorded, schema_texts
from spark_fixtures import rows_of

from rtap_assets.config import PROJECT_ROOT
from rtap_assets.contracts.avro.known_writers import KnownWriters
from rtap_assets.contracts.avro.schemas import EVENTS_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.avro.writer_schemas import Contract, Decoding, RegisteredSchema, judge_schema
from rtap_assets.contracts.rules import TEXT_FIELDS
from rtap_assets.contracts.text import trim
from rtap_assets.transforms.bronze import Limits, bronze_steps
from rtap_assets.transforms.projections import apply_steps

MAX_EVENT_BYTES = 4096
FUTURE_SECONDS, PAST_SECONDS = 300, 30 * 86_400
IDS = {"1": 11, "2": 12, "fixed": 13}
# All others are valid, but for the sign.
REASONS = {"1970": "event_time_too_old", "far ahead": "event_time_in_future"}

Rows = list[tuple[Recorded, dict[str, Any]]]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> Rows:
    """Each record with its bronze row; all are decoded in one plan."""
    contract = Contract.of(load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", EVENTS_SUBJECT_FOLDER))
    verdicts = {str(IDS[name]): judge_schema(RegisteredSchema(text), contract) for name, text in schema_texts().items()}
    own = verdicts[str(IDS["2"])]
    assert isinstance(own, Decoding)
    steps = bronze_steps(KnownWriters(verdicts, own), Limits(MAX_EVENT_BYTES, FUTURE_SECONDS, PAST_SECONDS), settled=True)
    records = recorded()
    sent = [Record(framed(IDS[one.schema], one.body), key=one.event["account_id"].encode()) for one in records]
    frame = apply_steps(kafka_frame(spark, sent), steps)
    return list(zip(records, rows_of(frame.orderBy("kafka_offset")), strict=True))


def test_every_field_is_what_the_event_says_with_white_space_trimmed(rows: Rows) -> None:
    for record, row in rows:
        event = record.event
        expected = event | {name: event[name] and trim(event[name]) for name in TEXT_FIELDS}
        assert {name: row[name] for name in expected} == expected, record


def test_all_are_valid_but_for_negative_amounts_and_far_times(rows: Rows) -> None:
    for record, row in rows:
        sign = "negative_amount" if record.event["amount"] < 0 else None
        assert row["error_reason"] == REASONS.get(record.case, sign), record
