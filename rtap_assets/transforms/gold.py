"""Silver events to revenue windows, and revenue windows to messages of the aggregate topic."""

from __future__ import annotations

import json

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import to_avro

from rtap_assets.contracts import rules
from rtap_assets.contracts.tables import GOLD, MONEY_SUM
from rtap_assets.contracts.wire import MAGIC_BYTE


def aggregate_revenue(
    events: DataFrame, *, window_seconds: int, slide_seconds: int, watermark_delay_seconds: int
) -> DataFrame:
    """Return revenue per sliding window, plan tier, region and currency.

    Shape: silver columns to the columns of `contracts.tables.GOLD`; key: window_start, plan_tier, region, currency.
    Units: money in `currency`, never summed across currencies; windows are [start, end), UTC.
    Time: event time; as a stream, windows that end at or before the watermark are closed and are not emitted again.
    Source: architecture overview, section 5; design, decisions 6 and 7.
    """
    if events.isStreaming:
        events = events.withWatermark("event_time", f"{watermark_delay_seconds} seconds")
    refund = F.col("event_type") == rules.REFUND
    window = F.window("event_time", f"{window_seconds} seconds", f"{slide_seconds} seconds")
    grouped = events.groupBy(window.alias("window"), "plan_tier", "region", "currency").agg(
        _sum_of(F.when(~refund, F.col("net_amount"))).alias("gross_amount"),
        _sum_of(F.when(refund, -F.col("net_amount"))).alias("refund_amount"),
        _sum_of(F.col("net_amount")).alias("net_amount"),
        F.count(F.when(~refund, 1)).alias("orders"),
        F.count(F.when(refund, 1)).alias("refunds"),
    )
    return grouped.select(
        F.col("window.start").alias("window_start"),
        F.col("window.end").alias("window_end"),
        *GOLD.column_names[2:10],
        F.lit(0).alias("revision"),
        F.current_timestamp().alias("updated_at"),
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
