"""Valid bronze rows to silver events: canonical codes, signed money, latencies, each event once."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from rtap_assets.contracts import currencies, rules
from rtap_assets.contracts.tables import SILVER
from rtap_assets.transforms.text import trimmed

COORDINATES = ("topic", "topic_epoch", "kafka_partition", "kafka_offset")
RECORD_KEY = COORDINATES[1:]  # of one topic; an epoch has one
IS_VALID = "error_reason IS NULL"
ADDED_LAST = ("processing_latency_ms", "processed_at")
ARRIVAL_ORDER = ("kafka_timestamp", "kafka_partition", "kafka_offset")


def normalise_sales_events(bronze: DataFrame) -> DataFrame:
    """Return the valid rows with canonical codes, the signed net amount and latencies.

    Shape: bronze columns to the columns of `contracts.tables.SILVER` but for those of `stamp_processing`; grain: one valid
        Kafka record.
    Units: latencies in milliseconds; `net_amount` in `currency`, minus the amount for a refund.
    Source: architecture overview, section 5.
    """
    return bronze.where(IS_VALID).select(*normalised_columns())


def normalised_columns() -> list[Column]:
    """Return the columns of `normalise_sales_events`, for rows of bronze that are valid."""
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
        "topic_epoch": _epoch(),
        "is_late": F.lit(False),
    }
    names = [name for name in SILVER.column_names if name not in ADDED_LAST]
    return [replaced.get(name, F.col(name)).alias(name) for name in names]


def first_copies(events: DataFrame) -> DataFrame:
    """Return each event once, as the copy with the smallest Kafka timestamp and offset. Batch only; nothing is late.

    Source: architecture overview, sections 5 and 6.
    """
    order = Window.partitionBy("event_id").orderBy(*ARRIVAL_ORDER)
    return events.withColumn("copy", F.row_number().over(order)).where("copy = 1").drop("copy")


def without_rows(events: DataFrame, left_out: DataFrame) -> DataFrame:
    """Return the events but for those at the coordinates `left_out`, few enough to be sent to every executor.

    Shape: `left_out` has `RECORD_KEY`, no combination twice.
    """
    return events.join(F.broadcast(left_out), list(RECORD_KEY), "left_anti")


def rejudged_sales_events(bronze: DataFrame, silver: DataFrame) -> DataFrame:
    """Return the events of re-judged rows that are now valid and missing in silver, each once, marked as late.

    The stream never reads them: it reads what bronze's stream appended, where they are quarantined. An event that another
    valid row also carries is left to that row, which the stream or the search for late rows adds.

    Shape: batch only; bronze and silver columns to those of `normalise_sales_events`; grain: one event.
    """
    again = F.col("rejudged_at").isNotNull()
    candidates = normalise_sales_events(bronze.where(again))
    lacking = candidates.join(silver.select("event_id"), "event_id", "left_anti")
    others = normalise_sales_events(bronze.where(~again)).select("event_id")
    return first_copies(lacking.join(others, "event_id", "left_anti")).withColumn("is_late", F.lit(True))


def stamp_processing(events: DataFrame, processed_at: Column | None = None) -> DataFrame:
    """Return the events with the timestamp of their batch, by default that of the query, and the latency up to it.

    Shape: adds `processing_latency_ms` and `processed_at`, in the column order of `contracts.tables.SILVER`.
    """
    stamped = events.withColumn("processed_at", F.current_timestamp() if processed_at is None else processed_at)
    return stamped.select(*stamped_columns())


def stamped_columns() -> list[Column | str]:
    """Return the columns of silver, for events with `processed_at`."""
    latency = _milliseconds("kafka_timestamp", "processed_at").alias("processing_latency_ms")
    return [latency if name == "processing_latency_ms" else name for name in SILVER.column_names]


def _canonical(column: str, spellings: Mapping[str, str]) -> Column:
    """Return the canonical value of a code that bronze accepted; most are canonical already."""
    spelled = F.lower(trimmed(F.col(column)))
    values = F.create_map(*(F.lit(text) for pair in spellings.items() for text in pair))
    is_canonical = F.col(column).isin(sorted(set(spellings.values())))
    return F.when(is_canonical, F.col(column)).otherwise(F.coalesce(F.try_element_at(values, spelled), spelled))


def _canonical_currency() -> Column:
    active = F.col("currency").isin(sorted(currencies.ACTIVE))
    return F.when(active, F.col("currency")).otherwise(F.upper(trimmed(F.col("currency"))))


def _epoch() -> Column:
    """Return the topic epoch; rows that predate the column belong to epoch 0."""
    return F.coalesce(F.col("topic_epoch"), F.lit(0))


def _milliseconds(start: str, end: str) -> Column:
    return F.unix_millis(F.col(end)) - F.unix_millis(F.col(start))
