"""`make bench-state`: what a batch of silver costs with a number of live ids: time, CPU, memory of the whole process tree.

For each size, silver is filled up to that many events of the last minutes, all of them remembered; then one query takes
batches of new events and copies. Its first batch finds the ids in silver, as after a start. Ends with an error when silver
is not exactly what was put in.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from bench.worker import TreeMeter
from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.queries.definitions import SILVER_STREAM
from rtap_assets.streaming.session import start_session
from rtap_assets.transforms.silver import normalise_sales_events, stamp_processing

RESULTS = Path(__file__).with_name("results")
SIZES = "300000,1000000,3000000,10000000"
FILL_ROWS = 1_000_000  # of one commit while silver is filled
SPAN_SECONDS = 300  # of event time: half the watermark's delay, so that no id is forgotten
NOON_SECONDS = 1_772_366_400
COPIES_IN_100 = 2
POLL_SECONDS = 0.05
MILLION = 1_000_000


@click.command()
@click.option("--sizes", default=SIZES, show_default=True, help="Numbers of live ids, ascending.")
@click.option("--rows", type=click.IntRange(min=100), default=50_000, show_default=True, help="Rows of a batch.")
@click.option("--batches", type=click.IntRange(min=2), default=6, show_default=True, help="Batches per size.")
@click.option("--heap", default="1g", show_default=True, help="Heap of the Spark driver.")
def state(sizes: str, rows: int, batches: int, heap: str) -> None:
    """Measure silver's batches at each number of live ids."""
    console, readings = Console(width=120), []
    with tempfile.TemporaryDirectory(prefix="rtap-bench-") as folder:
        update = {"state_dir": Path(folder) / "state", "spark_driver_memory": heap, "source_max_files_per_batch": 1}
        settings = load_settings(**update)
        session, meter = start_session(settings), TreeMeter()
        ensure_tables(session, settings.catalog_name)
        events, wanted = 0, [int(text) for text in sizes.split(",")]
        # The first size twice: Spark compiles its code while it works on the first batches.
        for number, size in enumerate([wanted[0], *wanted]):
            console.print(f"{size:,} live ids: filling silver" if number else "warming up")
            events = fill(session, settings, events, size)
            for _ in range(batches):
                events = send_batch(session, settings, events, rows)
            reading = measure(session, settings, meter, batches=batches)
            readings += [{"live_ids": size} | reading] if number else []
            held = session.table(f"{settings.catalog_name}.{SILVER.identifier}")
            found, distinct = held.agg(F.count("*"), F.count_distinct("event_id")).first() or (0, 0)
            if (found, distinct) != (events, events):
                raise click.ClickException(f"Silver holds {found:,} rows of {distinct:,} events instead of {events:,}.")
        session.stop()
    show(console, readings, rows)


def fill(session: SparkSession, settings: Settings, events: int, size: int) -> int:
    """Put new events into silver, past its stream, until it holds `size`; return how many it holds."""
    while events < size:
        until = min(events + FILL_ROWS, size)
        valid = bronze_rows(session.range(events, until, numPartitions=2), F.col("id"))
        append(settings, SILVER, stamp_processing(normalise_sales_events(valid)))
        events = until
    return max(events, size)


def send_batch(session: SparkSession, settings: Settings, events: int, rows: int) -> int:
    """Append one file of new events and copies of earlier ones to bronze; return how many events there are then."""
    new = rows * (100 - COPIES_IN_100) // 100
    ids = session.range(events, events + rows, numPartitions=1)
    number = F.when(F.col("id") < events + new, F.col("id")).otherwise(F.pmod(F.xxhash64("id"), F.lit(events)))
    append(settings, BRONZE, bronze_rows(ids, number))
    return events + new


def bronze_rows(ids: DataFrame, number: Column) -> DataFrame:
    """Return valid rows of bronze, one for each `id`, of the events with these numbers."""
    digest = F.md5(number.cast("string"))
    parts = (F.substring(digest, start, length) for start, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12)))
    columns = {
        "event_id": F.concat_ws("-", *parts),
        "event_time": F.timestamp_seconds(F.lit(NOON_SECONDS) + F.pmod(number, F.lit(SPAN_SECONDS))),
        "schema_version": F.lit(1),
        "event_type": F.lit("purchase"),
        "account_id": F.concat(F.lit("account-"), F.pmod(number, F.lit(50_000))),
        "plan_tier": F.lit("pro"),
        "region": F.lit("emea"),
        "product_id": F.lit("seat"),
        "quantity": F.lit(1),
        "amount": F.lit(10),
        "currency": F.lit("EUR"),
        "topic": F.lit("sales.events.v1"),
        "topic_epoch": F.lit(0),
        "kafka_partition": F.when(number == F.col("id"), 0).otherwise(1),
        "kafka_offset": F.col("id"),
        "kafka_timestamp": F.timestamp_seconds(F.lit(NOON_SECONDS + SPAN_SECONDS)),
        "raw_value": F.unhex(F.repeat(digest, 6)),
    }
    columns["ingest_time"] = columns["event_time"]
    return ids.select(*(columns.get(one.name, F.lit(None)).cast(one.type).alias(one.name) for one in BRONZE.columns))


def append(settings: Settings, spec: TableSpec, rows: DataFrame) -> None:
    rows.writeTo(f"{settings.catalog_name}.{spec.identifier}").append()


def measure(session: SparkSession, settings: Settings, meter: TreeMeter, *, batches: int) -> dict[str, Any]:
    """Drain silver in one query; return what its first batch and its later ones took."""
    ends: list[tuple[float, Mapping[str, Any]]] = [(meter.reading()["cpu_seconds"], {})]

    def on_batch(report: Mapping[str, Any]) -> None:
        ends.append((meter.reading()["cpu_seconds"], report))

    engine = StreamEngine(
        session, settings, streams={"silver": SILVER_STREAM}, say=lambda _: None, on_batch=on_batch, is_host=False
    )
    try:
        operation = engine.submit("silver", "drain")
        wait_for(lambda: (engine.operation(operation.id) or operation).ended)
    finally:
        engine.close(seconds=settings.stop_timeout_seconds)
    reports = [report for _, report in ends[1:]]
    if len(reports) != batches:
        raise click.ClickException(f"{len(reports)} batches were run instead of {batches}; see {settings.log_dir}.")
    seconds = [report["durationMs"]["triggerExecution"] / 1000 for report in reports]
    cpu = [after - before for (before, _), (after, _) in pairwise(ends[1:])]
    runtime = session.sparkContext._jvm.java.lang.Runtime.getRuntime()
    runtime.gc()
    (index,) = reports[-1]["stateOperators"]
    return {
        "first_batch_seconds": seconds[0],
        "batch_seconds": median(seconds[1:]),
        "batch_cpu_seconds": median(cpu),
        "index_ids": index["numRowsTotal"],
        "index_mebibytes": index["memoryUsedBytes"] / 2**20,
        "heap_mebibytes": (runtime.totalMemory() - runtime.freeMemory()) / 2**20,
        "peak_resident_mebibytes": meter.peak_bytes / 2**20,
    }


def wait_for(is_done: Callable[[], bool]) -> None:
    while not is_done():
        time.sleep(POLL_SECONDS)


def show(console: Console, readings: list[dict[str, Any]], rows: int) -> None:
    """Print one line for each number of live ids, and keep the readings as JSON."""
    table = Table(title=f"silver: batches of {rows:,} rows, {COPIES_IN_100} % copies", title_justify="left")
    headings = ("live ids", "first batch s", "batch s", "cpu-s/M", "index MiB", "heap MiB", "peak RSS MiB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for one in readings:
        table.add_row(
            f"{one['live_ids']:,}",
            *(f"{one[name]:.2f}" for name in ("first_batch_seconds", "batch_seconds")),
            f"{one['batch_cpu_seconds'] / rows * MILLION:.1f}",
            *(f"{one[name]:,.0f}" for name in ("index_mebibytes", "heap_mebibytes", "peak_resident_mebibytes")),
        )
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-state.json"
    path.write_text(json.dumps({"rows": rows, "sizes": readings}, indent=2) + "\n", encoding="utf-8")
    console.print(f"as JSON: {path}", soft_wrap=True)


if __name__ == "__main__":
    state()
