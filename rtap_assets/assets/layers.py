"""What the streams fill: tables, and the dead-letter topic. Materializing one means: make it complete up to now."""

from typing import Any

import dagster as dg

from rtap_assets.assets.column_lineage import stream_lineage, with_sources
from rtap_assets.assets.keys import OWNERS, PUBLISHED_GROUP, data_key
from rtap_assets.assets.links import links
from rtap_assets.assets.metadata import column_schema, freshness_policy, instant_of, source_offsets, watermark
from rtap_assets.assets.previews import gold_preview
from rtap_assets.assets.topics import topic_metadata
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_SPECS, StreamSpec, stream_named
from rtap_assets.contracts.tables import GOLD, TableSpec
from rtap_assets.contracts.topics import DLQ_TOPIC, Topic
from rtap_assets.lake.history.snapshots import TableState, table_state
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.checkpoints.rollups import Standing, standing
from rtap_assets.streaming.model.reports import DrainReport

# By these two the sensor checkpoint_progress recognizes what is reported already.
NEWEST_BATCH, QUERY_ID = "newest batch", "query id"


def _asset(stream: StreamSpec, settings: Settings) -> dg.AssetsDefinition:
    """Return the asset that a stream completes: its table, or its topic where it fills none."""

    def layer(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], streams: StreamHost
    ) -> dg.MaterializeResult[None]:
        report = streams.drain(stream.name, echo=context.log.info)
        context.log.info(drain_line(report))
        return dg.MaterializeResult(metadata=layer_metadata(settings, report))

    target = stream.target
    shown = _shown_topic(target, settings) if isinstance(target, Topic) else _shown_table(target, settings)
    if (schema := shown["metadata"].get("dagster/column_schema")) is not None:
        shown["metadata"]["dagster/column_schema"] = with_sources(schema, stream_lineage(stream))
    key, source = data_key(target), data_key(stream.reads)
    definition: dg.AssetsDefinition = dg.asset(key=key, deps=[source], owners=OWNERS, **shown)(layer)
    return definition


def _shown_table(spec: TableSpec, settings: Settings) -> dict[str, Any]:
    return {
        "description": f"{spec.doc} {spec.note}".rstrip() + f"\n\nGrain: {spec.grain}.\n\nKey: {', '.join(spec.key)}.",
        "group_name": spec.namespace,
        "kinds": {"spark", "iceberg", "parquet"},
        "freshness_policy": freshness_policy(settings),
        "metadata": {
            "dagster/column_schema": column_schema(spec.columns),
            "dagster/table_name": spec.identifier,
            "partitioned by": spec.partition,
            **links(settings, "States"),
        },
    }


def _shown_topic(topic: Topic, settings: Settings) -> dict[str, Any]:
    return {
        "description": topic.doc,
        "group_name": PUBLISHED_GROUP,
        "kinds": {"spark", "kafka"},
        "metadata": {
            **topic_metadata(topic, settings),
            **links(settings, "Dead letters" if topic is DLQ_TOPIC else "States"),
        },
    }


def layer_metadata(settings: Settings, report: DrainReport) -> dict[str, Any]:
    """Return what a materialization shows of a stream that was drained, with its table and checkpoint as they are now."""
    table = stream_named(report.stream).writes
    state = None if table is None else table_state(settings, table)
    metadata = drain_metadata(report, state, reached=standing(settings, report.stream))
    metadata["dagster/column_lineage"] = stream_lineage(stream_named(report.stream))
    if table is GOLD:
        metadata["preview"] = gold_preview(settings)
    return metadata


def drain_line(report: DrainReport) -> str:
    """Return one line of the run's log."""
    if not report.batches:
        return f"{report.stream}: complete already, nothing new ({report.seconds:.1f} s)"
    batches = "1 micro-batch" if report.batches == 1 else f"{report.batches} micro-batches"
    return f"{report.stream}: {report.input_rows:,} rows read in {batches}, {report.seconds:.1f} s"


def drain_metadata(report: DrainReport, state: TableState | None, *, reached: Standing | None) -> dict[str, Any]:
    """Return the metadata of a materialization: rows, snapshot, the stream's position in its source, watermark, duration."""
    metadata: dict[str, Any] = {
        "rows read": report.input_rows,
        "micro-batches": report.batches,
        "source offsets": source_offsets(report.position),
        "duration (s)": round(report.seconds, 3),
    }
    if report.seconds > 0:
        metadata["rows per second of work"] = round(report.input_rows / report.seconds, 1)
    stream = stream_named(report.stream)
    if stream.has_watermark:
        stamped = None if state is None else state.watermark_ms  # gold's own, by which its windows are final
        metadata["watermark"] = watermark(instant_of(report.watermark_ms if stamped is None else stamped))
    if stream.drops_late:
        metadata["rows dropped as late"] = report.dropped_late
    if reached is not None:
        metadata |= {NEWEST_BATCH: reached.batch_id, QUERY_ID: reached.query_id}
    if state is not None:
        metadata |= {"dagster/row_count": state.rows, "snapshot id": str(state.snapshot_id), "data files": state.files}
    return metadata


def layer_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets that the streams complete, in the order of the flow."""
    return [_asset(stream, settings) for stream in STREAM_SPECS]
