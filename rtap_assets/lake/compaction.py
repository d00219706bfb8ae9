"""Rewrites a table's small data files to fewer ones, beside the streams that append to it and read it.

The files of a retained snapshot stay as they are: by them a check knows which batch a row was in, and whether a stream has
read it. So a row is moved once its batch is history.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TableSpec
from rtap_assets.lake.catalog import catalog_session, load_table
from rtap_assets.lake.history.snapshots import added_files, ancestors
from rtap_assets.lake.maintenance import call_procedure, instant_text
from rtap_assets.runtime.clock import from_microseconds

DAY = timedelta(days=1)
OPEN_DAYS = 2  # today's and yesterday's day partitions still get files
CODEC = "zstd"


@dataclass(frozen=True)
class Compaction:
    """The number of data files replaced, the number written, and the bytes rewritten."""

    replaced: int
    by: int
    rewritten_bytes: int


def compact(session: SparkSession, settings: Settings, spec: TableSpec, *, now: datetime) -> Compaction:
    """Rewrite small data files to the target size; the rows stay the same.

    Of today and yesterday, by UTC, only files whose snapshots have expired are rewritten, and none of a table that its
    stream changes by MERGE: it replaces them itself. A table without partitions is rewritten as a whole. The new files are
    compressed with `CODEC`, whatever the streams write: they are read for long, and written once.

    A merged table has one writer: call this only while its stream is stopped, or one of the two fails.

    Raises:
        StreamError: the rewrite failed; the table is unchanged.
        DependencyUnavailable: the catalog did not answer.
    """
    target = settings.compaction_target_bytes
    options = {
        "target-file-size-bytes": target,
        "min-input-files": settings.compaction_min_files,
        # A file group is one Spark job. With one file to write it is one task, which leaves the other cores to the streams.
        "max-file-group-size-bytes": target,
        "max-concurrent-file-group-rewrites": 1,
    }
    pairs = ", ".join(f"'{key}', '{value}'" for key, value in options.items())
    with catalog_session(settings) as catalog:
        condition = rows_to_compact(load_table(catalog, spec.identifier), spec, now=now)
    where = f", where => '{condition}'" if condition else ""
    # A copy, since streams that start meanwhile take over the settings of the session that they start in.
    copy = SparkSession(session.sparkContext, session._jsparkSession.cloneSession())
    copy.conf.set("spark.sql.iceberg.compression-codec", CODEC)
    row = call_procedure(copy, settings, "rewrite_data_files", spec, f"options => map({pairs}){where}")
    return Compaction(row.rewritten_data_files_count, row.added_data_files_count, row.rewritten_bytes_count)


def rows_to_compact(table: Table, spec: TableSpec, *, now: datetime) -> str:
    """Return the condition, in Spark SQL, on the rows whose files a compaction may rewrite; empty for all."""
    if not spec.partition:
        return ""
    column = _partition_column(spec)
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    closed_before = today - (OPEN_DAYS - 1) * DAY
    if spec.is_merged:
        return f"{column} < {_literal(closed_before)}"
    # A file is chosen when it may hold such a row: a file of the day that begins at the first one or later holds none.
    return " AND ".join(
        f"({column} < {_literal(first)} OR {column} >= {_literal(day + DAY)})"
        for day, first in sorted(_first_retained(table, column).items())
        if day >= closed_before
    )


def _first_retained(table: Table, column: str) -> Mapping[datetime, datetime]:
    """Return the least value of the column, by day, in the files that retained snapshots appended."""
    appends = {snapshot.snapshot_id: snapshot.sequence_number or 0 for snapshot in ancestors(table) if added_files(snapshot)}
    snapshot, field = table.current_snapshot(), table.schema().find_field(column)
    found: dict[datetime, datetime] = {}
    if snapshot is None or not appends:
        return found
    oldest = min(appends.values())
    for manifest in snapshot.manifests(table.io):
        if manifest.sequence_number < oldest:  # it was written before, and so were its files
            continue
        for entry in manifest.fetch_manifest_entry(table.io):
            bound = (entry.data_file.lower_bounds or {}).get(field.field_id)
            if entry.snapshot_id in appends and bound is not None:
                first = from_microseconds(from_bytes(field.field_type, bound))
                day = first.replace(hour=0, minute=0, second=0, microsecond=0)
                found[day] = min(first, found.get(day, first))
    return found


def _partition_column(spec: TableSpec) -> str:
    """Return the timestamp column by whose day the table is partitioned."""
    found = re.fullmatch(r"days\((\w+)\)", spec.partition)
    assert found is not None, f"{spec.identifier} is not partitioned by day"
    return found[1]


def _literal(time: datetime) -> str:
    return f'TIMESTAMP "{instant_text(time)}"'
