"""The asset keys, the same everywhere: two levels, the folder of the lake or the broker, then the name. Groups and owners.

The lineage shows an asset by the last part of its key alone, so each layer of the lake is a group: the box around a
`sales_events` says which one it is. No two groups depend on each other in both directions.
"""

from __future__ import annotations

import dagster as dg

EVENTS_TOPIC = dg.AssetKey(["kafka", "sales_events"])
DLQ_TOPIC = dg.AssetKey(["kafka", "sales_events_dlq"])
REVENUE_TOPIC = dg.AssetKey(["kafka", "revenue_5m_agg"])
DQ_TOPIC = dg.AssetKey(["kafka", "dq_results"])
BRONZE = dg.AssetKey(["bronze", "sales_events"])
SILVER = dg.AssetKey(["silver", "sales_events"])
GOLD = dg.AssetKey(["gold", "revenue_5m"])
REVENUE_PARQUET = dg.AssetKey(["export", "revenue_5m"])

# A layer's group is its namespace (bronze, silver, gold).
SOURCE_GROUP = "source"
MARTS_GROUP = "marts"
PUBLISHED_GROUP = "published"  # what others read: topics and the Parquet folder

OWNERS = ["team:data-platform"]


def mart_key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["marts", name])
