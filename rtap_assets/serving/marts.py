"""The marts: one DuckDB file, built beside the old one and moved into its place.

A reader holds the file it opened and never sees half a refresh; the next one that opens it sees the new file. Each mart is a
line of `MARTS` and a file in `sql/`; they read the views of the tables, earlier marts, `refresh` and `reason_codes`.

A refresh goes on from a copy of the last file: of a mart with `periods` it builds only those again whose rows have changed
(`mart_periods`), with the same statement, over views that show these periods alone. All other marts are built whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib import resources
from pathlib import Path

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import CORRECTIONS
from rtap_assets.contracts.rules import EXPLANATIONS
from rtap_assets.contracts.tables import BRONZE, GOLD, REVENUE_MEASURES, SILVER, TABLES, TableSpec
from rtap_assets.errors import ServingError
from rtap_assets.runtime.files import put_in_place
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.corrections import load_corrections, mark_provisional_windows
from rtap_assets.serving.lake_files import TableFiles, plan_lake
from rtap_assets.serving.mart_checks import MartCheck, check_grain, check_sums
from rtap_assets.serving.mart_periods import CATALOG, Periods, begin, create_whole, finish, remove_building, replace_periods
from rtap_assets.serving.one_writer import one_writer

COLUMNS_HEADING = "Columns:"


@dataclass(frozen=True)
class MartDocs:
    """The description, the meaning of the columns that the header lists, and the statement below it."""

    description: str
    columns: Mapping[str, str]
    statement: str


@dataclass(frozen=True)
class MartSpec:
    """One mart: the table or view that `sql/<name>.sql` creates; the header of that file is its description.

    `reads` are the tables and earlier marts that its statement reads; `preview_order` puts the rows to show first. With
    `key`, each refresh checks that no two rows share these columns; with `adds_up`, that the measures sum up to those of
    the tumbling windows. A check is an event of Dagster's at each refresh: what a GROUP BY guarantees is not checked.
    With `periods`, a refresh builds only the changed ones again. `schema`: `parts` has what only other marts read.
    """

    name: str
    key: tuple[str, ...] = ()
    reads: tuple[TableSpec | str, ...] = ("tumbling_revenue",)
    adds_up: bool = False
    preview_order: str = "ALL DESC"
    periods: Periods | None = None
    schema: str = "main"

    @property
    def docs(self) -> MartDocs:
        """What the header of its file says."""
        return parse_mart(self.sql)

    def column_docs(self, names: Iterable[str]) -> dict[str, str]:
        """Return the meaning of these columns: as its header says, else as the contract does of a column of that name."""
        listed = self.docs.columns
        return {name: listed.get(name) or CONTRACT_DOCS.get(name, "") for name in names}

    @property
    def sql(self) -> str:
        """The statement that builds it, with its header comment."""
        text = resources.files("rtap_assets.serving").joinpath("sql", f"{self.name}.sql").read_text(encoding="utf-8")
        return text.replace("{columns}", COLUMNS_OF_GOLD).replace("{measures}", MEASURES_BEFORE_AND_AFTER)


# In the order of building: later ones read earlier ones.
PARTS = (
    MartSpec("records_by_hour", reads=(BRONZE,), periods=Periods("hour", of=BRONZE), schema="parts"),
    MartSpec("latencies_by_hour", reads=(SILVER,), periods=Periods("hour", of=SILVER), schema="parts"),
    MartSpec("latencies_by_day", reads=(SILVER,), periods=Periods("day", of=SILVER, unit="day"), schema="parts"),
)
MARTS = (
    MartSpec("rolling_revenue", key=GOLD.key, reads=(GOLD,), periods=Periods("window_start", of=GOLD)),
    MartSpec("tumbling_revenue", reads=("rolling_revenue",)),
    MartSpec("revenue_by_region_hour", adds_up=True, periods=Periods("hour", of=GOLD)),
    MartSpec("revenue_by_plan_hour", adds_up=True, periods=Periods("hour", of=GOLD)),
    MartSpec("refund_share", periods=Periods("hour", of=GOLD)),
    MartSpec("dlq_by_reason", reads=(BRONZE,), preview_order="records DESC, reason"),
    MartSpec("latency_percentiles", reads=(SILVER,), preview_order="hour DESC NULLS FIRST, latency"),
    MartSpec("corrections", reads=(GOLD,), preview_order="planned_at DESC"),
)
CONTRACT_DOCS = {column.name: column.doc for spec in (CORRECTIONS, SILVER, GOLD) for column in spec.columns}
COLUMNS_OF_GOLD = ", ".join(f"gold.{name}" for name in GOLD.column_names)
# What the record of corrections keeps of each measure of gold.
MEASURES_BEFORE_AND_AFTER = ", ".join(f"from_{one.name}, to_{one.name}" for one in REVENUE_MEASURES)


@dataclass(frozen=True)
class MartsReport:
    """The result of a refresh: rows per mart, and the snapshots (None: no table yet) and watermark it was built from."""

    path: Path
    rows: dict[str, int]
    snapshot_ids: dict[str, int | None]
    watermark: datetime | None
    refreshed_at: datetime
    seconds: float


def refresh_marts(settings: Settings, *, refreshed_at: datetime) -> MartsReport:
    """Build all marts from the tables' newest snapshots and swap them in; a second refresh of the same gives the same.

    Raises:
        ServingError: the lake cannot be read or the file not written; the marts stay as they were.
        DependencyUnavailable: the catalog did not answer; the marts stay as they were.
    """
    started = time.perf_counter()
    target = settings.marts_path
    building = target.with_name(target.name + ".building")
    with one_writer(target.with_name(target.name + ".lock")):
        remove_building(building)
        try:
            plans, rows = _build_with_one_retry(settings, building, refreshed_at=refreshed_at)
            put_in_place(building, target)
        except duckdb.Error as error:
            raise ServingError(
                f"The marts could not be built in {building}: {error}.",
                remedy="The old marts are untouched. Check the disk and the lake, then run `rtap marts refresh` again.",
            ) from error
        finally:
            remove_building(building)
    return MartsReport(
        path=target,
        rows=rows,
        snapshot_ids={name: files.snapshot_id for name, files in plans.items()},
        watermark=plans[GOLD.view].watermark,
        refreshed_at=refreshed_at,
        seconds=time.perf_counter() - started,
    )


def _build_with_one_retry(
    settings: Settings, building: Path, *, refreshed_at: datetime
) -> tuple[dict[str, TableFiles], dict[str, int]]:
    """Build the marts; a long build can outlive the retention of its snapshots, and is repeated from newer ones then."""
    plans = plan_lake(settings)
    try:
        return plans, _build(settings, building, plans, refreshed_at=refreshed_at)
    except (duckdb.IOException, ServingError):
        if all(Path(path).exists() for files in plans.values() for path in files.paths):
            raise
    remove_building(building)
    plans = plan_lake(settings)
    return plans, _build(settings, building, plans, refreshed_at=refreshed_at)


def _build(settings: Settings, building: Path, plans: Mapping[str, TableFiles], *, refreshed_at: datetime) -> dict[str, int]:
    with connect_lake(settings, {}) as connection:
        connection.execute("CREATE TEMP TABLE reason_codes (reason VARCHAR, explanation VARCHAR)")
        connection.executemany(
            "INSERT INTO reason_codes VALUES (?, ?)", [[str(code), text] for code, text in EXPLANATIONS.items()]
        )
        load_corrections(connection, settings)
        mark_provisional_windows(connection, settings, plans[BRONZE.view])
        recipe = _recipe(settings)
        is_continued = begin(
            connection, building, settings.marts_path, plans, recipe=recipe, window_seconds=settings.window_seconds
        )
        _write_refresh(connection, plans, refreshed_at=refreshed_at)
        for mart in (*PARTS, *MARTS):
            if is_continued and mart.periods is not None:
                target = f"{mart.schema}.{mart.name}"
                replace_periods(connection, plans, target, mart.sql, mart.periods, source=mart.reads[0])
            else:
                create_whole(connection, plans, mart.schema, mart.name, mart.docs.statement)
                _describe(connection, mart)
        rows = {mart.name: _count(connection, mart.name) for mart in MARTS}
        finish(connection)
    return rows


def _recipe(settings: Settings) -> str:
    """Return a digest of what the marts' rows depend on besides the lake: with another one, all are built again."""
    parts = [f"{mart.name} {mart.schema} {mart.periods}\n{mart.sql}" for mart in (*PARTS, *MARTS)]
    sizes = f"{settings.window_seconds}/{settings.slide_seconds} {duckdb.__version__} {sorted(EXPLANATIONS.items())}"
    return sha256("\n".join([sizes, *parts]).encode()).hexdigest()


def _describe(connection: duckdb.DuckDBPyConnection, mart: MartSpec) -> None:
    """Keep the meaning of the mart and of its columns in the file, for whatever tool opens it."""
    kind = "VIEW" if mart.docs.statement.startswith("CREATE VIEW") else "TABLE"
    connection.begin()  # else each comment is a commit of its own: half of a whole build, on a busy disk
    connection.execute(f"COMMENT ON {kind} {mart.name} IS {_quoted(mart.docs.description)}")
    names = [row[0] for row in connection.execute(f"DESCRIBE {mart.name}").fetchall()]
    for name, meaning in mart.column_docs(names).items():
        connection.execute(f"COMMENT ON COLUMN {mart.name}.{name} IS {_quoted(meaning)}")
    connection.commit()


def check_marts(connection: duckdb.DuckDBPyConnection) -> list[MartCheck]:
    """Return what holds of the marts on a connection to their file."""
    found = [check_grain(connection, mart.name, key=mart.key) for mart in MARTS if mart.key]
    measures = tuple(one.name for one in REVENUE_MEASURES)
    return found + [check_sums(connection, mart.name, measures=measures) for mart in MARTS if mart.adds_up]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _write_refresh(
    connection: duckdb.DuckDBPyConnection, plans: Mapping[str, TableFiles], *, refreshed_at: datetime
) -> None:
    snapshots = {f"{spec.view}_snapshot_id": plans[spec.view].snapshot_id for spec in TABLES}
    columns = "".join(f", {column} BIGINT" for column in snapshots)
    connection.execute(
        f"CREATE OR REPLACE TABLE {CATALOG}.main.refresh (refreshed_at TIMESTAMPTZ, watermark TIMESTAMPTZ{columns})"
    )
    values = [refreshed_at, plans[GOLD.view].watermark, *snapshots.values()]
    connection.execute(f"INSERT INTO {CATALOG}.main.refresh VALUES ({', '.join('?' for _ in values)})", values)


def _count(connection: duckdb.DuckDBPyConnection, mart: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {CATALOG}.main.{mart}").fetchone()
    assert row is not None
    return int(row[0])


def parse_mart(sql: str) -> MartDocs:
    """Split a mart's SQL file. A column is `name: meaning`; what is indented further continues the line above."""
    lines = sql.strip().splitlines()
    size = next(index for index, line in enumerate(lines) if not line.startswith("--"))
    header = [line.removeprefix("--").removeprefix(" ") for line in lines[:size]]
    split = header.index(COLUMNS_HEADING) if COLUMNS_HEADING in header else len(header)
    columns: dict[str, str] = {}
    for line in header[split + 1 :]:
        if found := re.fullmatch(r"  (\w+): (.+)", line):
            columns[found[1]] = found[2]
        else:
            columns[next(reversed(columns))] += f" {line.strip()}"
    return MartDocs("\n".join(line.strip() for line in header[:split]), columns, "\n".join(lines[size:]))
