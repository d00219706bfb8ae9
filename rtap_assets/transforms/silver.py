"""Valid bronze rows to silver events: canonical codes, signed money, latencies, each event once."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from rtap_assets.contracts import rules
from rtap_assets.contracts.tables import SILVER


def normalise_sales_events(bronze: DataFrame) -> DataFrame:
    """Return the valid rows with codes trimmed and mapped to canonical values, the net amount signed and latencies added.

    Shape: bronze columns to the columns of `contracts.tables.SILVER`; grain: one valid Kafka record.
    Units: latencies in milliseconds; `net_amount` in `currency`, minus the amount for a refund.
    Source: architecture overview, section 5.
    """
    valid = bronze.where(F.col("error_reason").isNull())
    refund = _canonical("event_type", rules.EVENT_TYPES) == rules.REFUND
    replaced: dict[str, Column] = {
        "event_id": F.lower("event_id"),
        "event_type": _canonical("event_type", rules.EVENT_TYPES),
        "account_id": F.trim("account_id"),
        "plan_tier": _canonical("plan_tier", rules.PLAN_TIERS),
        "region": _canonical("region", rules.REGIONS),
        "product_id": F.trim("product_id"),
        "currency": F.upper(F.trim("currency")),
        "net_amount": F.when(refund, -F.abs("amount")).otherwise(F.col("amount")).cast("decimal(18,4)"),
        "ingest_latency_ms": _milliseconds("event_time", "ingest_time"),
        "delivery_latency_ms": _milliseconds("event_time", "kafka_timestamp"),
        "processing_latency_ms": _milliseconds("kafka_timestamp", "processed_at"),
        "is_late": F.lit(False),
    }
    now = valid.withColumn("processed_at", F.current_timestamp())
    return now.select(*(replaced.get(name, F.col(name)).alias(name) for name in SILVER.column_names))


def deduplicate_sales_events(events: DataFrame, *, watermark_delay_seconds: int) -> DataFrame:
    """Return each event once, the first copy seen.

    Time: event time; as a stream the memory of seen ids is bounded by the watermark, and a row older than the watermark is
        dropped (Spark counts it in `numRowsDroppedByWatermark`). As a batch nothing is late and the copy with the smallest
        Kafka timestamp and offset is kept.
    Source: architecture overview, sections 5 and 6.
    """
    if events.isStreaming:
        watermarked = events.withWatermark("event_time", f"{watermark_delay_seconds} seconds")
        return watermarked.dropDuplicatesWithinWatermark(["event_id"])
    order = Window.partitionBy("event_id").orderBy("kafka_timestamp", "kafka_partition", "kafka_offset")
    return events.withColumn("copy", F.row_number().over(order)).where("copy = 1").drop("copy")


def _canonical(column: str, spellings: Mapping[str, str]) -> Column:
    """The canonical value of a code that bronze has found known."""
    spelled = F.lower(F.trim(F.col(column)))
    aliases = {spelling: value for spelling, value in spellings.items() if spelling != value}
    result = spelled
    for spelling, value in aliases.items():
        result = F.when(spelled == spelling, F.lit(value)).otherwise(result)
    return result


def _milliseconds(start: str, end: str) -> Column:
    return F.unix_millis(F.col(end)) - F.unix_millis(F.col(start))
