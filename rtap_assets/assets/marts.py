"""The DuckDB marts and the published Parquet folder: one refresh, one step, several assets."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from rtap_assets.assets.keys import GOLD_KEY, MARTS_GROUP, OWNERS, PUBLISHED_GROUP, REVENUE_PARQUET, data_key, mart_key
from rtap_assets.assets.metadata import column_schema, freshness_policy, watermark
from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.resources.marts import Marts
from rtap_assets.serving.export import ExportReport, export_gold
from rtap_assets.serving.mart_checks import ADDS_UP, GRAIN
from rtap_assets.serving.marts import MARTS, MartSpec, MartsReport, check_marts, refresh_marts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PREVIEW_ROWS = 5
GRAIN_TEXT = "No two rows have the same key."
ADDS_UP_TEXT = "By currency, its sums are those of the tumbling windows."


def _mart_spec(mart: MartSpec, settings: Settings) -> dg.AssetSpec:
    docs = mart.docs
    return dg.AssetSpec(
        mart_key(mart.name),
        deps=[mart_key(source) if isinstance(source, str) else data_key(source) for source in mart.reads],
        description=_as_markdown(docs.description),
        group_name=MARTS_GROUP,
        kinds={"duckdb", "sql"},
        freshness_policy=freshness_policy(settings),
        owners=OWNERS,
        metadata={"dagster/table_name": mart.name, "SQL": dg.MetadataValue.md(f"```sql\n{docs.statement}\n```")},
    )


def _as_markdown(description: str) -> str:
    """Return a mart's description with a paragraph per line that opens with a word and a colon."""
    return re.sub(r"\n(?=\w+: )", "\n\n", description)


EXPORT_SPEC = dg.AssetSpec(
    REVENUE_PARQUET,
    deps=[GOLD_KEY],
    description="Gold as a plain folder of Parquet files, partitioned by window_date and region in Hive's way, for tools "
    "that read no Iceberg: `read_parquet('<folder>/**/*.parquet', hive_partitioning = true)`.",
    group_name=PUBLISHED_GROUP,
    kinds={"duckdb", "parquet"},
    owners=OWNERS,
    metadata={"dagster/column_schema": column_schema(GOLD.columns)},
)


MART_KEYS = [*(mart_key(mart.name) for mart in MARTS), REVENUE_PARQUET]


def refreshed_marts(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset of all marts and the Parquet folder: one step."""
    specs = [*(_mart_spec(mart, settings) for mart in MARTS), EXPORT_SPEC]
    checks = [
        *(dg.AssetCheckSpec(GRAIN, asset=mart_key(mart.name), description=GRAIN_TEXT) for mart in MARTS if mart.key),
        *(dg.AssetCheckSpec(ADDS_UP, asset=mart_key(mart.name), description=ADDS_UP_TEXT) for mart in MARTS if mart.adds_up),
    ]
    definition: dg.AssetsDefinition = dg.multi_asset(specs=specs, check_specs=checks, name="build_marts")(_refresh)
    return definition


def _refresh(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], marts: Marts
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Build all marts from the newest snapshots, swap them in, publish gold as Parquet."""
    now = datetime.now(UTC)
    report = refresh_marts(settings, refreshed_at=now)
    context.log.info(f"marts: {sum(report.rows.values()):,} rows in {len(report.rows)} marts, {report.seconds:.1f} s")
    with marts.get_connection() as connection:
        for mart in MARTS:
            metadata = mart_metadata(report, mart.name) | table_metadata(connection, mart)
            yield dg.MaterializeResult(asset_key=mart_key(mart.name), metadata=metadata)
        for check in check_marts(connection):
            metadata = {"rows checked": check.checked, "failed": check.failed}
            yield dg.AssetCheckResult(
                asset_key=mart_key(check.mart), check_name=check.name, passed=check.passed, metadata=metadata
            )
    export = export_gold(settings, now=now)
    context.log.info(f"export: {export.rows:,} rows in {export.leaves} Parquet files, {export.leaves_written} of them new")
    yield dg.MaterializeResult(asset_key=REVENUE_PARQUET, metadata=export_metadata(export))


def mart_metadata(report: MartsReport, name: str) -> dict[str, Any]:
    """Return the metadata of one refreshed mart."""
    return {
        "dagster/row_count": report.rows[name],
        "source snapshots": dg.MetadataValue.json({table: str(id_) for table, id_ in report.snapshot_ids.items()}),
        "watermark": watermark(report.watermark),
        "duration (s)": round(report.seconds, 3),
        "file": dg.MetadataValue.path(report.path),
    }


def table_metadata(connection: "DuckDBPyConnection", mart: MartSpec) -> dict[str, Any]:
    """Return a mart's columns and a few of its rows."""
    columns = connection.execute(f"DESCRIBE {mart.name}").fetchall()
    rows = connection.execute(
        f"SELECT COLUMNS(*)::VARCHAR FROM (FROM {mart.name} ORDER BY {mart.preview_order} LIMIT {PREVIEW_ROWS})"
    ).fetchall()
    meanings = mart.column_docs(column[0] for column in columns)
    schema = [dg.TableColumn(column[0], column[1].lower(), description=meanings[column[0]]) for column in columns]
    return {
        "dagster/column_schema": dg.TableSchema(schema),
        "preview": dg.MetadataValue.md(_markdown([column[0] for column in columns], rows)),
    }


def export_metadata(export: ExportReport) -> dict[str, Any]:
    """Return the metadata of a publication of the Parquet folder."""
    return {
        "dagster/row_count": export.rows,
        "files": export.leaves,
        "files written": export.leaves_written,
        "snapshot id": str(export.snapshot_id),
        "duration (s)": round(export.seconds, 3),
        "folder": dg.MetadataValue.path(export.path),
    }


def _markdown(header: list[str], rows: list[tuple[str | None, ...]]) -> str:
    lines = [header, ["---"] * len(header), *([("" if cell is None else cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
