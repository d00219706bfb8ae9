"""`python -m bench.commits`: many small commits to bronze, with and without expiry, and what a day of them comes to.

Prints, per mode, the median commit time at the start and at the end, snapshots, manifests and bytes of metadata, as a table
and as JSON. Both modes run in one session, one after the other on a lake each.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import click
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console
from rich.table import Table

from rtap_assets.config import Settings, get_settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog, spark_catalog_conf
from rtap_assets.lake.history.retention import plan_expiry
from rtap_assets.lake.maintenance import expire_snapshots
from rtap_assets.lake.table_metrics import table_metrics
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.streaming.session import start_session

SECONDS_A_DAY = 86_400
EDGE = 20  # commits at the start and at the end whose median is shown


@dataclass(frozen=True)
class Reading:
    """One mode: medians of the first and last commits, expiry's total, and the bookkeeping at the end."""

    mode: str
    commits: int
    first_commit_ms: float
    last_commit_ms: float
    expiries: int
    expiry_ms: float
    snapshots: int
    manifests: int
    metadata_bytes: int


@click.command()
@click.option("--commits", type=click.IntRange(min=2 * EDGE), default=600, show_default=True, help="Commits in each mode.")
@click.option("--keep", type=click.IntRange(min=1), default=100, show_default=True, help="Snapshots that expiry keeps.")
@click.option("--every", type=click.IntRange(min=1), default=50, show_default=True, help="Commits between expiries.")
def bench(commits: int, keep: int, every: int) -> None:
    """Append one row COMMITS times, without and with expiry, and reckon what a commit a second comes to in a day."""
    readings = []
    with tempfile.TemporaryDirectory(prefix="rtap-commits-") as folder:
        settings = get_settings().model_copy(
            update={"state_dir": Path(folder), "snapshot_retention_seconds": 0.0, "snapshots_to_keep": keep}
        )
        session = start_session(settings)
        for mode, interval in (("without expiry", 0), ("with expiry", every)):
            own = settings.model_copy(update={"catalog_name": mode.replace(" ", "_"), "state_dir": Path(folder) / mode[:4]})
            readings.append(_measure(session, own, mode=mode, commits=commits, every=interval))
        session.stop()
    result = {"readings": [asdict(reading) for reading in readings], "a_commit_a_second_for_a_day": reckoned(*readings)}
    _show(readings)
    click.echo(json.dumps(result, indent=2))


def reckoned(without: Reading, bounded: Reading) -> dict[str, float]:
    """A day at a commit a second: what the metadata file would be, and how much would be written to rewrite it each time."""
    bytes_each = without.metadata_bytes / without.snapshots
    return {
        "metadata_bytes_per_snapshot": round(bytes_each),
        "without_expiry_snapshots": SECONDS_A_DAY,
        "without_expiry_metadata_bytes": round(bytes_each * SECONDS_A_DAY),
        "without_expiry_metadata_bytes_written": round(bytes_each * SECONDS_A_DAY * (SECONDS_A_DAY + 1) / 2),
        # The default settings: kept for 15 minutes, and expired a hundred at a time, looked at every 5 minutes.
        "with_expiry_snapshots_at_most": 900 + 300 + 100,
        "with_expiry_metadata_bytes_at_most": round(bytes_each * 1_300),
        "with_expiry_metadata_bytes_written": round(bytes_each * 1_300 * SECONDS_A_DAY),
        "expiry_ms_per_commit": round(bounded.expiry_ms / bounded.commits, 2),
    }


def _measure(session: SparkSession, settings: Settings, *, mode: str, commits: int, every: int) -> Reading:
    settings.lake_dir.mkdir(parents=True)
    for key, value in spark_catalog_conf(settings).items():
        session.conf.set(key, value)
    ensure_tables(session, settings.catalog_name)
    name = f"{settings.catalog_name}.{BRONZE.identifier}"
    row = _one_row(session, name)
    seconds, expiring, expiries = [], 0.0, 0
    for number in range(1, commits + 1):
        started = time.monotonic()
        row.writeTo(name).append()
        seconds.append(time.monotonic() - started)
        if every and number % every == 0:
            started = time.monotonic()
            _expire(session, settings)
            expiring, expiries = expiring + time.monotonic() - started, expiries + 1
    (metrics,) = table_metrics(settings, (BRONZE,))
    return Reading(
        mode=mode,
        commits=commits,
        first_commit_ms=round(median(seconds[EDGE : 2 * EDGE]) * 1000, 1),  # the very first ones are the JVM's warm-up
        last_commit_ms=round(median(seconds[-EDGE:]) * 1000, 1),
        expiries=expiries,
        expiry_ms=round(expiring * 1000, 1),
        snapshots=metrics.snapshots,
        manifests=metrics.manifests,
        metadata_bytes=metrics.metadata_bytes,
    )


def _one_row(session: SparkSession, name: str) -> DataFrame:
    empty = session.table(name).schema
    columns = ", ".join(
        f"CAST(NULL AS {column.dataType.simpleString()}) AS {column.name}"
        if column.name != "kafka_timestamp"
        else "TIMESTAMP '2026-03-01 12:00:00' AS kafka_timestamp"
        for column in empty
    )
    return session.sql(f"SELECT {columns}").coalesce(1)


def _expire(session: SparkSession, settings: Settings) -> None:
    with open_catalog(settings) as catalog:
        plan = plan_expiry(
            load_table(catalog, BRONZE.identifier), settings, (), now=datetime.now(UTC) + timedelta(seconds=1)
        )
    expire_snapshots(session, settings, BRONZE, plan)


def _show(readings: list[Reading]) -> None:
    table = Table("mode", title=f"{readings[0].commits:,} commits of one row to bronze", title_justify="left")
    for heading in (
        "first commits ms",
        "last commits ms",
        "expiries",
        "each ms",
        "snapshots",
        "manifests",
        "metadata bytes",
    ):
        table.add_column(heading, justify="right")
    for one in readings:
        each = one.expiry_ms / one.expiries if one.expiries else 0.0
        table.add_row(
            one.mode,
            f"{one.first_commit_ms:.0f}",
            f"{one.last_commit_ms:.0f}",
            f"{one.expiries}",
            f"{each:.0f}",
            f"{one.snapshots:,}",
            f"{one.manifests:,}",
            f"{one.metadata_bytes:,}",
        )
    Console().print(table)


if __name__ == "__main__":
    bench()
