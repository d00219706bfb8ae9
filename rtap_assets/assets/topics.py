"""The Kafka topics as external assets: Dagster shows them in the lineage and never writes them."""

from __future__ import annotations

from dagster import AssetKey, AssetSpec

from rtap_assets.assets.keys import DQ_TOPIC, EVENTS_TOPIC, GOLD, REVENUE_TOPIC
from rtap_assets.config import get_settings

OWNERS = ["team:data-platform"]


def topic_specs() -> list[AssetSpec]:
    """One spec per topic that something else writes: producers, gold's stream, the quality checks."""
    settings = get_settings()
    return [
        _topic(EVENTS_TOPIC, settings.topic_events, "Sales events as producers send them: Avro, key account_id."),
        _topic(REVENUE_TOPIC, settings.topic_revenue, "Gold's windows as messages; the latest per key wins.", deps=[GOLD]),
        _topic(DQ_TOPIC, settings.topic_dq, "Results of the data-quality checks."),
    ]


def _topic(key: AssetKey, name: str, description: str, deps: list[AssetKey] | None = None) -> AssetSpec:
    return AssetSpec(
        key,
        description=description,
        group_name="kafka",
        kinds={"kafka", "avro"},
        owners=OWNERS,
        deps=deps or [],
        metadata={"topic": name},
    )
