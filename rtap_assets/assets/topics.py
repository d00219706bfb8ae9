"""The Kafka topics as external assets: Dagster shows them in the lineage and never writes them."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from rtap_assets.assets.keys import DQ_TOPIC, EVENTS_TOPIC, GOLD, OWNERS, PUBLISHED_GROUP, REVENUE_TOPIC, SOURCE_GROUP
from rtap_assets.assets.metadata import column_schema
from rtap_assets.config import Settings
from rtap_assets.contracts import tables
from rtap_assets.contracts.tables import Column


def topic_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Return a spec for each topic that no asset of ours writes: by producers, by gold's stream, by the quality checks."""
    return [
        _topic(
            EVENTS_TOPIC,
            settings.topic_events,
            "Sales events as producers send them: Avro in the registry's wire format, keyed by account_id.",
            group=SOURCE_GROUP,
            columns=tables.EVENT_COLUMNS,
        ),
        _topic(
            REVENUE_TOPIC,
            settings.topic_revenue,
            "Gold's windows as Avro messages; the latest per key is the valid one. Gold's stream publishes each batch here "
            "before it commits it to the table.",
            group=PUBLISHED_GROUP,
            deps=[GOLD],
            columns=tables.GOLD.columns,
        ),
        _topic(
            DQ_TOPIC,
            settings.topic_dq,
            "Results of data-quality checks as Avro messages, keyed by table and check.",
            group=PUBLISHED_GROUP,
        ),
    ]


def _topic(
    key: dg.AssetKey,
    name: str,
    description: str,
    *,
    group: str,
    deps: Sequence[dg.AssetKey] = (),
    columns: Sequence[Column] = (),
) -> dg.AssetSpec:
    schema = {"dagster/column_schema": column_schema(columns)} if columns else {}
    return dg.AssetSpec(
        key,
        description=description,
        group_name=group,
        kinds={"kafka"},
        owners=OWNERS,
        deps=deps,
        metadata={"topic": name, **schema},
    )
