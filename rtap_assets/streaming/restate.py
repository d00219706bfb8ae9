"""Gold against silver: finds windows that lack events and writes them again, with a higher revision.

Gold's watermark follows silver's commits at a distance, but one jump of event time can still close a window before a row
for it arrives; Spark drops such a row and counts it. The check is the conservation of events, and costs one small scan.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD, SILVER
from rtap_assets.kafka.registry import Registry
from rtap_assets.lake.snapshots import table_state
from rtap_assets.streaming.gold_sink import newest_schema, publish
from rtap_assets.transforms.gold import aggregate_revenue

MEASURES = ("gross_amount", "refund_amount", "net_amount", "orders", "refunds")
RESTATED_VIEW = "revenue_restated"


def restate_gold(session: SparkSession, settings: Settings, *, watermark_ms: int) -> int:
    """Make gold's closed windows equal to the aggregation of silver, where events are missing.

    Returns the number of rows restated. Call it only while gold's stream does not run: gold has one writer.

    Time: `watermark_ms` is gold's watermark, milliseconds since the epoch. Windows that end after it are still open: the
        stream itself writes them again with their full values.
    """
    gold = session.table(f"{settings.catalog_name}.{GOLD.identifier}")
    if events_in(gold, settings) == table_state(settings, SILVER).rows:
        return 0
    recomputed = aggregate_revenue(
        session.table(f"{settings.catalog_name}.{SILVER.identifier}"),
        window_seconds=settings.window_seconds,
        slide_seconds=settings.slide_seconds,
        watermark_delay_seconds=2 * settings.watermark_delay_seconds,
    )
    closed = recomputed.where(F.unix_millis("window_end") <= watermark_ms)
    # Computed once and cut off from the tables: Spark 4.1 cannot plan a MERGE whose source view reads an Iceberg table.
    changed = _changed(closed, gold).localCheckpoint()
    count = int(changed.count())
    if count:
        schema_id, schema = newest_schema(Registry(settings), settings)
        publish(changed, settings=settings, schema_id=schema_id, schema=schema)
        changed.createOrReplaceTempView(RESTATED_VIEW)
        session.sql(_merge_statement(f"{settings.catalog_name}.{GOLD.identifier}"))
    return count


def events_in(gold: DataFrame, settings: Settings) -> int:
    """How many events gold's tumbling windows hold: the windows that start on a multiple of the window length."""
    tumbling = gold.where(F.unix_seconds("window_start") % settings.window_seconds == 0)
    row = tumbling.agg(F.coalesce(F.sum(F.col("orders") + F.col("refunds")), F.lit(0))).first()
    return 0 if row is None else int(row[0])


def _changed(recomputed: DataFrame, gold: DataFrame) -> DataFrame:
    """The recomputed rows that gold lacks or holds with other measures, with the revision they get."""
    old = gold.select(*GOLD.key, F.col("revision").alias("old_revision"), F.struct(*MEASURES).alias("old_measures"))
    joined = recomputed.join(old, list(GOLD.key), "left")
    differs = ~F.struct(*MEASURES).eqNullSafe(F.col("old_measures"))
    revised = joined.where(differs).withColumn("revision", F.coalesce(F.col("old_revision"), F.lit(0)) + 1)
    return revised.select(*GOLD.column_names)


def _merge_statement(table: str) -> str:
    keys = " AND ".join(f"t.{name} = s.{name}" for name in GOLD.key)
    updates = ", ".join(f"t.{name} = s.{name}" for name in GOLD.column_names if name not in GOLD.key)
    return (
        f"MERGE INTO {table} t USING {RESTATED_VIEW} s ON {keys}\n"
        f"WHEN MATCHED THEN UPDATE SET {updates}\nWHEN NOT MATCHED THEN INSERT *"
    )
