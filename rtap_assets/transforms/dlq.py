"""Quarantined bronze rows to dead-letter records: the original bytes, with the context in headers."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.dead_letters import REDRIVE_ATTEMPT
from rtap_assets.contracts.rules import Reason

# After the custom of Kafka Connect's dead-letter queue. The identity is topic, Kafka partition and offset together.
HEADER_PREFIX = "rtap.dlq."
REDRIVEN_ATTEMPT = "^[0-9]{1,4}$"
OFFENDING_COLUMNS = {
    Reason.INVALID_EVENT_ID: "event_id",
    Reason.EVENT_TIME_IN_FUTURE: "event_time",
    Reason.EVENT_TIME_TOO_OLD: "event_time",
    Reason.IMPLAUSIBLE_INGEST_TIME: "ingest_time",
    Reason.UNKNOWN_EVENT_TYPE: "event_type",
    Reason.UNKNOWN_PLAN_TIER: "plan_tier",
    Reason.UNKNOWN_REGION: "region",
    Reason.UNKNOWN_CURRENCY: "currency",
    Reason.NEGATIVE_QUANTITY: "quantity",
}


def build_dead_letters(bronze: DataFrame) -> DataFrame:
    """Return one record for the dead-letter topic for each quarantined row.

    Shape: bronze columns to `key`, `value` (both unchanged bytes) and `headers`, as Spark's Kafka sink takes them; the
        record's own headers come first, ours after them.
    Source: design, section "The contract".
    """
    context = {
        "reason": F.col("error_reason"),
        "detail": _detail(),
        "topic": F.col("topic"),
        "partition": F.col("kafka_partition").cast("string"),
        "offset": F.col("kafka_offset").cast("string"),
        "timestamp": F.date_format("kafka_timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"),
        "schema.id": F.col("schema_id").cast("string"),
        "attempts": _attempts().cast("string"),
    }
    ours = F.array(*(_header(name, column) for name, column in context.items()))
    none = F.array().cast("array<struct<key:string,value:binary>>")
    return bronze.where(F.col("error_reason").isNotNull()).select(
        F.col("raw_key").alias("key"),
        F.col("raw_value").alias("value"),
        F.concat(F.coalesce("kafka_headers", none), ours).alias("headers"),
    )


def _header(name: str, value: Column) -> Column:
    return F.struct(F.lit(HEADER_PREFIX + name).alias("key"), F.coalesce(value, F.lit("")).cast("binary").alias("value"))


def _attempts() -> Column:
    """How often the record was tried: once, and once more for each time that it was sent again."""
    sent = F.filter("kafka_headers", lambda one: one["key"] == REDRIVE_ATTEMPT)
    text = F.try_element_at(sent, F.lit(-1))["value"].cast("string")
    return F.coalesce(F.when(text.rlike(REDRIVEN_ATTEMPT), text.cast("int") + 1), F.lit(1))


def _detail() -> Column:
    """What exactly broke the rule, at most 200 characters. Here and not in bronze, where every row would pay for it."""
    size = F.format_string("%d bytes", F.length("raw_value"))
    shown = {
        Reason.TOO_SHORT: size,
        Reason.OVERSIZED: size,
        Reason.UNDECODABLE: size,
        Reason.TRAILING_BYTES: size,
        Reason.BAD_MAGIC: F.format_string("first byte 0x%s", F.hex(F.substring("raw_value", 1, 1))),
        Reason.UNKNOWN_SCHEMA_ID: F.format_string("schema id %d", F.col("schema_id")),
        Reason.INCOMPATIBLE_SCHEMA: F.format_string("schema id %d", F.col("schema_id")),
        Reason.AMOUNT_OVERFLOW: F.format_string("schema id %d", F.col("schema_id")),
        Reason.KEY_MISMATCH: F.format_string("key %s, account_id %s", F.col("raw_key").cast("string"), F.col("account_id")),
    } | {reason: F.col(column).cast("string") for reason, column in OFFENDING_COLUMNS.items()}
    result = F.lit("")
    for reason, column in shown.items():
        result = F.when(F.col("error_reason") == reason.value, column).otherwise(result)
    return F.substring(result, 1, 200)
