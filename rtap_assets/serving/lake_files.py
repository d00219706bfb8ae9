"""Plans the data files of a table's newest snapshot with PyIceberg, so that DuckDB reads an explicit list.

Never a glob: a table folder also holds files of older snapshots and of crashed writers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import TABLES, TableSpec
from rtap_assets.errors import ServingError
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.history.snapshot_leases import lease_snapshots
from rtap_assets.lake.history.snapshots import newest_watermark_ms
from rtap_assets.runtime.clock import from_milliseconds, utc_now

# Downstream first: a row is upstream before it is downstream, so what a layer holds is also in the layers planned after it.
PLANNING_ORDER = tuple(reversed(TABLES))
# Columns whose least and greatest value in each file is kept: integers and instants alone, whose bounds are exact.
BOUNDED = (
    "event_time", "kafka_timestamp", "processed_at", "window_start", "updated_at",
    "topic_epoch", "kafka_partition", "kafka_offset",
)  # fmt: skip
Span = tuple[int, int]


@dataclass(frozen=True)
class TableFiles:
    """The data files of one snapshot. Without a table or a snapshot `snapshot_id` is None and `paths` is empty.

    `bounds`: by column of `BOUNDED` and path, the least and greatest value of the file's rows, instants in microseconds
    since the epoch. A file in which the column has nulls only, or that was written without statistics, has none; nor has one
    with some nulls, but for `event_time`, which only valid rows are sure to have.
    """

    spec: TableSpec
    snapshot_id: int | None
    watermark: datetime | None
    paths: tuple[str, ...]
    rows: int = field(default=0, compare=False)
    bounds: Mapping[str, Mapping[str, Span]] = field(default_factory=dict, compare=False, repr=False)

    def reaching(self, column: str, least: int) -> TableFiles:
        """Return the plan with those files alone that can hold a value of at least `least` in the column."""
        spans = self.bounds.get(column, {})
        return self.only(path for path in self.paths if path not in spans or spans[path][1] >= least)

    def only(self, paths: Iterable[str]) -> TableFiles:
        """Return the plan with these of its files alone."""
        return replace(self, paths=tuple(sorted(paths)))


def plan_lake(settings: Settings, specs: Sequence[TableSpec] = PLANNING_ORDER) -> dict[str, TableFiles]:
    """Return the files of each table's newest snapshot, by its view (`bronze`, `silver`, `gold`, …); pins the snapshots.

    Their files stay for `reader_pin_seconds` from now, even if the snapshots expire while they are read.

    Raises:
        DependencyUnavailable: the catalog did not answer.
        ServingError: a snapshot holds delete files, or its files are gone or out of DuckDB's reach.
    """
    with catalog_session(settings) as catalog:
        plans = {spec.view: _plan_with_one_reload(catalog, spec) for spec in specs}
    planned = {plan.spec.identifier: plan.snapshot_id for plan in plans.values() if plan.snapshot_id is not None}
    lease_snapshots(settings, planned, now=utc_now())
    return plans


def _watermark_of(table: Table) -> datetime | None:
    """Return the watermark that the table is stamped with; None before its first batch."""
    stamp = newest_watermark_ms(table)
    return None if stamp is None else from_milliseconds(stamp)


def local_path(location: str) -> str:
    """Return the path of a `file:` location. Iceberg does not percent-encode locations, so neither does this decode them.

    Raises:
        ServingError: the location is on an object store.
    """
    scheme, separator, rest = location.partition(":")
    if not separator or "/" in scheme:
        return location
    if scheme != "file":
        raise ServingError(
            f"DuckDB cannot read {location}: the embedded reader opens files of a local or mounted warehouse only.",
            remedy="Mount the warehouse, or query it with an engine that speaks its protocol.",
        )
    return "/" + rest.lstrip("/")


def plan_table(spec: TableSpec, table: Table) -> TableFiles:
    """Return the files of the snapshot that is current in `table` as it was loaded.

    Raises:
        FileNotFoundError: a planned file is gone: the snapshot has expired since the table was loaded.
        ServingError: the snapshot holds delete files, or files out of DuckDB's reach.
    """
    snapshot = table.current_snapshot()
    if snapshot is None:
        return TableFiles(spec, None, None, ())
    files: dict[str, DataFile] = {}
    for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files():
        if task.delete_files:
            raise ServingError(
                f"Snapshot {snapshot.snapshot_id} of {spec.identifier} has delete files; reading its data files alone would "
                "bring deleted rows back.",
                remedy="Every writer must be copy-on-write; compact the table with `rewrite_data_files`.",
            )
        path = local_path(task.file.file_path)
        if not Path(path).exists():
            raise FileNotFoundError(path)
        files[path] = task.file
    rows, watermark = sum(file.record_count for file in files.values()), _watermark_of(table)
    return TableFiles(spec, snapshot.snapshot_id, watermark, tuple(sorted(files)), rows, _bounds(table, files))


def _bounds(table: Table, files: Mapping[str, DataFile]) -> dict[str, dict[str, Span]]:
    ids = {column.name: column.field_id for column in table.schema().fields if column.name in BOUNDED}
    found: dict[str, dict[str, Span]] = {name: {} for name in ids}
    for path, file in files.items():
        lower, upper, nulls = file.lower_bounds or {}, file.upper_bounds or {}, file.null_value_counts or {}
        for name, column_id in ids.items():
            if column_id in lower and column_id in upper and (name == "event_time" or nulls.get(column_id) == 0):
                found[name][path] = (_integer(lower[column_id]), _integer(upper[column_id]))
    return found


def _integer(bound: bytes) -> int:
    """Return an integer or an instant as Iceberg's single-value serialization writes it: little-endian."""
    return int.from_bytes(bound, "little", signed=True)


def reload_once(plan: Callable[[], TableFiles], *, reload: Callable[[], object], what: str) -> TableFiles:
    """Return the plan; when a file of it is gone, the plan of the reloaded table.

    Raises:
        ServingError: a file of the reloaded snapshot is gone too, which expiry does not explain.
    """
    try:
        return plan()
    except FileNotFoundError:
        reload()
    try:
        return plan()
    except FileNotFoundError as error:
        raise ServingError(
            f"The newest snapshot of {what} names a file that does not exist: {error}.",
            remedy="The warehouse was changed behind Iceberg's back: restore the file or rebuild the table.",
        ) from error


def _plan_with_one_reload(catalog: Catalog, spec: TableSpec) -> TableFiles:
    try:
        table = catalog.load_table(spec.identifier)
    except NoSuchTableError:
        return TableFiles(spec, None, None, ())
    return reload_once(lambda: plan_table(spec, table), reload=table.refresh, what=spec.identifier)
