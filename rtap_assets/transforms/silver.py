"""Valid bronze rows to silver events: canonical codes, signed money, latencies, each event once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from rtap_assets.contracts import currencies, rules
from rtap_assets.contracts.tables import SILVER
from rtap_assets.transforms.text import trimmed

COORDINATES = ("topic", "kafka_partition", "kafka_offset")
ARRIVAL_ORDER = ("kafka_timestamp", "kafka_partition", "kafka_offset")


def normalise_sales_events(bronze: DataFrame) -> DataFrame:
    """Return the valid rows with codes trimmed and mapped to canonical values, the net amount signed and latencies added.

    Shape: bronze columns to the columns of `contracts.tables.SILVER` but for those of `stamp_processing`; grain: one valid
        Kafka record.
    Units: latencies in milliseconds; `net_amount` in `currency`, minus the amount for a refund.
    Source: architecture overview, section 5.
    """
    valid = bronze.where(F.col("error_reason").isNull())
    refund = _canonical("event_type", rules.EVENT_TYPES) == rules.REFUND
    replaced: dict[str, Column] = {
        "event_id": F.lower(trimmed(F.col("event_id"))),
        "event_type": _canonical("event_type", rules.EVENT_TYPES),
        "account_id": trimmed(F.col("account_id")),
        "plan_tier": _canonical("plan_tier", rules.PLAN_TIERS),
        "region": _canonical("region", rules.REGIONS),
        "product_id": trimmed(F.col("product_id")),
        "currency": _canonical_currency(),
        "net_amount": F.when(refund, -F.abs("amount")).otherwise(F.col("amount")).cast("decimal(18,4)"),
        "ingest_latency_ms": _milliseconds("event_time", "ingest_time"),
        "delivery_latency_ms": _milliseconds("event_time", "kafka_timestamp"),
        "is_late": F.lit(False),
    }
    added_later = ("processing_latency_ms", "processed_at")
    names = [name for name in SILVER.column_names if name not in added_later]
    return valid.select(*(replaced.get(name, F.col(name)).alias(name) for name in names))


def deduplicate_sales_events(events: DataFrame, *, watermark_delay_seconds: int) -> DataFrame:
    """Return each event once: of copies in one batch the one with the smallest Kafka timestamp and offset, else the first.

    Time: event time; as a stream the memory of seen ids is bounded by the watermark, and a row older than the watermark of
        the batch before is dropped (Spark counts it in `numRowsDroppedByWatermark`). As a batch nothing is late.
    Source: architecture overview, sections 5 and 6.
    """
    if events.isStreaming:
        watermarked = events.withWatermark("event_time", f"{watermark_delay_seconds} seconds")
        # Spark keeps the copy that its shuffle happens to deliver first, so they are put in order within the micro-batch.
        # Its check of streaming plans would refuse that, so the session has it off (`streaming/session.py`).
        ordered = watermarked.repartition("event_id").sortWithinPartitions(*ARRIVAL_ORDER)
        return ordered.dropDuplicatesWithinWatermark(["event_id"])
    return _first_copies(events)


def late_sales_events(bronze: DataFrame, silver: DataFrame, *, since: datetime) -> DataFrame:
    """Return the events of bronze that silver lacks, each once, marked as late.

    Shape: batch only; bronze and silver columns to those of `normalise_sales_events`; grain: one event.
    Time: considers records whose Kafka timestamp is not before `since`; an event counts as held by silver whenever it came.
    """
    recent = F.col("kafka_timestamp") >= F.lit(since)
    held = silver.where(recent).select(*COORDINATES)
    # Few are left: late rows and copies. So the whole of silver is looked through for their ids alone.
    without_row = normalise_sales_events(bronze.where(recent)).join(held, list(COORDINATES), "left_anti")
    known = silver.select("event_id").join(without_row.select("event_id").distinct(), "event_id", "left_semi")
    lacking = without_row.join(known, "event_id", "left_anti")
    return _first_copies(lacking).withColumn("is_late", F.lit(True))


def stamp_processing(events: DataFrame) -> DataFrame:
    """Return the events with the micro-batch's timestamp and the latency up to it.

    Apply it last: Spark compiles the batch's timestamp into the code of its stage, which is then compiled anew for each
    batch. After the deduplication that stage is a small one.

    Shape: adds `processing_latency_ms` and `processed_at`, and puts the columns in the order of `contracts.tables.SILVER`.
    """
    stamped = events.withColumn("processed_at", F.current_timestamp())
    latency = _milliseconds("kafka_timestamp", "processed_at")
    return stamped.withColumn("processing_latency_ms", latency).select(*SILVER.column_names)


def _first_copies(events: DataFrame) -> DataFrame:
    order = Window.partitionBy("event_id").orderBy(*ARRIVAL_ORDER)
    return events.withColumn("copy", F.row_number().over(order)).where("copy = 1").drop("copy")


def _canonical(column: str, spellings: Mapping[str, str]) -> Column:
    """The canonical value of a code that bronze has found known; most come canonical already."""
    spelled = F.lower(trimmed(F.col(column)))
    aliases = {spelling: value for spelling, value in spellings.items() if spelling != value}
    result = spelled
    for spelling, value in aliases.items():
        result = F.when(spelled == spelling, F.lit(value)).otherwise(result)
    return F.when(F.col(column).isin(sorted(set(spellings.values()))), F.col(column)).otherwise(result)


def _canonical_currency() -> Column:
    active = F.col("currency").isin(sorted(currencies.ACTIVE))
    return F.when(active, F.col("currency")).otherwise(F.upper(trimmed(F.col("currency"))))


def _milliseconds(start: str, end: str) -> Column:
    return F.unix_millis(F.col(end)) - F.unix_millis(F.col(start))
