"""Decoded records as `judging_steps` takes them, written by hand: text as bytes, so that it can be no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
from event_bytes import ACCOUNT, APPENDED_AT, event_id
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from spark_fixtures import from_arrow, rows_of

from rtap_assets.contracts.rules import TEXT_FIELDS
from rtap_assets.transforms.judging import judging_steps
from rtap_assets.transforms.projections import apply_steps

FUTURE_SECONDS, PAST_SECONDS = 300, 30 * 86_400

_INSTANT = pa.timestamp("us", tz="UTC")
DECODED = pa.schema(
    [
        *((name, pa.binary()) for name in TEXT_FIELDS),
        ("event_time", _INSTANT),
        ("ingest_time", _INSTANT),
        ("schema_version", pa.int32()),
        ("quantity", pa.int32()),
        ("amount_bytes", pa.binary()),
        ("decode_reason", pa.string()),
        ("decode_detail", pa.string()),
        ("topic", pa.string()),
        ("topic_epoch", pa.int32()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("kafka_timestamp", _INSTANT),
        ("schema_id", pa.int64()),
        ("raw_key", pa.binary()),
        ("raw_value", pa.binary()),
        ("kafka_headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)


def decoded_row(**changes: Any) -> dict[str, Any]:
    """Return a purchase of 12.50 EUR; text may be given as text or as bytes."""
    row = {
        "event_id": event_id(1),
        "account_id": ACCOUNT,
        "product_id": "seat",
        "event_type": "purchase",
        "plan_tier": "pro",
        "region": "emea",
        "currency": "EUR",
        "promo_code": None,
        "sales_channel": "web",
        "event_time": APPENDED_AT - timedelta(seconds=12),
        "ingest_time": APPENDED_AT - timedelta(seconds=2),
        "schema_version": 2,
        "quantity": 1,
        "amount_bytes": b"\x01\xe8\x48",
        "topic": "sales.events.v1",
        "kafka_partition": 0,
        "kafka_offset": 0,
        "kafka_timestamp": APPENDED_AT,
        "schema_id": 1,
        "raw_key": ACCOUNT.encode(),
        "raw_value": b"\x00",
    } | changes
    return {name: value.encode() if name in TEXT_FIELDS and isinstance(value, str) else value for name, value in row.items()}


def decoded_frame(session: SparkSession, rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Return the rows as a decoded frame, with offsets in their order."""
    numbered = [{**row, "kafka_offset": offset} for offset, row in enumerate(rows)]
    frame = from_arrow(session, numbered, DECODED)
    return frame.select(*(F.col(name).cast("string") if name in TEXT_FIELDS else F.col(name) for name in frame.columns))


def judge_sales_events(decoded: DataFrame) -> DataFrame:
    """Apply the contract's rules to rows of which `decode_reason` and `decode_detail` say whether they were decoded."""
    fault = F.struct(F.col("decode_reason").alias("reason"), F.col("decode_detail").alias("detail"))
    undecoded = F.when(F.col("decode_reason").isNotNull(), fault)
    steps = judging_steps(undecoded, future_seconds=FUTURE_SECONDS, past_seconds=PAST_SECONDS)
    return apply_steps(decoded.withColumn("is_whole", F.col("decode_reason").isNull()), steps)


def judged(session: SparkSession, cases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Judge all cases in one batch; return the bronze rows by case."""
    frame = judge_sales_events(decoded_frame(session, list(cases.values())))
    return dict(zip(cases, rows_of(frame.orderBy("kafka_offset")), strict=True))
