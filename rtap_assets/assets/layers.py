"""Bronze, the dead-letter topic, silver and gold. Materializing one makes it complete up to now."""

from typing import Any

import dagster as dg

from rtap_assets.assets.keys import BRONZE, DLQ_TOPIC, EVENTS_TOPIC, GOLD, OWNERS, PUBLISHED_GROUP, SILVER
from rtap_assets.assets.metadata import column_schema, freshness_policy, instant_of, source_offsets, watermark
from rtap_assets.config import Settings
from rtap_assets.contracts import tables
from rtap_assets.contracts.tables import Column, TableSpec
from rtap_assets.lake.history.snapshots import TableState, table_state
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.checkpoints.rollups import Standing, standing
from rtap_assets.streaming.model.reports import DrainReport

TABLE_OF_STREAM = {spec.namespace: spec for spec in tables.TABLES}
WITH_WATERMARK = {"silver", "gold"}
# From these two the sensor checkpoint_progress knows what was reported already.
NEWEST_BATCH, QUERY_ID = "newest batch", "query id"

DEAD_LETTER_COLUMNS = (
    Column("key", "binary", "The record's key, unchanged."),
    Column("value", "binary", "The record's value, unchanged; null for a tombstone."),
    Column(
        "headers",
        "array<struct<key:string,value:binary>>",
        "The record's own headers, then reason, detail, topic, partition, offset, timestamp, schema.id and attempts, each "
        "after `rtap.dlq.`.",
    ),
)


def _table(settings: Settings, spec: TableSpec, *, deps: list[dg.AssetKey], note: str) -> dg.AssetsDefinition:
    return _layer(
        dg.AssetKey([spec.namespace, spec.name]),
        stream=spec.namespace,
        deps=deps,
        description=f"{spec.doc} {note}\n\nGrain: {spec.grain}.\n\nKey: {', '.join(spec.key)}.",
        group_name=spec.namespace,
        kinds={"spark", "iceberg", "parquet"},
        freshness_policy=freshness_policy(settings),
        metadata={
            "dagster/column_schema": column_schema(spec.columns),
            "dagster/table_name": spec.identifier,
            "partitioned by": spec.partition,
        },
    )


def _layer(key: dg.AssetKey, *, stream: str, **shown: Any) -> dg.AssetsDefinition:
    def layer(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], streams: StreamHost
    ) -> dg.MaterializeResult[None]:
        report = streams.drain(stream, echo=context.log.info)
        context.log.info(drain_line(report))
        return dg.MaterializeResult(metadata=layer_metadata(settings, report))

    definition: dg.AssetsDefinition = dg.asset(key=key, owners=OWNERS, **shown)(layer)
    return definition


def layer_metadata(settings: Settings, report: DrainReport) -> dict[str, Any]:
    """Return what a materialization shows of a stream that was drained, with its table and checkpoint as they are now."""
    spec = TABLE_OF_STREAM.get(report.stream)
    state = None if spec is None else table_state(settings, spec)
    return drain_metadata(report, state, reached=standing(settings, report.stream))


def drain_line(report: DrainReport) -> str:
    """Return one line for the run's log."""
    if not report.batches:
        return f"{report.stream}: complete already, nothing new ({report.seconds:.1f} s)"
    batches = "1 micro-batch" if report.batches == 1 else f"{report.batches} micro-batches"
    return f"{report.stream}: {report.input_rows:,} rows read in {batches}, {report.seconds:.1f} s"


def drain_metadata(report: DrainReport, state: TableState | None, *, reached: Standing | None) -> dict[str, Any]:
    """Return what a materialization shows: rows, snapshot, where in its source the stream stands, watermark, duration."""
    metadata: dict[str, Any] = {
        "rows read": report.input_rows,
        "micro-batches": report.batches,
        "source offsets": source_offsets(report.position),
        "duration (s)": round(report.seconds, 3),
    }
    if report.stream in WITH_WATERMARK:
        stamped = None if state is None else state.watermark_ms  # gold's own, by which its windows are final
        metadata["watermark"] = watermark(instant_of(report.watermark_ms if stamped is None else stamped))
    if report.stream == "silver":
        metadata["rows dropped as late"] = report.dropped_late
    if reached is not None:
        metadata |= {NEWEST_BATCH: reached.batch_id, QUERY_ID: reached.query_id}
    if state is not None:
        metadata |= {"dagster/row_count": state.rows, "snapshot id": str(state.snapshot_id), "data files": state.files}
    return metadata


def layer_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets that the streams write, in the order of the flow."""
    dead_letters = _layer(
        DLQ_TOPIC,
        stream="dlq",
        deps=[BRONZE],
        description="The dead-letter topic: bronze's quarantined records with their original bytes, the context in headers. "
        "At least once; topic, Kafka partition and offset in the headers identify a record, so that repeats can be dropped.",
        group_name=PUBLISHED_GROUP,
        kinds={"spark", "kafka"},
        metadata={"topic": settings.topic_dlq, "dagster/column_schema": column_schema(DEAD_LETTER_COLUMNS)},
    )
    note = "Nothing is left out: an invalid record is a row too, with its reason."
    bronze = _table(settings, tables.BRONZE, deps=[EVENTS_TOPIC], note=note)
    silver = _table(settings, tables.SILVER, deps=[BRONZE], note="Rows later than the watermark are added by a job.")
    note = "A window is final once gold's watermark has passed its end."
    gold = _table(settings, tables.GOLD, deps=[SILVER], note=note)
    assert [bronze.key, silver.key, gold.key] == [BRONZE, SILVER, GOLD]
    return [bronze, dead_letters, silver, gold]
