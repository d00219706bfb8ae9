"""Quarantined bronze rows to dead-letter records: the original bytes, with the context in headers."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.dead_letters import REDRIVE_ATTEMPT

# Modeled on Kafka Connect's dead-letter queue. Topic, Kafka partition and offset together identify a record.
HEADER_PREFIX = "rtap.dlq."
REDRIVEN_ATTEMPT = "^[0-9]{1,4}$"


def build_dead_letters(bronze: DataFrame) -> DataFrame:
    """Return one record for the dead-letter topic for each quarantined row.

    Shape: bronze columns to `key`, `value` (both unchanged bytes) and `headers`, as Spark's Kafka sink takes them; the
        record's own headers come first, ours after them.
    Source: design, section "The contract".
    """
    context = {
        "reason": F.col("error_reason"),
        "detail": F.col("error_detail"),
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
    """Return how often the record was sent: once, plus once for each redrive."""
    sent = F.filter("kafka_headers", lambda one: one["key"] == REDRIVE_ATTEMPT)
    text = F.try_element_at(sent, F.lit(-1))["value"].cast("string")
    return F.coalesce(F.when(text.rlike(REDRIVEN_ATTEMPT), text.cast("int") + 1), F.lit(1))
