"""The asset keys, the same everywhere: two levels, the folder of the lake or the broker, then the name."""

from __future__ import annotations

from dagster import AssetKey

EVENTS_TOPIC = AssetKey(["kafka", "sales_events"])
DLQ_TOPIC = AssetKey(["kafka", "sales_events_dlq"])
REVENUE_TOPIC = AssetKey(["kafka", "revenue_5m_agg"])
DQ_TOPIC = AssetKey(["kafka", "dq_results"])
BRONZE = AssetKey(["bronze", "sales_events"])
SILVER = AssetKey(["silver", "sales_events"])
GOLD = AssetKey(["gold", "revenue_5m"])
REVENUE_PARQUET = AssetKey(["export", "revenue_5m"])


def mart_key(name: str) -> AssetKey:
    return AssetKey(["marts", name])
