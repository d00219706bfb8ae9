"""Reads chosen data files of a table and replaces them by others, through Iceberg's API in Spark's JVM.

A compaction works in this way: files are staged under a name, Spark reads and writes that name, and the files take each
other's place in one commit. Next to SQL it spares a statement whose plan is compiled again for each batch, and next to
the streaming source it reads the columns that are asked for, in vectors.

Java's collections are read as arrays: Py4J ends an iteration over one by an exception, which PySpark looks into at length.

Source: Iceberg 1.12, `SparkTableCache`, `ScanTaskSetManager`, `FileRewriteCoordinator`, `SyncSparkMicroBatchPlanner`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from py4j.java_gateway import JavaMember
from py4j.protocol import STATIC_PREFIX
from pyspark.sql import DataFrame, SparkSession

from rtap_assets.errors import StreamError
from rtap_assets.lake.history.stream_offsets import BEFORE_THE_FIRST_SNAPSHOT

# An offset of Iceberg's streaming source, as it writes it: the files of `snapshot_id` before `position` are read; those that
# the snapshot holds count with `scan_all_files`, else those that it added.
Position = Mapping[str, Any]

UNLIMITED = 2**63 - 1
EXPRESSIONS = "org.apache.iceberg.expressions.Expressions"


class StagedTable:
    """A table as of one look at it: `table` is Iceberg's own object, and does not change."""

    def __init__(self, session: SparkSession, name: str) -> None:
        self.session = session
        self.table = load_java_table(session, name)

    def snapshots(self) -> Iterator[Any]:
        """Yield the current snapshot and its retained ancestors, newest first."""
        snapshot = self.table.currentSnapshot()
        while snapshot is not None:
            yield snapshot
            parent = snapshot.parentId()
            snapshot = None if parent is None else self.table.snapshot(parent)

    def appended(self, start: Position, end: Position) -> list[Any]:
        """Return the scan tasks of the files between two offsets of the streaming source, oldest first.

        Counted by the class that the source itself counts with, so that they are the files that a micro-batch reads.

        Raises:
            StreamError: the table no longer has the snapshots in between.
        """
        if end["snapshot_id"] == BEFORE_THE_FIRST_SNAPSHOT:
            return []
        batches, io, specs = java_class(self.session, "org.apache.iceberg.MicroBatches"), self.table.io(), self.table.specs()
        found: list[Any] = []
        snapshot = self.table.snapshot(end["snapshot_id"])
        while snapshot is not None:
            id = snapshot.snapshotId()
            is_first, is_last = id == start["snapshot_id"], id == end["snapshot_id"]
            if snapshot.operation() == "append":
                first = int(start["position"]) if is_first else 0
                after = int(end["position"]) if is_last else int(snapshot.summary().get("added-data-files") or 0)
                whole = is_first and bool(start["scan_all_files"])
                part = getattr(batches, "from")(snapshot, io).specsById(specs)
                found[:0] = part.generate(first, after, UNLIMITED, whole).tasks().toArray()
            parent = snapshot.parentId()
            if is_first or (parent is None and start["snapshot_id"] == BEFORE_THE_FIRST_SNAPSHOT):
                return found
            snapshot = None if parent is None else self.table.snapshot(parent)
        raise StreamError(
            f"The history of {self.table.name()} no longer reaches from snapshot {start['snapshot_id']} to "
            f"{end['snapshot_id']}.",
            remedy="Rebuild the layer that reads it (`rtap rebuild`).",
        )

    def overlapping(self, column: str, first: int, last: int) -> list[Any]:
        """Return the scan tasks of the files that may hold a value of the column between two, bounds included.

        Units: a timestamp is given in microseconds since the epoch.
        """
        where = java_class(self.session, EXPRESSIONS)
        near = getattr(where, "and")(where.greaterThanOrEqual(column, first), where.lessThanOrEqual(column, last))
        # Without the residual, by which the reader would leave row groups out: the files are read whole.
        found = self.table.newScan().filter(near).ignoreResiduals().planFiles()
        try:
            files, tasks = found.iterator(), []
            while files.hasNext():
                tasks.append(files.next())
        finally:
            found.close()
        return tasks

    def bounds(self, tasks: Sequence[Any], column: str) -> tuple[int, int] | None:
        """Return least and greatest value of a column of numbers or instants; None where a file does not state them."""
        field = self.table.schema().findField(column)
        decode = java_class(self.session, "org.apache.iceberg.types.Conversions").fromByteBuffer
        values = []
        for task in tasks:
            for stated in (task.file().lowerBounds(), task.file().upperBounds()):
                value = None if stated is None else stated.get(field.fieldId())
                if value is None:
                    return None
                values.append(int(decode(field.type(), value)))
        return (min(values), max(values)) if values else None

    def with_values(self, tasks: Sequence[Any], column: str) -> list[Any]:
        """Return the tasks of the files that may hold a value of the column; the others state that it is null throughout."""
        number = self.table.schema().findField(column).fieldId()
        return [task for task in tasks if _null_count(task.file(), number) != task.file().recordCount()]

    @contextmanager
    def staged(self, tasks: Sequence[Any]) -> Iterator[StagedFiles]:
        """Stage files for the time of the block, in which Spark may read them and write others."""
        name = f"rtap-{uuid4()}"
        cache, sets = _the_one(self.session, "SparkTableCache"), _the_one(self.session, "ScanTaskSetManager")
        cache.add(name, self.table)
        if tasks:
            staged = java_class(self.session, "java.util.ArrayList")()
            for task in tasks:
                staged.add(task)
            sets.stageTasks(self.table, name, staged)
        try:
            yield StagedFiles(self, name, tuple(tasks))
        finally:
            sets.removeTasks(self.table, name)
            cache.remove(name)


def java_class(session: SparkSession, name: str) -> Any:
    """Return a class of the session's JVM by its full name, which is looked up once (`RememberingView`)."""
    return getattr(session.sparkContext._jvm, name)


def load_java_table(session: SparkSession, name: str) -> Any:
    """Return Iceberg's own object of a table, as of now."""
    return java_class(session, "org.apache.iceberg.spark.Spark3Util").loadIcebergTable(session._jsparkSession, name)


def _the_one(session: SparkSession, name: str) -> Any:
    """Return what the static `get` of a class of Iceberg's Spark module returns.

    `java_class(…).get()` finds it in some JVMs only: Py4J looks at the first method of that name, which may be another one.
    """
    found = java_class(session, f"org.apache.iceberg.spark.{name}")
    return JavaMember("get", None, STATIC_PREFIX + found._fqn, found._gateway_client)()


@dataclass(frozen=True)
class StagedFiles:
    """Data files staged under a name that Spark reads and writes."""

    owner: StagedTable
    name: str
    tasks: tuple[Any, ...]

    def rows(self, *, split_bytes: int | None = None) -> DataFrame:
        """Return the rows of the files, to be computed inside the block of `staged`, in tasks of about `split_bytes`."""
        splits = {} if split_bytes is None else {"split-size": split_bytes, "file-open-cost": split_bytes // 16}
        read = self.owner.session.read.format("iceberg").options(**splits).load(self.name)
        return read if self.tasks else read.limit(0)

    def replace(self, rows: DataFrame, *, stamp: Mapping[str, str]) -> None:
        """Write the rows to new files and put them in place of the staged ones, in one snapshot that carries the stamp.

        Fails when another writer has changed the table since it was loaded. Files of a failed commit are orphans.
        """
        rows.write.format("iceberg").mode("append").save(self.name)
        session, table = self.owner.session, self.owner.table
        written = _the_one(session, "FileRewriteCoordinator")
        try:
            change = table.newOverwrite()
            for file in written.fetchNewFiles(table, self.name).toArray():
                change.addFile(file)
            for task in self.tasks:
                change.deleteFile(task.file())
            if (base := table.currentSnapshot()) is not None:
                change.validateFromSnapshot(base.snapshotId())
            change.conflictDetectionFilter(java_class(session, EXPRESSIONS).alwaysTrue())
            change.validateNoConflictingData().validateNoConflictingDeletes()
            for key, value in stamp.items():
                change.set(key, value)
            change.commit()
        finally:
            written.clearRewrite(table, self.name)


def _null_count(file: Any, field_id: int) -> int | None:
    """Return how many rows of a data file have no value of the column; None where the file does not state it."""
    counts = file.nullValueCounts()
    return None if counts is None else counts.get(field_id)
