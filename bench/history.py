"""`make bench-history`: what each periodic step costs beside a short and beside a long history.

The short one is a day and some snapshots, the long one 30 days and a thousand. A closed day is one file a table, as after
its compaction; each snapshot adds a small file of today. PyIceberg writes both, so that days of millions of rows take
seconds: the tables are not partitioned, which no step relies on. Each step is run after a commit to every table, so that
there is something new to look at. The table shows the median CPU, since the machine may be busy with other work. Ends with
an error when a check fails, or when marts that were refreshed step by step differ from marts built from nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import process_time

import click
import duckdb
import numpy as np
import pyarrow as pa
from pyiceberg.table import Table as IcebergTable
from rich.console import Console
from rich.table import Table

from rtap_assets.config import Settings, get_settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TABLES, TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.corrections import Position, ensure_corrections, set_position
from rtap_assets.lake.history.backlog import backlog
from rtap_assets.lake.history.file_positions import file_positions
from rtap_assets.lake.history.retention import plan_expiry
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID, STAMP_WATERMARK_MS
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.record_table import TYPES, RecordTable
from rtap_assets.lake.table_metrics import table_metrics
from rtap_assets.quality.catalog import Severity
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.quality.offset_gaps import explain_gaps
from rtap_assets.serving.export import export_gold
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.serving.marts import MARTS, refresh_marts

RESULTS = Path(__file__).with_name("results")
TODAY = datetime(2026, 4, 1, tzinfo=UTC)
DAY_US, EDGES_US = 86_400_000_000, 600_000_000
EDGE = timedelta(minutes=5)  # without events at both ends of a day, so that each window is of one day
MOST_DAYS = 400
COMMIT_ROWS, COMMIT_US = 300, 3_000_000  # of each commit of today
REPEATS = 3
# As Spark merges manifests when it appends.
MERGED = {"commit.manifest-merge.enabled": "true"}
EVENTS = """
SELECT
    if(id % 200 = 0, NULL, event_id) AS event_id, came AS event_time, came AS kafka_timestamp, came AS ingest_time,
    1 AS schema_version, 'purchase' AS event_type, 'account-' || id % 5000 AS account_id,
    ['free', 'pro', 'starter'][id % 3 + 1] AS plan_tier,
    coalesce($region, ['na', 'emea', 'apac', 'latam'][id % 4 + 1]) AS region, 'seat' AS product_id, 1 AS quantity,
    10::DECIMAL(18, 4) AS amount, 10::DECIMAL(18, 4) AS net_amount, 'EUR' AS currency, 'history' AS topic, 0 AS topic_epoch,
    0 AS kafka_partition, kafka_offset, if(id % 200 = 0, 'too_short', NULL) AS error_reason,
    id % 500 AS ingest_latency_ms, id % 900 AS delivery_latency_ms, id % 7000 AS processing_latency_ms,
    false AS is_late, came + INTERVAL 1 SECOND AS processed_at
FROM arrivals
"""
WINDOWS = """
SELECT
    to_timestamp(epoch_us(event_time) // 60_000_000 * 60 - step * 60) AS window_start,
    window_start + INTERVAL 5 MINUTE AS window_end, plan_tier, region, currency,
    sum(net_amount)::DECIMAL(28, 4) AS gross_amount, 0::DECIMAL(28, 4) AS refund_amount, gross_amount AS net_amount,
    count(*) AS orders, 0 AS refunds, 0 AS revision, max(processed_at) AS updated_at
FROM events, (SELECT unnest(range(5)) AS step) WHERE error_reason IS NULL GROUP BY ALL
"""


@click.command()
@click.option("--rows", type=click.IntRange(min=1), default=1_600_000, show_default=True, help="Records of a closed day.")
@click.option("--days", default="1,30", show_default=True, help="Closed days of both histories.")
@click.option("--snapshots", default="30,1000", show_default=True, help="Snapshots of today in both histories.")
def history(rows: int, days: str, snapshots: str) -> None:
    """Lengthen the history of the three tables, and measure every step at both lengths."""
    console = Console(width=120)
    found: dict[str, list[float]] = {}
    sizes = list(zip(map(int, days.split(",")), map(int, snapshots.split(",")), strict=True))
    with tempfile.TemporaryDirectory(prefix="rtap-history-") as folder:
        settings = get_settings().model_copy(update={"state_dir": Path(folder), "topic_events": "history"})
        growth = Growth(settings, rows)
        ensure_corrections(settings)
        set_position(settings, Position("history", 0, {0: growth.first_offset}, TODAY))
        for closed, count in sizes:
            growth.lengthen(closed, count)
            held = plan_lake(settings)[BRONZE.view].rows
            console.print(f"{closed} days, {count:,} snapshots: {held:,} rows of bronze")
            for name, step in steps(settings, growth).items():
                found.setdefault(name, []).append(milliseconds(step, growth.commit))
        compare_with_whole(settings)
    show(console, sizes, found, rows)


class Growth:
    """Adds closed days and snapshots of today to the three tables."""

    def __init__(self, settings: Settings, rows: int) -> None:
        self.settings, self.rows = settings, rows
        self.first_offset = MOST_DAYS * rows  # of today; days before have those below, without a gap
        self.days = self.commits = 0
        self._connection = duckdb.connect(":memory:", config={"threads": 2})
        self._connection.execute("SET TimeZone = 'UTC'")
        with open_catalog(settings) as catalog:
            self._tables = {spec.view: RecordTable(_writable(spec), MERGED).ensure(catalog) for spec in TABLES}

    @property
    def end(self) -> int:
        """Return the next offset of the topic."""
        return self.first_offset + self.commits * COMMIT_ROWS

    @property
    def now(self) -> datetime:
        """Return the time of the newest commit."""
        return TODAY + EDGE + timedelta(microseconds=self.commits * COMMIT_US)

    def lengthen(self, days: int, commits: int) -> None:
        """Add the closed days before today, then commits of today, until there are as many."""
        while self.days < days:
            self.days += 1
            start = TODAY - timedelta(days=self.days) + EDGE
            self._append(start, DAY_US - EDGES_US, self.first_offset - self.days * self.rows, self.rows)
        while self.commits < commits:
            self.commit()

    def commit(self) -> None:
        """Append a small file of today to each table, in a snapshot as a stream stamps it."""
        self._append(self.now, COMMIT_US, self.end, COMMIT_ROWS, region=f"region-{self.commits}")
        self.commits += 1

    def _append(self, start: datetime, length_us: int, offset: int, rows: int, *, region: str | None = None) -> None:
        places, digits = np.arange(rows), os.urandom(16 * rows).hex()
        at = np.datetime64(start.replace(tzinfo=None), "us") + (places * length_us // rows).astype("timedelta64[us]")
        columns = {
            "id": places,
            "event_id": pa.array([digits[32 * place : 32 * place + 32] for place in range(rows)]),
            "kafka_offset": pa.array(offset + places),
            "came": pa.array(at, pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC")),
        }
        self._connection.register("arrivals", pa.table(columns))
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE events AS {EVENTS}", {"region": region})
        watermark_ms = str(round(self.now.timestamp() * 1_000))
        stamp = {NATIVE_QUERY_ID: "history", NATIVE_EPOCH_ID: str(self.commits), STAMP_WATERMARK_MS: watermark_ms}
        valid = "FROM events WHERE error_reason IS NULL"
        for view, query in ((BRONZE.view, "FROM events"), (SILVER.view, valid), (GOLD.view, WINDOWS)):
            table = self._tables[view]
            table.append(_as_contract(table, self._connection.sql(query).to_arrow_table()), snapshot_properties=stamp)


def _writable(spec: TableSpec) -> TableSpec:
    """Return the spec without the columns of types that PyIceberg's writer is not given here: raw bytes and headers."""
    return replace(spec, columns=tuple(column for column in spec.columns if column.type in TYPES))


def _as_contract(table: IcebergTable, rows: pa.Table) -> pa.Table:
    schema = table.schema().as_arrow()
    columns = [
        rows[one.name].cast(one.type) if one.name in rows.column_names else pa.nulls(len(rows), one.type) for one in schema
    ]
    return pa.table(columns, schema=pa.schema([pa.field(one.name, one.type) for one in schema]))


def steps(settings: Settings, growth: Growth) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""

    def loaded(spec: TableSpec) -> IcebergTable:
        with open_catalog(settings) as catalog:
            return load_table(catalog, spec.identifier)

    def positions() -> StreamPositions:
        read = {"snapshot_id": loaded(BRONZE).metadata.current_snapshot_id or 0, "position": 1}
        return StreamPositions(bronze={0: growth.end}, silver=read)

    def checks(hours: float) -> None:
        for result in run_checks(settings, positions=positions(), now=growth.now, lookback_hours=hours):
            if result.severity == Severity.ERROR and not result.passed:
                raise click.ClickException(f"{result.table_name} {result.check_name} failed: {result.detail}.")

    def from_nothing() -> None:
        settings.marts_path.unlink()
        refresh_marts(settings, refreshed_at=growth.now)

    return {
        "append a file to each table": growth.commit,
        "load a table": lambda: loaded(BRONZE),
        "lag of a stream": lambda: backlog(loaded(BRONZE), positions().silver),
        "sizes of all tables": lambda: table_metrics(settings),
        "plan an expiry": lambda: plan_expiry(loaded(BRONZE), settings, (), now=datetime.now(UTC)),
        "positions of bronze's files": lambda: file_positions(loaded(BRONZE)),
        "plan the files of all tables": lambda: plan_lake(settings),
        "refresh the marts": lambda: refresh_marts(settings, refreshed_at=growth.now),
        "publish the Parquet folder": lambda: export_gold(settings, now=growth.now),
        "look for offsets without a row": lambda: explain_gaps(settings, positions=positions()),
        "checks of the last 24 hours": lambda: checks(24),
        "on demand: marts from nothing": from_nothing,
        "on demand: checks of everything": lambda: checks(0),
    }


def milliseconds(step: Callable[[], object], before_each: Callable[[], object]) -> float:
    """Return the median CPU milliseconds of a step, each time after a commit; the first time is not counted."""
    readings = []
    for _ in range(REPEATS + 1):
        before_each()
        began = process_time()
        step()
        readings.append((process_time() - began) * 1_000)
    return median(readings[1:])


def compare_with_whole(settings: Settings) -> None:
    """Raise unless a refresh that goes on from the last file gives what one from nothing gives."""
    now = TODAY + timedelta(days=1)
    refresh_marts(settings, refreshed_at=now)
    went_on = settings.marts_path.rename(settings.marts_path.with_suffix(".went-on"))
    refresh_marts(settings, refreshed_at=now)
    with duckdb.connect(":memory:") as connection:
        for name, path in (("went_on", went_on), ("whole", settings.marts_path)):
            connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        for mart in MARTS:
            for one, other in (("went_on", "whole"), ("whole", "went_on")):
                differing = f"SELECT count(*) FROM (FROM {one}.{mart.name} EXCEPT ALL FROM {other}.{mart.name})"
                if connection.execute(differing).fetchone() != (0,):
                    raise click.ClickException(f"{mart.name} differs from the one that is built from nothing.")


def show(console: Console, sizes: list[tuple[int, int]], found: dict[str, list[float]], rows: int) -> None:
    """Print one line for each step, and keep the readings as JSON."""
    table = Table("CPU ms", title=f"{rows:,} records a day", title_justify="left")
    for heading in (*(f"{days} days, {snapshots:,} snapshots" for days, snapshots in sizes), "ratio"):
        table.add_column(heading, justify="right")
    for name, readings in found.items():
        table.add_row(name, *(f"{one:,.0f}" for one in readings), f"{readings[-1] / max(readings[0], 1):.1f}")
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-history.json"
    path.write_text(json.dumps({"rows": rows, "sizes": sizes, "cpu_ms": found}, indent=2) + "\n", encoding="utf-8")
    console.print(f"as JSON: {path}", soft_wrap=True)


if __name__ == "__main__":
    history()
