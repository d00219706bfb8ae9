"""The DuckDB marts and the published Parquet folder: one refresh, one step, several assets."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dagster import AssetExecutionContext, AssetSpec, MaterializeResult, MetadataValue, multi_asset

from rtap_assets.assets.keys import BRONZE, GOLD, REVENUE_PARQUET, SILVER, mart_key
from rtap_assets.assets.topics import OWNERS
from rtap_assets.config import get_settings
from rtap_assets.serving.export import export_gold
from rtap_assets.serving.marts import MARTS, mart_sql, refresh_marts

SOURCES = {"dlq_by_reason": [BRONZE], "latency_percentiles": [SILVER]}


def _mart_spec(name: str) -> AssetSpec:
    statement = mart_sql(name)
    header = " ".join(line.removeprefix("--").strip() for line in statement.splitlines() if line.startswith("--"))
    return AssetSpec(
        mart_key(name),
        deps=SOURCES.get(name, [GOLD]),
        description=header,
        group_name="marts",
        kinds={"duckdb", "sql"},
        owners=OWNERS,
        metadata={"sql": MetadataValue.md(f"```sql\n{statement}\n```")},
    )


EXPORT_SPEC = AssetSpec(
    REVENUE_PARQUET,
    deps=[GOLD],
    description="Gold as a plain hive-partitioned Parquet folder (window_date, region), for tools that read no Iceberg.",
    group_name="marts",
    kinds={"duckdb", "parquet"},
    owners=OWNERS,
)


@multi_asset(specs=[*(_mart_spec(name) for name in MARTS), EXPORT_SPEC], name="refresh_marts")
def refreshed_marts(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any]]:
    """Build all marts from the newest snapshots, swap them in, publish gold as Parquet."""
    settings, now = get_settings(), datetime.now(UTC)
    marts = refresh_marts(settings, refreshed_at=now)
    context.log.info(f"{sum(marts.rows.values()):,} rows in {len(marts.rows)} marts, {marts.seconds:.2f} s: {marts.path}")
    for name in MARTS:
        yield MaterializeResult(
            asset_key=mart_key(name),
            metadata={
                "dagster/row_count": marts.rows[name],
                "source snapshots": MetadataValue.json({table: str(id_) for table, id_ in marts.snapshot_ids.items()}),
                "watermark": str(marts.watermark),
                "refresh (s)": round(marts.seconds, 3),
                "file": MetadataValue.path(marts.path),
            },
        )
    export = export_gold(settings, now=now)
    context.log.info(f"{export.rows:,} rows in {export.leaves} Parquet files, {export.leaves_written} new: {export.path}")
    yield MaterializeResult(
        asset_key=REVENUE_PARQUET,
        metadata={
            "dagster/row_count": export.rows,
            "files": export.leaves,
            "files written": export.leaves_written,
            "snapshot id": str(export.snapshot_id),
            "refresh (s)": round(export.seconds, 3),
            "folder": MetadataValue.path(export.path),
        },
    )
