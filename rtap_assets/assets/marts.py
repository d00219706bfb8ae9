"""The DuckDB marts and the published Parquet folder: one refresh, one step, several assets."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from rtap_assets.assets.column_lineage import copied_from_gold, mart_lineage, with_sources
from rtap_assets.assets.keys import GOLD_KEY, MARTS_GROUP, OWNERS, PUBLISHED_GROUP, REVENUE_PARQUET, data_key, mart_key
from rtap_assets.assets.links import links
from rtap_assets.assets.metadata import column_schema, freshness_policy, watermark
from rtap_assets.assets.previews import preview
from rtap_assets.config import Settings
from rtap_assets.contracts.tables import GOLD
from rtap_assets.resources.marts import Marts
from rtap_assets.runtime.clock import from_microseconds
from rtap_assets.serving.export import ExportReport, export_gold
from rtap_assets.serving.leaf_files import CURRENT
from rtap_assets.serving.mart_checks import ADDS_UP, GRAIN
from rtap_assets.serving.marts import MARTS, MartSpec, MartsReport, check_marts, refresh_marts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

RUNBOOK = "Daily operation"
REFRESHED_AT, VERSION = "refreshed at", "version"  # by these a refresh outside Dagster is recognized
GRAIN_TEXT = "No two rows have the same key."
ADDS_UP_TEXT = "By currency, its sums are those of the tumbling windows."
CHECKED = {GRAIN: "rows repeat a key", ADDS_UP: "currencies have other sums than the tumbling windows"}


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
        metadata={
            "dagster/table_name": mart.name,
            "SQL": dg.MetadataValue.md(f"```sql\n{docs.statement}\n```"),
            **links(settings, RUNBOOK),
        },
    )


def _as_markdown(description: str) -> str:
    """Return a mart's description with a paragraph per line that opens with a word and a colon."""
    return re.sub(r"\n(?=\w+: )", "\n\n", description)


def _export_spec(settings: Settings) -> dg.AssetSpec:
    return dg.AssetSpec(
        REVENUE_PARQUET,
        deps=[GOLD_KEY],
        description="Gold as a plain folder of Parquet files, partitioned by window_date and region in Hive's way, for "
        "tools that read no Iceberg: `read_parquet('<folder>/**/*.parquet', hive_partitioning = true)`.",
        group_name=PUBLISHED_GROUP,
        kinds={"duckdb", "parquet"},
        owners=OWNERS,
        metadata={
            "dagster/column_schema": with_sources(column_schema(GOLD.columns), copied_from_gold()),
            **links(settings, RUNBOOK),
        },
    )


MART_CHECKS = [
    *(dg.AssetCheckSpec(GRAIN, asset=mart_key(mart.name), description=GRAIN_TEXT) for mart in MARTS if mart.key),
    *(dg.AssetCheckSpec(ADDS_UP, asset=mart_key(mart.name), description=ADDS_UP_TEXT) for mart in MARTS if mart.adds_up),
]
MART_KEYS = [*(mart_key(mart.name) for mart in MARTS), REVENUE_PARQUET]


def refreshed_marts(settings: Settings) -> dg.AssetsDefinition:
    """Return the asset of all marts and the Parquet folder: one step."""
    specs = [*(_mart_spec(mart, settings) for mart in MARTS), _export_spec(settings)]
    definition: dg.AssetsDefinition = dg.multi_asset(specs=specs, check_specs=MART_CHECKS, name="build_marts")(_refresh)
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
            yield dg.AssetCheckResult(
                asset_key=mart_key(check.mart),
                check_name=check.name,
                passed=check.passed,
                description=f"{check.failed:,} of {check.checked:,} {CHECKED[check.name]}",
                metadata={"rows checked": check.checked, "failed": check.failed},
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
        REFRESHED_AT: dg.MetadataValue.timestamp(report.refreshed_at),
        "duration (s)": round(report.seconds, 3),
        "file": dg.MetadataValue.path(report.path),
    }


def table_metadata(connection: "DuckDBPyConnection", mart: MartSpec) -> dict[str, Any]:
    """Return a mart's columns, what they are made from, and a few of its rows."""
    columns = connection.execute(f"DESCRIBE {mart.name}").fetchall()
    names = [column[0] for column in columns]
    meanings = mart.column_docs(names)
    lineage = mart_lineage(mart, names)
    schema = [dg.TableColumn(column[0], column[1].lower(), description=meanings[column[0]]) for column in columns]
    return {
        "dagster/column_schema": with_sources(dg.TableSchema(schema), lineage),
        "dagster/column_lineage": lineage,
        "preview": preview(connection, mart.name, order=mart.preview_order),
    }


def export_metadata(export: ExportReport) -> dict[str, Any]:
    """Return the metadata of a publication of the Parquet folder."""
    return {
        "dagster/row_count": export.rows,
        "dagster/column_lineage": copied_from_gold(),
        "files": export.leaves,
        "files written": export.leaves_written,
        "snapshot id": str(export.snapshot_id),
        VERSION: export.version,
        "duration (s)": round(export.seconds, 3),
        "folder": dg.MetadataValue.path(export.path),
    }


def refreshed_at(connection: "DuckDBPyConnection") -> datetime:
    """Return when the marts of this file were built."""
    (microseconds,) = connection.execute("SELECT epoch_us(refreshed_at) FROM refresh").fetchall()[0]
    return from_microseconds(microseconds)


def found_marts(connection: "DuckDBPyConnection", settings: Settings) -> Iterator[dg.AssetMaterialization]:
    """Yield a materialization per mart of a file that was built outside Dagster (`rtap marts refresh`)."""
    built_at = refreshed_at(connection)
    text = f"Refreshed outside Dagster at {built_at:%Y-%m-%d %H:%M:%S}Z."
    tables = {name for (name,) in connection.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    for mart in MARTS:
        if mart.name not in tables:
            continue  # the file is of an earlier version
        (rows,) = connection.execute(f"SELECT count(*) FROM {mart.name}").fetchall()[0]
        metadata = {
            "dagster/row_count": rows,
            REFRESHED_AT: dg.MetadataValue.timestamp(built_at),
            "file": dg.MetadataValue.path(str(settings.marts_path)),
            **table_metadata(connection, mart),
        }
        yield dg.AssetMaterialization(mart_key(mart.name), description=text, metadata=metadata)


def published_version(settings: Settings) -> str | None:
    """Return the version of the Parquet folder that is current; None before the first."""
    try:
        return os.path.basename(os.readlink(settings.export_dir / CURRENT))
    except FileNotFoundError:
        return None
