"""The Kafka topics as external assets: Dagster shows them in the lineage and never writes them."""

from __future__ import annotations

from typing import Any

import dagster as dg

from rtap_assets.assets.keys import OWNERS, PUBLISHED_GROUP, SOURCE_GROUP, data_key
from rtap_assets.assets.links import links
from rtap_assets.assets.metadata import column_schema
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_SPECS
from rtap_assets.contracts.topics import TOPICS, Topic


def topic_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Return a spec per topic that no asset of ours writes: producers do, a stream besides its table, the quality checks."""
    materialized = [stream.target for stream in STREAM_SPECS]
    return [_spec(topic, settings) for topic in TOPICS if topic not in materialized]


def topic_metadata(topic: Topic, settings: Settings) -> dict[str, Any]:
    """Return the metadata of a topic's asset: its name on the broker, and its columns where it has some."""
    schema = {"dagster/column_schema": column_schema(topic.columns)} if topic.columns else {}
    return {"topic": topic.name_in(settings), **schema}


def _spec(topic: Topic, settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        data_key(topic),
        description=topic.doc,
        group_name=SOURCE_GROUP if topic.is_source else PUBLISHED_GROUP,
        kinds={"kafka"},
        owners=OWNERS,
        deps=[data_key(stream.target) for stream in STREAM_SPECS if stream.publishes is topic],
        metadata={**topic_metadata(topic, settings), **links(settings, "Broker")},
    )
