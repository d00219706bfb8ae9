"""Bronze, the dead-letter topic, silver and gold. Materialising one means: make it complete up to now."""

from typing import Any

from dagster import AssetExecutionContext, AssetKey, AssetsDefinition, MaterializeResult, asset

from rtap_assets.assets.keys import BRONZE, DLQ_TOPIC, EVENTS_TOPIC, GOLD, OWNERS, PUBLISHED_GROUP, SILVER
from rtap_assets.assets.metadata import column_schema, freshness_policy, instant_of, source_offsets, watermark
from rtap_assets.config import get_settings
from rtap_assets.contracts import tables
from rtap_assets.contracts.tables import Column, TableSpec
from rtap_assets.lake.history.snapshots import TableState, table_state
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.checkpoints.rollups import Standing, standing
from rtap_assets.streaming.model.reports import DrainReport

WITH_WATERMARK = {"silver", "gold"}
# By these two the sensor checkpoint_progress knows what was told already.
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


def _table(spec: TableSpec, *, deps: list[AssetKey], note: str) -> AssetsDefinition:
    return _layer(
        AssetKey([spec.namespace, spec.name]),
        stream=spec.namespace,
        spec=spec,
        deps=deps,
        description=f"{spec.doc} {note}\n\nGrain: {spec.grain}.\n\nKey: {', '.join(spec.key)}.",
        group_name=spec.namespace,
        kinds={"spark", "iceberg", "parquet"},
        freshness_policy=freshness_policy(),
        metadata={
            "dagster/column_schema": column_schema(spec.columns),
            "dagster/table_name": spec.identifier,
            "partitioned by": spec.partition,
        },
    )


def _layer(key: AssetKey, *, stream: str, spec: TableSpec | None, **shown: Any) -> AssetsDefinition:
    def layer(context: AssetExecutionContext, streams: StreamHost) -> MaterializeResult[None]:
        report = streams.drain(stream, echo=context.log.info)
        context.log.info(drain_line(report))
        settings = get_settings()
        state = None if spec is None else table_state(settings, spec)
        return MaterializeResult(metadata=drain_metadata(report, state, reached=standing(settings, stream)))

    definition: AssetsDefinition = asset(key=key, owners=OWNERS, **shown)(layer)
    return definition


def drain_line(report: DrainReport) -> str:
    """One line of the run's log."""
    if not report.batches:
        return f"{report.stream}: complete already, nothing new ({report.seconds:.1f} s)"
    batches = "1 micro-batch" if report.batches == 1 else f"{report.batches} micro-batches"
    return f"{report.stream}: {report.input_rows:,} rows read in {batches}, {report.seconds:.1f} s"


def drain_metadata(report: DrainReport, state: TableState | None, *, reached: Standing | None) -> dict[str, Any]:
    """What a materialisation says: rows, snapshot, where in its source the stream stands, watermark, duration."""
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


bronze_sales_events = _table(
    tables.BRONZE, deps=[EVENTS_TOPIC], note="Nothing is left out: an invalid record is a row too, with its reason."
)
kafka_sales_events_dlq = _layer(
    DLQ_TOPIC,
    stream="dlq",
    spec=None,
    deps=[BRONZE],
    description="The dead-letter topic: bronze's quarantined records with their original bytes, the context in headers. "
    "At least once; topic, Kafka partition and offset in the headers identify a record, so that repeats can be dropped.",
    group_name=PUBLISHED_GROUP,
    kinds={"spark", "kafka"},
    metadata={"topic": get_settings().topic_dlq, "dagster/column_schema": column_schema(DEAD_LETTER_COLUMNS)},
)
silver_sales_events = _table(tables.SILVER, deps=[BRONZE], note="Rows later than the watermark are added by a job.")
gold_revenue_5m = _table(tables.GOLD, deps=[SILVER], note="A window is final once gold's watermark has passed its end.")
assert [bronze_sales_events.key, silver_sales_events.key, gold_revenue_5m.key] == [BRONZE, SILVER, GOLD]
LAYERS = [bronze_sales_events, kafka_sales_events_dlq, silver_sales_events, gold_revenue_5m]
