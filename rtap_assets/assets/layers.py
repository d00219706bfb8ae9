"""What the streams fill: tables, and the dead-letter topic. Materializing one means: make it complete up to now."""

from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, asset

from rtap_assets.assets.keys import OWNERS, PUBLISHED_GROUP, data_key
from rtap_assets.assets.metadata import column_schema, freshness_policy, instant_of, source_offsets, watermark
from rtap_assets.assets.topics import topic_metadata
from rtap_assets.config import get_settings
from rtap_assets.contracts.streams import STREAM_SPECS, StreamSpec, stream_named
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.contracts.topics import Topic
from rtap_assets.lake.history.snapshots import TableState, table_state
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.checkpoints.rollups import Standing, standing
from rtap_assets.streaming.model.reports import DrainReport

# By these two the sensor checkpoint_progress recognizes what is reported already.
NEWEST_BATCH, QUERY_ID = "newest batch", "query id"


def _asset(stream: StreamSpec) -> AssetsDefinition:
    """Return the asset that a stream completes: its table, or its topic where it fills none."""

    def layer(context: AssetExecutionContext, streams: StreamHost) -> MaterializeResult[None]:
        report = streams.drain(stream.name, echo=context.log.info)
        context.log.info(drain_line(report))
        settings = get_settings()
        state = None if stream.writes is None else table_state(settings, stream.writes)
        return MaterializeResult(metadata=drain_metadata(report, state, reached=standing(settings, stream.name)))

    target = stream.target
    shown = _shown_topic(target) if isinstance(target, Topic) else _shown_table(target)
    key, source = data_key(target), data_key(stream.source)
    definition: AssetsDefinition = asset(key=key, deps=[source], owners=OWNERS, **shown)(layer)
    return definition


def _shown_table(spec: TableSpec) -> dict[str, Any]:
    return {
        "description": f"{spec.doc} {spec.note}".rstrip() + f"\n\nGrain: {spec.grain}.\n\nKey: {', '.join(spec.key)}.",
        "group_name": spec.namespace,
        "kinds": {"spark", "iceberg", "parquet"},
        "freshness_policy": freshness_policy(),
        "metadata": {
            "dagster/column_schema": column_schema(spec.columns),
            "dagster/table_name": spec.identifier,
            "partitioned by": spec.partition,
        },
    }


def _shown_topic(topic: Topic) -> dict[str, Any]:
    return {
        "description": topic.doc,
        "group_name": PUBLISHED_GROUP,
        "kinds": {"spark", "kafka"},
        "metadata": topic_metadata(topic),
    }


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
    stream = stream_named(report.stream)
    if stream.has_watermark:
        stamped = None if state is None else state.watermark_ms  # gold's own, by which its windows are final
        metadata["watermark"] = watermark(instant_of(report.watermark_ms if stamped is None else stamped))
    if stream.stateful:
        metadata["rows dropped as late"] = report.dropped_late
    if reached is not None:
        metadata |= {NEWEST_BATCH: reached.batch_id, QUERY_ID: reached.query_id}
    if state is not None:
        metadata |= {"dagster/row_count": state.rows, "snapshot id": str(state.snapshot_id), "data files": state.files}
    return metadata


LAYERS = [_asset(stream) for stream in STREAM_SPECS]
