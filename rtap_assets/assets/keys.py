"""The asset keys, the same everywhere: two levels, the folder of the lake or the broker, then the name. Groups and owners.

The lineage shows an asset by the last part of its key alone, so each layer of the lake is a group: the box around a
`sales_events` identifies it. No two groups depend on each other in both directions.
"""

from __future__ import annotations

import dagster as dg

from rtap_assets.contracts.streams import STREAM_SPECS
from rtap_assets.contracts.tables import GOLD, TableSpec
from rtap_assets.contracts.topics import Topic

# A layer's group is its namespace (bronze, silver, gold).
SOURCE_GROUP = "source"
MARTS_GROUP = "marts"
PUBLISHED_GROUP = "published"  # what others read: topics and the Parquet folder

OWNERS = ["team:data-platform"]


def data_key(data: TableSpec | Topic) -> dg.AssetKey:
    """Return the key of a table (`silver/sales_events`) or topic (`kafka/sales_events`)."""
    return dg.AssetKey(["kafka", data.asset] if isinstance(data, Topic) else [data.namespace, data.name])


def mart_key(name: str) -> dg.AssetKey:
    """Return the key of a mart."""
    return dg.AssetKey(["marts", name])


GOLD_KEY = data_key(GOLD)
REVENUE_PARQUET = dg.AssetKey(["export", GOLD.name])
ASSET_OF_STREAM = {stream.name: data_key(stream.target) for stream in STREAM_SPECS}
STREAM_OF_ASSET = {key: stream for stream, key in ASSET_OF_STREAM.items()}
