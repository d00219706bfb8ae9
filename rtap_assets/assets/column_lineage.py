"""From which columns each column is made, from the events topic to the marts.

Dagster+ draws it; the open-source UI does not even list it, so a column's description there names its sources as well.

A column that is not named comes from the column of the same name in the (first) source. Columns that are made from nothing
there (coordinates of a record, the time of a batch) have an empty list. Tests hold every name to the contracts and the
marts' SQL, and change a source column to see that its mart column changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from rtap_assets.assets.keys import GOLD_KEY, data_key, mart_key
from rtap_assets.contracts.streams import StreamSpec
from rtap_assets.contracts.tables import EVENT_COLUMNS, GOLD, KAFKA_COLUMNS, REJUDGED_COLUMNS, REVENUE_MEASURES
from rtap_assets.serving.marts import MartSpec

Sources = Mapping[str, tuple[str, ...]]

_EVENT = tuple(column.name for column in EVENT_COLUMNS)
_MEASURES = tuple(column.name for column in REVENUE_MEASURES)
_LATENCIES = ("ingest_latency_ms", "delivery_latency_ms", "processing_latency_ms")
_OF_RECORD = (*(column.name for column in KAFKA_COLUMNS), *REJUDGED_COLUMNS, "raw_key", "raw_value", "kafka_headers")

# By stream: the columns of its target that differ in name or in number from those of its source.
STREAM_SOURCES: dict[str, Sources] = {
    "bronze": {**dict.fromkeys(_OF_RECORD, ()), "error_reason": _EVENT, "error_detail": _EVENT},
    "dlq": {
        "key": ("raw_key",),
        "value": ("raw_value",),
        "headers": (
            "kafka_headers", "error_reason", "error_detail", "topic", "kafka_partition", "kafka_offset", "kafka_timestamp",
            "schema_id",
        ),
    },
    "silver": {
        "net_amount": ("amount", "event_type"),
        "ingest_latency_ms": ("event_time", "ingest_time"),
        "delivery_latency_ms": ("event_time", "kafka_timestamp"),
        "processing_latency_ms": ("kafka_timestamp",),
        "is_late": (),
        "processed_at": (),
    },
    "gold": {
        "window_start": ("event_time",),
        "window_end": ("event_time",),
        "gross_amount": ("net_amount", "event_type"),
        "refund_amount": ("net_amount", "event_type"),
        "net_amount": ("net_amount",),
        "orders": ("event_type",),
        "refunds": ("event_type",),
        "revision": (),
        "updated_at": (),
    },
}  # fmt: skip

_BY_HOUR: Sources = {
    "hour": ("window_start",),
    "is_final": ("is_final", "window_start"),
    "status": ("status", "window_start"),
}
# By mart, of the first table or mart that it reads.
MART_SOURCES: dict[str, Sources] = {
    "rolling_revenue": {"is_final": ("window_end",), "status": ("window_start", "window_end", "revision")},
    "tumbling_revenue": {},
    "revenue_by_region_hour": _BY_HOUR,
    "revenue_by_plan_hour": _BY_HOUR,
    "refund_share": {
        "hour": ("window_start",),
        "refund_amount_share": ("refund_amount", "gross_amount"),
        "refund_count_share": ("refunds", "orders"),
    },
    "dlq_by_reason": {
        "reason": ("error_reason",),
        "explanation": ("error_reason",),
        "records": ("error_reason",),
        "share_of_records": ("error_reason",),
        "first_seen": ("kafka_timestamp",),
        "last_seen": ("kafka_timestamp",),
    },
    "latency_percentiles": {
        "latency": (),
        "hour": ("kafka_timestamp",),
        **dict.fromkeys(("events", "p50_ms", "p90_ms", "p99_ms", "max_ms"), _LATENCIES),
    },
    # From the record of corrections, which is no asset; its measures are gold's before and after.
    "corrections": {
        **dict.fromkeys(
            (
                "correction_id", "cause", "why", "run_id", "requested_by", "planned_at", "ended_at", "state", "rows_added",
                "rows_removed", "bronze_rows_removed",
            ),
            (),
        ),
        **{f"{side}_{name}": (name,) for name in _MEASURES for side in ("from", "to")},
    },
}  # fmt: skip


def stream_lineage(stream: StreamSpec) -> dg.TableColumnLineage:
    """Return the column lineage of what a stream fills; none for a stream that is not described yet."""
    return _lineage(
        [column.name for column in stream.target.columns], STREAM_SOURCES.get(stream.name, {}), data_key(stream.reads)
    )


def mart_lineage(mart: MartSpec, columns: Iterable[str]) -> dg.TableColumnLineage:
    """Return the column lineage of a mart with these columns."""
    first = mart.reads[0]
    source = mart_key(first) if isinstance(first, str) else data_key(first)
    return _lineage(columns, MART_SOURCES.get(mart.name, {}), source)


def copied_from_gold() -> dg.TableColumnLineage:
    """Return the column lineage of what holds gold's columns as they are: the aggregate topic and the Parquet folder."""
    return _lineage(GOLD.column_names, {}, GOLD_KEY)


def with_sources(schema: dg.TableSchema, lineage: dg.TableColumnLineage) -> dg.TableSchema:
    """Return the schema with the sources of each column behind its description.

    Source: Dagster's page on column-level lineage ("Viewing column-level lineage in the UI is a Dagster+ feature").
    """
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name, column.type, description=f"{column.description or ''} {_sources(lineage, column.name)}".strip()
            )
            for column in schema.columns
        ]
    )


def _sources(lineage: dg.TableColumnLineage, name: str) -> str:
    found = lineage.deps_by_column.get(name, [])
    if not found:
        return "From no column of the source."
    columns = ", ".join(one.column_name for one in found)
    return f"From {found[0].asset_key.to_user_string()}: {columns}."


def _lineage(columns: Iterable[str], sources: Sources, key: dg.AssetKey) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=key, column_name=name) for name in sources.get(column, (column,))]
            for column in columns
        }
    )
