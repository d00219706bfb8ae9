"""`python -m bench.history`: what commits, planning and refreshes cost in a table of 10, 100 and 1,000 snapshots.

The history is made from 30 files, one for each day, of which every commit appends hard links: real snapshots, manifests and
rows, at the price of metadata. Each step is run three times; the table shows the median CPU of the process tree, since the
machine may be busy with other work.
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
from typing import Any

import click
import psutil
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console
from rich.table import Table

from rtap_assets.config import Settings, get_settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TABLES, TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.backlog import backlog
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID, STAMP_EPOCH_ID, STAMP_QUERY_ID
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.maintenance import writable_table
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.serving.lake_files import plan_lake
from rtap_assets.serving.marts import refresh_marts
from rtap_assets.streaming.queries.gold_sink import subtract_rows
from rtap_assets.streaming.queries.revenue_windows import revenue_5m
from rtap_assets.streaming.session import start_session

DAYS = 30
FIRST_DAY = datetime(2026, 3, 1, tzinfo=UTC)
REPEATS = 3
NATIVE, STAMP = (NATIVE_QUERY_ID, NATIVE_EPOCH_ID), (STAMP_QUERY_ID, STAMP_EPOCH_ID)
# Values of the columns that keys, sums and partitions are made of; the others are null.
VALUES = {
    "event_id": "concat(id, '-', {day})",
    "event_time": "timestamp_seconds({seconds} + id % 300)",
    "kafka_timestamp": "timestamp_seconds({seconds} + id % 300)",
    "event_type": "'purchase'",
    "net_amount": "CAST(1 AS DECIMAL(18,4))",
    "topic": "'history'",
    "topic_epoch": "0",
    "kafka_partition": "0",
    "kafka_offset": "{day} * 10000000 + id",
    "window_start": "timestamp_seconds({seconds} + 60 * CAST(id AS INT))",
    "window_end": "timestamp_seconds({seconds} + 300 + 60 * CAST(id AS INT))",
    "plan_tier": "'pro'",
    "region": "'emea'",
    "currency": "'EUR'",
    "orders": "CAST(1 AS BIGINT)",
    "revision": "0",
}


@click.command()
@click.option("--rows", type=click.IntRange(min=1, max=1_440), default=1_000, show_default=True, help="Rows of each file.")
@click.option("--snapshots", default="10,100,1000", show_default=True, help="Snapshots of each table, ascending.")
def history(rows: int, snapshots: str) -> None:
    """Lengthen the history of the three tables step by step, and measure at each."""
    sizes = [int(size) for size in snapshots.split(",")]
    with tempfile.TemporaryDirectory(prefix="rtap-history-") as folder:
        settings = get_settings().model_copy(update={"state_dir": Path(folder)})
        session = start_session(settings)
        ensure_tables(session, settings.catalog_name)
        templates = {spec.view: _templates(session, settings, spec, rows=rows) for spec in TABLES}
        found: dict[str, dict[int, float]] = {}
        for size in sizes:
            for spec in TABLES:
                _lengthen(session, settings, spec, templates[spec.view], size)
            for name, step in _steps(session, settings, templates).items():
                found.setdefault(name, {})[size] = _milliseconds(step)
        session.stop()
    table = Table("cpu ms", *(f"{size:,} snapshots" for size in sizes), title_justify="left")
    for name, readings in found.items():
        table.add_row(name, *(f"{readings[size]:,.0f}" for size in sizes))
    Console(width=120).print(table)
    click.echo(json.dumps({"rows_per_file": rows, "cpu_ms": found}, indent=2))


def _frame(session: SparkSession, spec: TableSpec, day: int, rows: int) -> DataFrame:
    """Return the rows of one day: event times in five minutes at noon for events, one window a minute for gold."""
    seconds = int((FIRST_DAY + timedelta(days=day)).timestamp()) + (0 if spec is GOLD else 12 * 3_600)
    columns = [
        f"CAST({VALUES.get(column.name, 'NULL').format(day=day, seconds=seconds)} AS {column.type}) AS {column.name}"
        for column in spec.columns
    ]
    return session.range(rows).selectExpr(*columns).coalesce(1)


def _templates(session: SparkSession, settings: Settings, spec: TableSpec, *, rows: int) -> list[Any]:
    """Return one data file for each day, which the table holds no longer."""
    name = f"{settings.catalog_name}.{spec.identifier}"
    for day in range(DAYS):
        _frame(session, spec, day, rows).writeTo(name).append()
    table = writable_table(session, settings, spec)
    tasks, files = table.newScan().includeColumnStats().planFiles().iterator(), []
    while tasks.hasNext():
        files.append(tasks.next().file())
    delete = table.newDelete().set("rtap.fixture", "1")
    for file in files:
        delete.deleteFile(file)
    delete.commit()
    long_after = int(datetime.now(UTC).timestamp() * 1_000) + 60_000
    table.expireSnapshots().expireOlderThan(long_after).retainLast(1).cleanExpiredFiles(False).commit()
    return files


def _lengthen(session: SparkSession, settings: Settings, spec: TableSpec, files: list[Any], size: int) -> None:
    """Append until the table has that many snapshots, one link to a day's file each."""
    table = writable_table(session, settings, spec)
    for number in range(_count(table.snapshots()), size):
        _append(session, table, spec, files[number % DAYS], number)


def _append(session: SparkSession, table: Any, spec: TableSpec, file: Any, number: int) -> None:
    source = file.location().removeprefix("file:")
    link = f"{source.removesuffix('.parquet')}-{number}.parquet"
    os.link(source, link)
    copied = session.sparkContext._jvm.org.apache.iceberg.DataFiles.builder(table.spec()).copy(file)
    query, epoch = STAMP if spec is GOLD else NATIVE
    append = table.newAppend().appendFile(copied.withPath("file:" + link).build())
    append.set(query, "history").set(epoch, str(number)).commit()


def _count(iterable: Any) -> int:
    iterator, count = iterable.iterator(), 0
    while iterator.hasNext():
        iterator.next()
        count += 1
    return count


def _steps(session: SparkSession, settings: Settings, templates: dict[str, list[Any]]) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name. The commits add the few snapshots of their repeats."""
    now = FIRST_DAY + timedelta(days=DAYS)
    windows = replace(revenue_5m(settings), topic=None)
    numbers = iter(range(1_000_000, 2_000_000))

    def commit() -> None:
        _append(session, writable_table(session, settings, BRONZE), BRONZE, templates[BRONZE.view][-1], next(numbers))

    def gold() -> None:
        gone = _frame(session, SILVER, DAYS, 100)  # a day that is not in the tables
        subtract_rows(session, settings, windows, gone, correction_id=f"bench-{next(numbers)}", cause="bench")

    def loaded(spec: TableSpec) -> Any:
        with open_catalog(settings) as catalog:
            return load_table(catalog, spec.identifier)

    def lag() -> None:
        table = loaded(BRONZE)
        backlog(table, {"snapshot_id": table.metadata.current_snapshot_id, "position": 1})

    def quality() -> None:
        table = loaded(BRONZE)
        position = {"snapshot_id": table.metadata.current_snapshot_id, "position": 1}
        run_checks(settings, positions=StreamPositions(silver=position), now=now, lookback_hours=24)

    return {
        "load bronze in Spark": lambda: writable_table(session, settings, BRONZE),
        "append and commit a file to bronze": commit,
        "change some windows of gold": gold,
        "load bronze in PyIceberg": lambda: loaded(BRONZE),
        "lag of a stream that reads bronze": lag,
        "plan the files of all tables": lambda: plan_lake(settings),
        "marts refresh": lambda: refresh_marts(settings, refreshed_at=now),
        "quality pass": quality,
    }


def _milliseconds(step: Callable[[], object]) -> float:
    step()  # warm
    readings = []
    for _ in range(REPEATS):
        before = _cpu_seconds()
        step()
        readings.append((_cpu_seconds() - before) * 1_000)
    return median(readings)


def _cpu_seconds() -> float:
    me = psutil.Process()
    return float(sum(sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True))))


if __name__ == "__main__":
    history()
