"""Silver events to changes of revenue windows, and revenue windows to messages of the aggregate topic.

Gold is additive: what a micro-batch adds to each window is computed without state, and joined with gold's present rows.
Values that differ from batch to batch are passed in an array literal: Spark passes arrays to generated code by reference,
while a plain literal becomes part of the code, which would then be recompiled for each batch.
"""

from __future__ import annotations

import json

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import to_avro

from rtap_assets.contracts import rules
from rtap_assets.contracts.avro.wire import MAGIC_BYTE
from rtap_assets.contracts.tables import GOLD, MONEY_SUM, REVENUE_MEASURES

GROUP = ("plan_tier", "region", "currency")
MEASURES = tuple(column.name for column in REVENUE_MEASURES)
# The columns of silver that the sums read.
PANE_INPUT = ("event_time", "event_type", *GROUP, "net_amount")
MICROSECONDS = 1_000_000
TWO_ROWS_OF_A_KEY = "two rows of one window"


def sum_panes(events: DataFrame, *, slide_seconds: int) -> DataFrame:
    """Return revenue per pane: the events of one slide, which are in the same windows.

    Shape: silver columns, as a batch, to `pane_start`, plan_tier, region, currency and the measures of gold; key:
        pane_start, plan_tier, region, currency.
    Units: money in `currency`, never summed across currencies; panes are [start, start + slide), UTC.
    Source: architecture overview, section 5; design, decisions 6 and 7.
    """
    sums = _sums()
    instant = F.unix_micros("event_time")
    pane = F.timestamp_micros(instant - F.pmod(instant, F.lit(slide_seconds * MICROSECONDS)))
    return events.groupBy(pane.alias("pane_start"), *GROUP).agg(
        *(sums[name].alias(name) for name in MEASURES),
    )


def _sums() -> dict[str, Column]:
    """Return the sum behind each measure of `contracts.tables.REVENUE_MEASURES`, over the events of a pane.

    Each must be additive: what a batch adds to a window is added to what the window holds.
    """
    refund = F.col("event_type") == rules.REFUND
    return {
        "gross_amount": _sum_of(F.when(~refund, F.col("net_amount"))),
        "refund_amount": _sum_of(F.when(refund, -F.col("net_amount"))),
        "net_amount": _sum_of(F.col("net_amount")),
        "orders": F.count(F.when(~refund, 1)),
        "refunds": F.count(F.when(refund, 1)),
    }


def sum_windows(
    panes: DataFrame, *, window_seconds: int, slide_seconds: int, updated_ms: int, final_before_ms: int, sign: int = 1
) -> DataFrame:
    """Return by how much the panes' events change each sliding window.

    Shape: columns of `sum_panes` to window_start, window_end, plan_tier, region, currency, the measures, `updated_at` and
        `is_restated`; key: window_start, plan_tier, region, currency.
    Time: windows are [start, end), UTC, as of `pyspark.sql.functions.window`. Those that end at or before
        `final_before_ms` were final: to change them is to restate them. `updated_ms` becomes `updated_at`. Both are
        milliseconds since the epoch. `sign` is -1 when the events are removed.
    """
    steps = [
        F.struct(
            F.lit(step * slide_seconds * MICROSECONDS).cast("bigint").alias("back"),
            F.lit(updated_ms * 1_000).cast("bigint").alias("updated"),
            F.lit(final_before_ms * 1_000).cast("bigint").alias("final_before"),
            F.lit(sign).cast("int").alias("sign"),
        )
        for step in range(window_seconds // slide_seconds)
    ]
    # Few rows are left of a batch: one task spares the second exchange.
    placed = panes.coalesce(1).select("*", F.explode(F.array(*steps)).alias("step"))
    start = F.unix_micros("pane_start") - F.col("step.back")
    grouped = placed.groupBy(start.alias("start"), *GROUP).agg(
        *(F.sum(F.col(name) * F.col("step.sign")).cast(GOLD.type_of(name)).alias(name) for name in MEASURES),
        F.max("step.updated").alias("updated"),
        F.max("step.final_before").alias("final_before"),
    )
    end = F.col("start") + F.lit(window_seconds * MICROSECONDS)
    return grouped.select(
        F.timestamp_micros("start").alias("window_start"),
        F.timestamp_micros(end).alias("window_end"),
        *GROUP,
        *MEASURES,
        F.timestamp_micros("updated").alias("updated_at"),
        (end <= F.col("final_before")).alias("is_restated"),
    )


def apply_changes(changes: DataFrame, present: DataFrame, *, early_before_us: int = 0) -> DataFrame:
    """Return present rows and changed windows as one: the sums that the table holds once the changes are in it.

    Shape: columns of `sum_windows`, and those of gold's present rows, to the latter followed by each measure and the
        revision as they are now, as `old_<column>` (null for a window that `present` lacks), `is_changed`, and `is_early`
        for windows that start before `early_before_us`; key: that of gold. One partition: few rows are left of a batch.
    Raises:
        PySparkException: with `TWO_ROWS_OF_A_KEY`, once it is computed: `present` holds a key twice.
    """
    extra = [name for name in present.columns if name not in GOLD.column_names]
    new = changes.select(
        *GOLD.key,
        "window_end",
        *MEASURES,
        F.col("is_restated").cast("int").alias("revision"),
        "updated_at",
        *(F.lit(None).cast(present.schema[name].dataType).alias(name) for name in extra),
        F.lit(False).alias("is_held"),
    )
    held = present.select(*new.columns[:-1], F.lit(True).alias("is_held"))
    is_held, counted = F.col("is_held"), (*MEASURES, "revision")
    summed = (
        new.union(held)
        .coalesce(1)
        .groupBy(*GOLD.key)
        .agg(
            F.max("window_end").alias("window_end"),
            *(F.sum(name).cast(GOLD.type_of(name)).alias(name) for name in counted),
            F.coalesce(F.max(F.when(~is_held, F.col("updated_at"))), F.max("updated_at")).alias("updated_at"),
            *(F.first(name, ignorenulls=True).alias(name) for name in extra),
            *(F.sum(F.when(is_held, F.col(name))).cast(GOLD.type_of(name)).alias(f"old_{name}") for name in counted),
            F.count(F.when(~is_held, 1)).alias("changes"),
            F.count(F.when(is_held, 1)).alias("rows_held"),
        )
        .withColumn("early_before", F.explode(F.array(F.lit(early_before_us).cast("bigint"))))
    )
    once = F.when(F.col("rows_held") > 1, F.raise_error(F.lit(TWO_ROWS_OF_A_KEY)).cast("boolean"))
    return summed.select(
        *present.columns,
        *(f"old_{name}" for name in counted),
        F.coalesce(once, F.col("changes") > 0).alias("is_changed"),
        (F.unix_micros("window_start") < F.col("early_before")).alias("is_early"),
    )


def build_revenue_messages(windows: DataFrame, *, schema_id: int, schema: str) -> DataFrame:
    """Return the windows as records of the aggregate topic: Avro in Confluent wire format, one key per window and group.

    Shape: gold columns to `key` (UTF-8, `<window_start>/<plan_tier>/<region>/<currency>`) and `value`.
    """
    key = F.concat_ws(
        "/",
        F.date_format("window_start", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        F.col("plan_tier"),
        F.col("region"),
        F.col("currency"),
    )
    fields = [field["name"] for field in json.loads(schema)["fields"]]
    header = bytes([MAGIC_BYTE]) + schema_id.to_bytes(4, "big")
    body = to_avro(F.struct(*fields), schema)
    return windows.select(key.cast("binary").alias("key"), F.concat(F.lit(header), body).alias("value"))


def _sum_of(amount: Column) -> Column:
    return F.coalesce(F.sum(amount), F.lit(0)).cast(MONEY_SUM)
