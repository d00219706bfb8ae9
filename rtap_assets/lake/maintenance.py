"""Keeps a table small: manifest rewriting, snapshot expiry, removal of orphan files. One table at a time.

Each function is one step, as `compact` is (`lake/compaction.py`); the caller holds the table's lock and knows the consumers
(`streaming/operations/maintenance.py`).
The order is compaction, manifests, expiry: an expiry during a compaction makes the compaction fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.history.retention import ExpiryPlan
from rtap_assets.lake.staged_files import load_java_table
from rtap_assets.lake.table_metrics import TableMetrics

MOST_MANIFESTS = 50
MANIFEST_TARGET_BYTES = 8 * 1024 * 1024  # Iceberg's default


def manifests_are_worth_rewriting(metrics: TableMetrics) -> bool:
    """Return True for many manifests: appends merge the newest ones, so compactions or merges have left small ones."""
    return metrics.manifests > MOST_MANIFESTS


def rewrite_manifests(session: SparkSession, settings: Settings, spec: TableSpec) -> int:
    """Rewrite the manifests to their target size; return how many were replaced. Streams skip the new snapshot.

    Raises:
        StreamError: a concurrent append that merged manifests won; the table is unchanged.
    """
    row = call_procedure(session, settings, "rewrite_manifests", spec, "use_caching => false")
    return int(row.rewritten_manifests_count)


def expire_snapshots(session: SparkSession, settings: Settings, spec: TableSpec, plan: ExpiryPlan) -> None:
    """Expire the plan's snapshots and delete the files that only they reference.

    Uses Iceberg's API, not the Spark procedure: it reads only the manifests of expired snapshots, not the whole table twice.

    Raises:
        StreamError: it failed; at most, orphan files are left behind.
    """
    with _translated(f"Snapshots of {spec.identifier} could not be expired"):
        table = writable_table(session, settings, spec)
        expiry = table.expireSnapshots().expireOlderThan(plan.cutoff_ms).retainLast(plan.kept)
        expiry.cleanExpiredFiles(True).commit()


def remove_orphan_files(session: SparkSession, settings: Settings, spec: TableSpec, *, now: datetime) -> int:
    """Remove old files that no snapshot references (left by crashed writers); return how many.

    Raises:
        StreamError: the folder could not be listed or compared.
    """
    older_than = instant_text(now - timedelta(seconds=settings.orphan_retention_seconds))
    arguments = f"table => '{spec.identifier}', older_than => TIMESTAMP '{older_than}'"
    with _translated(f"Orphan files of {spec.identifier} could not be removed"):
        return len(session.sql(f"CALL {settings.catalog_name}.system.remove_orphan_files({arguments})").collect())


def call_procedure(session: SparkSession, settings: Settings, procedure: str, spec: TableSpec, arguments: str) -> Row:
    """Call one of Iceberg's procedures for the table; return the first row of its result.

    Raises:
        StreamError: it failed; the table is unchanged.
    """
    with _translated(f"{procedure} of {spec.identifier} failed"):
        statement = f"CALL {settings.catalog_name}.system.{procedure}(table => '{spec.identifier}', {arguments})"
        row: Row = session.sql(statement).collect()[0]
        return row


def writable_table(session: SparkSession, settings: Settings, spec: TableSpec) -> Any:
    """Return Iceberg's own object of the table as it is now."""
    return load_java_table(session, f"{settings.catalog_name}.{spec.identifier}")


def instant_text(time: datetime) -> str:
    """Return an instant as a literal of Spark SQL has it, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (PySparkException, Py4JError) as error:
        cause = str(error).strip().splitlines()[0]
        raise StreamError(
            f"{what}: {cause}.",
            remedy="The table is unchanged; the next maintenance tries again. The details are in spark.log.",
        ) from error
