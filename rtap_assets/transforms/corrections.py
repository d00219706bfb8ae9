"""Plans corrections: late rows to add, later copies to remove. Pure functions of bronze and silver rows.

Of the copies of an event that arrived within the horizon, the first by Kafka timestamp, partition and offset counts, no
matter whether silver's stream kept it or dropped it as late: the decision does not depend on when the correction runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from rtap_assets.transforms.gold import GROUP, MEASURES, sum_panes, sum_windows
from rtap_assets.transforms.silver import ARRIVAL_ORDER, COORDINATES

ARRIVAL_COLUMNS = ("event_id", *COORDINATES, "kafka_timestamp", "is_held")
ID_HASH = "id_hash"


def with_first_epoch(rows: DataFrame) -> DataFrame:
    """Return the rows with topic epoch 0 where they predate that column, so that coordinates can be compared."""
    return rows.withColumn("topic_epoch", F.coalesce(F.col("topic_epoch"), F.lit(0)))


def beyond_offsets(topic_epoch: int, offsets: Mapping[int, int]) -> Column:
    """Return the predicate of rows at or beyond the next offset of their Kafka partition; true for unknown partitions.

    Rows of an earlier epoch of the topic are not beyond it, rows of a later one are. Built from literals only, so that
    Iceberg prunes files by their statistics.
    """
    known = [F.col("kafka_partition") == F.lit(partition) for partition in offsets]
    beyond = [
        (F.col("kafka_partition") == F.lit(partition)) & (F.col("kafka_offset") >= F.lit(offset))
        for partition, offset in offsets.items()
    ]
    result = F.lit(True)
    for predicate in known:
        result = result & ~predicate
    for predicate in beyond:
        result = result | predicate
    epoch = F.coalesce(F.col("topic_epoch"), F.lit(0))
    return (epoch > topic_epoch) | ((epoch == topic_epoch) & result)


def arrivals(rows: DataFrame, *, is_held: bool) -> DataFrame:
    """Return the identity and arrival of each row; `is_held` tags rows that silver holds.

    Shape: silver columns, or those of `normalise_sales_events`, to `ARRIVAL_COLUMNS`; grain: one Kafka record.
    """
    return rows.select("event_id", *COORDINATES, "kafka_timestamp", F.lit(is_held).alias("is_held"))


def with_hash(rows: DataFrame) -> DataFrame:
    """Return the rows with a 64-bit hash of the event id, which takes a tenth of the id's size."""
    return rows.withColumn(ID_HASH, F.xxhash64("event_id"))


def repeated_hashes(new: DataFrame, earlier: DataFrame) -> DataFrame:
    """Return the hashes of ids that may need a correction: missing in silver, repeated among the new rows, or seen earlier.

    Shape: `new` and `earlier` have `id_hash`, `new` also `is_held`; result: distinct `id_hash`. Ids with a
        colliding hash are separated later, by the ids themselves.
    """
    counted = new.groupBy(ID_HASH).agg(F.count("*").alias("copies"), F.bool_and("is_held").alias("all_held"))
    among = counted.where((F.col("copies") > 1) | ~F.col("all_held")).select(ID_HASH)
    return among.union(earlier.select(ID_HASH)).distinct()


def decide_copies(rows: DataFrame, *, horizon_seconds: int) -> DataFrame:
    """Return the corrections of copies: `add` the first if silver lacks it, `remove` later ones that silver holds.

    Shape: all rows of each affected event id, as `ARRIVAL_COLUMNS`; result: those with an `action`, and `has_held`, true
        when silver holds another copy of the event.
    Time: a row is a copy when it arrived within the horizon after the first.
    """
    by_id = Window.partitionBy("event_id")
    in_order = by_id.orderBy(*ARRIVAL_ORDER, "topic")
    placed = rows.select(
        *ARRIVAL_COLUMNS,
        F.row_number().over(in_order).alias("place"),
        F.min("kafka_timestamp").over(by_id).alias("first_at"),
        F.max(F.col("is_held").cast("int")).over(by_id).alias("held"),
    )
    seconds = F.unix_seconds("kafka_timestamp") - F.unix_seconds("first_at")
    is_copy = (F.col("place") > 1) & (seconds <= F.lit(horizon_seconds))
    action = F.when((F.col("place") == 1) & ~F.col("is_held"), F.lit("add")).when(
        is_copy & F.col("is_held"), F.lit("remove")
    )
    decided = placed.withColumn("action", action).where("action IS NOT NULL")
    return decided.select(*ARRIVAL_COLUMNS, "action", (F.col("held") > 0).alias("has_held"))


def window_changes(rows: DataFrame, *, window_seconds: int, slide_seconds: int, sign: int) -> DataFrame:
    """Return how much the rows change each window of gold, times `sign`.

    Shape: `event_time, event_type, plan_tier, region, currency, net_amount`; result: gold's key with `window_end` and the
        measures.
    """
    changes = sum_windows(
        sum_panes(rows, slide_seconds=slide_seconds),
        window_seconds=window_seconds,
        slide_seconds=slide_seconds,
        updated_ms=0,
        final_before_ms=0,
        sign=sign,
    )
    return changes.select("window_start", "window_end", *GROUP, *MEASURES)
