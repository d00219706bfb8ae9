"""Kafka records to bronze rows: decoded with the writer's schema, judged by the contract's rules, raw bytes kept.

Pure column work on a DataFrame, the same as a batch and as a stream; every Kafka record becomes exactly one row.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro, to_avro

from rtap_assets.contracts import rules
from rtap_assets.contracts.registered import RegisteredWriters
from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.tables import BRONZE, EVENT_COLUMNS, REJUDGED_COLUMNS
from rtap_assets.contracts.wire import HEADER_BYTES, MAGIC_BYTE

UNLISTED_SCHEMA_ID = "RTAP_UNLISTED_SCHEMA_ID"
LARGEST_AMOUNT = Decimal("99999999999999.9999")
WIDEST_PRECISION = 38
# Instants that every reader can show; a decoded time outside is kept in raw_value alone.
EARLIEST_TIME, LATEST_TIME = "0001-01-02 00:00:00", "9999-12-30 00:00:00"


def decode_sales_events(
    records: DataFrame,
    *,
    writers: RegisteredWriters,
    max_event_bytes: int,
    future_seconds: int,
    past_seconds: int,
) -> DataFrame:
    """Return one bronze row for each Kafka record, `error_reason` set where a rule of the contract is broken.

    Shape: Spark's Kafka source columns with headers, to the columns of `contracts.tables.BRONZE`; grain: one Kafka record.
    Time: `event_time` is judged against the Kafka timestamp, which the broker sets, so a replay judges alike.
    Raises: the batch fails with `RTAP_UNLISTED_SCHEMA_ID` at a schema id that may have been registered after
        `writers.known_until`; list the registry again and restart on the same checkpoint.
    Source: architecture overview, section 5; design, decisions 3, 5 and 8.
    """
    framed = records.select(
        "*",
        F.length("value").alias("size"),
        F.when(
            (F.length("value") >= HEADER_BYTES) & (F.substring("value", 1, 1) == F.lit(bytes([MAGIC_BYTE]))),
            F.conv(F.hex(F.substring("value", 2, 4)), 16, 10).cast("bigint"),
        ).alias("schema_id"),
        F.expr(f"substring(value, {HEADER_BYTES + 1})").alias("body"),
    )
    decodable = F.col("size") <= max_event_bytes
    decoded = framed.select(
        "*",
        *(
            F.when((F.col("schema_id") == schema_id) & decodable, _from_avro(text)).alias(_decoded(schema_id))
            for schema_id, text in writers.accepted.items()
        ),
    )
    encoded = decoded.select("*", _encoded_again(writers).alias("encoded_again"))
    flat = encoded.select(
        *(_event_column(name, type_, writers).alias(name) for name, type_ in _event_fields()),
        "topic",
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("timestamp").alias("kafka_timestamp"),
        "schema_id",
        "size",
        "body",
        "encoded_again",
        F.col("key").cast("string").alias("key_text"),
        F.col("key").alias("raw_key"),
        F.col("value").alias("raw_value"),
        F.col("headers").alias("kafka_headers"),
    )
    reason = _reason(writers, max_event_bytes=max_event_bytes, future_seconds=future_seconds, past_seconds=past_seconds)
    judged = flat.select("*", reason.alias("error_reason"))
    return judged.select(*(_storable(name).alias(name) for name in BRONZE.column_names))


def _event_fields() -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in EVENT_COLUMNS]


def _decoded(schema_id: int) -> str:
    return f"decoded_{schema_id}"


def _from_avro(schema: str, body: str = "body") -> Column:
    return from_avro(F.col(body), schema, {"mode": "PERMISSIVE"})


def _field_names(schema: str) -> set[str]:
    return {field["name"] for field in json.loads(schema)["fields"]}


def _event_column(name: str, type_: str, writers: RegisteredWriters) -> Column:
    """The field from whichever writer schema decoded the record; null where that schema lacks it."""
    found = [
        F.col(f"{_decoded(schema_id)}.{name}") for schema_id, text in writers.accepted.items() if name in _field_names(text)
    ]
    return F.coalesce(*found, F.lit(None)).cast(type_)


def _encoded_again(writers: RegisteredWriters) -> Column:
    """The decoded event written again with its own schema, to find bytes behind its end."""
    result = F.lit(None).cast("binary")
    for schema_id, text in writers.accepted.items():
        struct = F.col(_decoded(schema_id))
        result = F.when(struct["event_id"].isNotNull(), to_avro(struct, text)).otherwise(result)
    return result


def _overflows(writers: RegisteredWriters) -> Column:
    """True where the amount, read with up to 38 digits, has more than the contract allows."""
    result = F.lit(False)
    for schema_id, text in writers.accepted.items():
        wide = json.loads(text)
        for field in wide["fields"]:
            if field["name"] == "amount":
                field["type"] = {**field["type"], "precision": WIDEST_PRECISION}
        too_large = F.abs(_from_avro(json.dumps(wide))["amount"]) > F.lit(LARGEST_AMOUNT)
        result = F.when(F.col("schema_id") == schema_id, F.coalesce(too_large, F.lit(False))).otherwise(result)
    return result


def _spelled(column: str) -> Column:
    return F.lower(F.trim(F.col(column)))


def _between(time: str, *, future_seconds: int, past_seconds: int) -> tuple[Column, Column]:
    later = F.col(time) > F.col("kafka_timestamp") + F.expr(f"INTERVAL {future_seconds} SECONDS")
    earlier = F.col(time) < F.col("kafka_timestamp") - F.expr(f"INTERVAL {past_seconds} SECONDS")
    return later, earlier


def _unknown_schema_id(writers: RegisteredWriters) -> Column:
    """True for an id that is certainly not registered; fails the batch where it may have been since the listing."""
    known = [*writers.accepted, *writers.refused]
    unlisted = ~F.col("schema_id").isin(known) if known else F.lit(True)
    settled = (F.col("kafka_timestamp") <= F.lit(_literal(writers.known_until)).cast("timestamp")) | (
        F.col("schema_id") > writers.newest_plausible_id
    )
    unsettled = F.raise_error(F.concat(F.lit(f"{UNLISTED_SCHEMA_ID}: "), F.col("schema_id").cast("string")))
    return F.when(unlisted, F.when(settled, F.lit(True)).otherwise(unsettled.cast("boolean"))).otherwise(F.lit(False))


def _literal(time: datetime) -> str:
    return time.isoformat(sep=" ")


def _reason(writers: RegisteredWriters, *, max_event_bytes: int, future_seconds: int, past_seconds: int) -> Column:
    """The first rule that the record breaks, in the order of `Reason`; null when it is valid."""
    event_later, event_earlier = _between("event_time", future_seconds=future_seconds, past_seconds=past_seconds)
    ingest_later, ingest_earlier = _between("ingest_time", future_seconds=future_seconds, past_seconds=past_seconds)
    absent = F.col("event_id").isNull()
    again = F.col("encoded_again")
    conditions: dict[Reason, Column] = {
        Reason.TOMBSTONE: F.col("raw_value").isNull(),
        Reason.TOO_SHORT: F.col("size") < HEADER_BYTES,
        Reason.OVERSIZED: F.col("size") > max_event_bytes,
        Reason.BAD_MAGIC: F.col("schema_id").isNull(),
        Reason.UNKNOWN_SCHEMA_ID: _unknown_schema_id(writers),
        Reason.INCOMPATIBLE_SCHEMA: F.col("schema_id").isin(list(writers.refused)) if writers.refused else F.lit(False),
        # Of an amount beyond 64 bits Spark takes the lowest 64, which may look valid; but they are not the bytes that came.
        Reason.AMOUNT_OVERFLOW: F.when(absent | (again != F.col("body")), _overflows(writers)).otherwise(F.lit(False)),
        Reason.UNDECODABLE: absent,
        # Only a proper prefix: other encoders write -128 and -32768 with one byte more than Java, which is no error.
        Reason.TRAILING_BYTES: (F.length(again) < F.length("body")) & F.startswith(F.col("body"), again),
        Reason.NULL_KEY: F.col("raw_key").isNull(),
        Reason.MISSING_FIELD: reduce(Column.__or__, [F.trim(F.col(name)) == "" for name in rules.REQUIRED_TEXT_FIELDS]),
        Reason.KEY_MISMATCH: F.col("key_text") != F.col("account_id"),
        Reason.INVALID_EVENT_ID: ~F.col("event_id").rlike(rules.UUID_PATTERN),
        Reason.EVENT_TIME_IN_FUTURE: event_later,
        Reason.EVENT_TIME_TOO_OLD: event_earlier,
        Reason.IMPLAUSIBLE_INGEST_TIME: ingest_later | ingest_earlier,
        Reason.UNKNOWN_EVENT_TYPE: ~_spelled("event_type").isin(list(rules.EVENT_TYPES)),
        Reason.UNKNOWN_PLAN_TIER: ~_spelled("plan_tier").isin(list(rules.PLAN_TIERS)),
        Reason.UNKNOWN_REGION: ~_spelled("region").isin(list(rules.REGIONS)),
        Reason.UNKNOWN_CURRENCY: ~F.upper(F.trim(F.col("currency"))).isin(sorted(rules.CURRENCIES)),
        Reason.NEGATIVE_QUANTITY: F.col("quantity") < 0,
    }
    if list(conditions) != list(Reason):
        raise AssertionError("every reason needs its condition, in the order of judgement")
    verdict = F.when(F.lit(False), F.lit(""))
    for reason, condition in conditions.items():
        verdict = verdict.when(condition, F.lit(reason.value))
    return verdict


def _storable(name: str) -> Column:
    """The column as it is stored: what could not be read or shown as it came becomes null (raw_value still has it)."""
    if name in ("event_time", "ingest_time"):
        bounds = (F.lit(time).cast("timestamp") for time in (EARLIEST_TIME, LATEST_TIME))
        return F.when(F.col(name).between(*bounds), F.col(name))
    if name in REJUDGED_COLUMNS:
        return F.lit(None).cast(BRONZE.type_of(name))
    if name == "amount":
        return F.when(~F.col("error_reason").eqNullSafe(Reason.AMOUNT_OVERFLOW.value), F.col(name))
    return F.col(name)
