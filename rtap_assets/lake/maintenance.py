"""Keeps a table small: compaction, manifest rewriting, snapshot expiry, removal of orphan files. One table at a time.

Each function is one step; the caller holds the table's lock and knows the consumers (`streaming/operations/maintenance.py`).
The order is compaction, manifests, expiry: an expiry during a compaction makes the compaction fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

# A file group is one Spark job: small groups in sequence let the streams' jobs run in between.
GROUP_SIZE_IN_TARGETS = 2
OPEN_DAYS = 2  # today's and yesterday's day partitions still get files
MOST_MANIFESTS = 50
COMPACTED_CODEC = "zstd"
MANIFEST_TARGET_BYTES = 8 * 1024 * 1024  # Iceberg's default


@dataclass(frozen=True)
class Compaction:
    """The number of data files replaced, the number written, and the bytes rewritten."""

    replaced: int
    by: int
    rewritten_bytes: int


def compact_closed_partitions(session: SparkSession, settings: Settings, spec: TableSpec, *, now: datetime) -> Compaction:
    """Rewrite small data files of closed day partitions to the target size; the rows stay the same.

    A table without table partitions is rewritten as a whole. The new files are compressed with `COMPACTED_CODEC`, whatever
    the streams write: they are read for long, and written once.

    Gold has one writer: call this for gold only while its stream is stopped, or one of the two fails.

    Time: today and yesterday, by UTC, are left alone.
    Raises:
        StreamError: the rewrite failed; the table is unchanged.
    """
    target = settings.compaction_target_bytes
    options = {
        "target-file-size-bytes": target,
        "min-input-files": settings.compaction_min_files,
        "max-file-group-size-bytes": GROUP_SIZE_IN_TARGETS * target,
        "max-concurrent-file-group-rewrites": 1,
    }
    pairs = ", ".join(f"'{key}', '{value}'" for key, value in options.items())
    where = f", where => '{_closed(settings, spec, now=now)}'" if spec.partition else ""
    # A copy, since streams that start meanwhile take over the settings of the session that they start in.
    copy = SparkSession(session.sparkContext, session._jsparkSession.cloneSession())
    copy.conf.set("spark.sql.iceberg.compression-codec", COMPACTED_CODEC)
    row = _call(copy, settings, "rewrite_data_files", spec, f"options => map({pairs}){where}")
    return Compaction(row.rewritten_data_files_count, row.added_data_files_count, row.rewritten_bytes_count)


def manifests_are_worth_rewriting(metrics: TableMetrics) -> bool:
    """Return True for many manifests: appends merge the newest ones, so compactions or merges have left small ones."""
    return metrics.manifests > MOST_MANIFESTS


def rewrite_manifests(session: SparkSession, settings: Settings, spec: TableSpec) -> int:
    """Rewrite the manifests to their target size; return how many were replaced. Streams skip the new snapshot.

    Raises:
        StreamError: a concurrent append that merged manifests won; the table is unchanged.
    """
    return int(_call(session, settings, "rewrite_manifests", spec, "use_caching => false").rewritten_manifests_count)


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
    older_than = _instant(now - timedelta(seconds=settings.orphan_retention_seconds))
    arguments = f"table => '{spec.identifier}', older_than => TIMESTAMP '{older_than}'"
    with _translated(f"Orphan files of {spec.identifier} could not be removed"):
        return len(session.sql(f"CALL {settings.catalog_name}.system.remove_orphan_files({arguments})").collect())


def partition_column(spec: TableSpec) -> str:
    """Return the timestamp column by whose day the table is partitioned."""
    found = re.fullmatch(r"days\((\w+)\)", spec.partition)
    assert found is not None, f"{spec.identifier} is not partitioned by day"
    return found[1]


def _closed(settings: Settings, spec: TableSpec, *, now: datetime) -> str:
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    closed_before = day - timedelta(days=OPEN_DAYS - 1)
    return f'{partition_column(spec)} < TIMESTAMP "{_instant(closed_before)}"'


def _call(session: SparkSession, settings: Settings, procedure: str, spec: TableSpec, arguments: str) -> Row:
    with _translated(f"{procedure} of {spec.identifier} failed"):
        statement = f"CALL {settings.catalog_name}.system.{procedure}(table => '{spec.identifier}', {arguments})"
        row: Row = session.sql(statement).collect()[0]
        return row


def writable_table(session: SparkSession, settings: Settings, spec: TableSpec) -> Any:
    """Return Iceberg's own object of the table as it is now."""
    return load_java_table(session, f"{settings.catalog_name}.{spec.identifier}")


def _instant(time: datetime) -> str:
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
