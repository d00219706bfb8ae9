"""Bronze, the dead-letter topic, silver and gold. Materialising one means: make it complete up to now."""

from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableSchema,
    asset,
)

from rtap_assets.assets.keys import BRONZE, DLQ_TOPIC, EVENTS_TOPIC, GOLD, SILVER
from rtap_assets.assets.topics import OWNERS
from rtap_assets.config import get_settings
from rtap_assets.contracts import tables
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.snapshots import TableState, table_state
from rtap_assets.resources.spark import Layers
from rtap_assets.streaming.drain import DrainReport


def _layer(key: AssetKey, *, stream: str, deps: list[AssetKey], spec: TableSpec | None, doc: str) -> AssetsDefinition:
    kinds = {"spark", "kafka"} if spec is None else {"spark", "iceberg", "parquet"}
    description = doc if spec is None else f"{spec.doc}\n\nGrain: {spec.grain}. Key: {', '.join(spec.key)}. {doc}"

    @asset(
        key=key,
        deps=deps,
        description=description,
        group_name="kafka" if spec is None else "lake",
        kinds=kinds,
        owners=OWNERS,
        metadata={} if spec is None else {"dagster/column_schema": column_schema(spec), "partitioned by": spec.partition},
    )
    def layer(context: AssetExecutionContext, layers: Layers) -> MaterializeResult[Any]:
        report = layers.drain(stream, echo=context.log.info)
        return MaterializeResult(
            metadata=drain_metadata(report, None if spec is None else table_state(get_settings(), spec))
        )

    return layer


def column_schema(spec: TableSpec) -> TableSchema:
    """A table's columns as Dagster shows them."""
    return TableSchema([TableColumn(column.name, column.type, description=column.doc) for column in spec.columns])


def drain_metadata(report: DrainReport, state: TableState | None) -> dict[str, Any]:
    """What a materialisation says: rows, batches, snapshot, where in its source the stream stands, watermark, duration."""
    metadata: dict[str, Any] = {
        "input rows": report.input_rows,
        "batches": report.batches,
        "dropped as late": report.dropped_late,
        "restated rows": report.restated,
        "source position": MetadataValue.json(report.position or {}),
        "duration (s)": round(report.seconds, 3),
    }
    if report.watermark_ms:
        metadata["watermark"] = MetadataValue.timestamp(datetime.fromtimestamp(report.watermark_ms / 1000, UTC))
    if state is not None:
        metadata |= {"dagster/row_count": state.rows, "snapshot id": str(state.snapshot_id), "data files": state.files}
    return metadata


bronze_sales_events = _layer(
    BRONZE, stream="bronze", deps=[EVENTS_TOPIC], spec=tables.BRONZE, doc="Invalid records are rows here, with their reason."
)
kafka_sales_events_dlq = _layer(
    DLQ_TOPIC,
    stream="dlq",
    deps=[BRONZE],
    spec=None,
    doc="Quarantined records with their original bytes, the context in headers; at least once, identified by "
    "topic, Kafka partition and offset.",
)
silver_sales_events = _layer(
    SILVER, stream="silver", deps=[BRONZE], spec=tables.SILVER, doc="Rows later than the watermark stay in bronze alone."
)
gold_revenue_5m = _layer(
    GOLD, stream="gold", deps=[SILVER], spec=tables.GOLD, doc="A window is final once gold's watermark has passed its end."
)
LAYERS = [bronze_sales_events, kafka_sales_events_dlq, silver_sales_events, gold_revenue_5m]
