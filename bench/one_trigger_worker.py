"""Prototype: bronze, silver and gold as one query, which takes a micro-batch through all three tables.

Each table is committed by the platform's own sink, with its stamp, and skipped when the batch is repeated. Silver and gold
keep the folders of checkpoints that their queries would have, written here as Spark writes them, so that the sinks find what
they look for. `docs/decisions/12-three-queries.md` has what was measured.

The worker of `bench/one_trigger.py`, asked by one command a line on standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from bench.worker import TreeMeter, measured
from rtap_assets.config import Settings, get_settings
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID
from rtap_assets.lake.staged_files import StagedTable
from rtap_assets.runtime.files import write_text
from rtap_assets.streaming.checkpoints.files import initial_offset_file, query_id, read_batch
from rtap_assets.streaming.checkpoints.layers import open_layers
from rtap_assets.streaming.checkpoints.topic_facts import topic_epoch
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries.bronze_sink import bronze_sink
from rtap_assets.streaming.queries.definitions import BRONZE_STREAM, GOLD_STREAM, SILVER_STREAM, STREAMS, kafka_records
from rtap_assets.streaming.queries.gold_sink import gold_sink
from rtap_assets.streaming.queries.query_handle import start_stream
from rtap_assets.streaming.queries.registered_schemas import WriterMemory
from rtap_assets.streaming.queries.revenue_windows import revenue_5m
from rtap_assets.streaming.queries.silver_sink import silver_sink
from rtap_assets.streaming.session import start_session

KILL_AFTER = "BENCH_KILL_AFTER"  # <layer>:<batch>: this process kills itself once that table has the batch
MILLISECONDS, TRIGGER_SECONDS = 1_000, 0.5
Sink = Callable[[DataFrame, int], None]


@dataclass
class Layer:
    """Silver or gold as a step of the one query: the table it reads, its checkpoint, its sink.

    `newest_ms` is the newest event time of the batch that was written last; `delay_ms` how far the watermark is behind it.
    """

    name: str
    reads: TableSpec
    checkpoint: Path
    sink: Sink = field(init=False)
    delay_ms: int = 0
    newest_ms: int = 0

    def write(self, settings: Settings, batch: DataFrame, batch_id: int, upstream: str) -> None:
        """Write what the query `upstream` has just committed to the table above, unless it was written before."""
        log, done = self.checkpoint / "offsets" / str(batch_id), self.checkpoint / "commits" / str(batch_id)
        if done.exists():
            return
        if not log.exists():
            self._plan(settings, batch.sparkSession, batch_id, upstream, log)
        self.sink(batch, batch_id)
        kill_after(self.name, batch_id)
        write_text(done, "v1\n{}")

    def note(self, query: str, event_times_us: np.ndarray) -> None:
        """Keep the newest event time, by which the watermark of the next batch moves."""
        if len(event_times_us):
            self.newest_ms = max(self.newest_ms, int(event_times_us.max()) // MILLISECONDS)

    def _plan(self, settings: Settings, session: SparkSession, batch_id: int, upstream: str, log: Path) -> None:
        if query_id(self.checkpoint) is None:
            beginning = {"version": 1, "snapshot_id": -1, "position": -1, "scan_all_files": False}
            write_text(initial_offset_file(self.checkpoint), json.dumps(beginning))
            write_text(self.checkpoint / "metadata", json.dumps({"id": str(uuid4())}))
        table = StagedTable(session, f"{settings.catalog_name}.{self.reads.identifier}")
        stamp = {NATIVE_QUERY_ID: upstream, NATIVE_EPOCH_ID: str(batch_id)}
        snapshot = next(
            one for one in table.snapshots() if all(one.summary().get(key) == value for key, value in stamp.items())
        )
        end = {
            "version": 1,
            "snapshot_id": snapshot.snapshotId(),
            "position": int(snapshot.summary().get("added-data-files") or 0),
            "scan_all_files": False,
        }
        before = read_batch(self.checkpoint, batch_id - 1).watermark_ms if batch_id else 0
        batch = {
            "batchWatermarkMs": max(before, self.newest_ms - self.delay_ms),
            "batchTimestampMs": time.time_ns() // 1_000_000,
            "conf": {"spark.sql.shuffle.partitions": str(settings.spark_shuffle_partitions)},
        }
        write_text(log, f"v1\n{json.dumps(batch)}\n{json.dumps(end)}")


def kill_after(layer: str, batch_id: int) -> None:
    """End this process without a word where the measurement asks for it."""
    if os.environ.get(KILL_AFTER) == f"{layer}:{batch_id}":
        os.kill(os.getpid(), signal.SIGKILL)


def start_one_query(session: SparkSession, settings: Settings, **trigger: Any) -> StreamingQuery:
    """Start the query that fills the three tables; `trigger` is Spark's."""
    memory = WriterMemory(settings)
    memory.prime()
    checkpoint = BRONZE_STREAM.checkpoint(settings)
    bronze = bronze_sink(settings, checkpoint, memory, topic_epoch=topic_epoch(settings))
    silver = Layer("silver", BRONZE, SILVER_STREAM.checkpoint(settings), settings.watermark_delay_seconds * MILLISECONDS)
    silver.sink = silver_sink(settings, silver.checkpoint, silver.note)
    gold = Layer("gold", SILVER, GOLD_STREAM.checkpoint(settings))
    gold.sink = gold_sink(settings, gold.checkpoint, revenue_5m(settings))

    def write(batch: DataFrame, batch_id: int) -> None:
        bronze(batch, batch_id)
        kill_after("bronze", batch_id)
        for layer, above in ((silver, checkpoint), (gold, silver.checkpoint)):
            layer.write(settings, batch, batch_id, str(query_id(above)))

    writer = kafka_records(session, settings).writeStream.outputMode("append").foreachBatch(write)
    return writer.option("checkpointLocation", checkpoint.as_uri()).trigger(**trigger).start()


def work() -> None:
    """Do what standard input asks: `drain` through one query, `live one` or `live three` until the next line."""
    settings, meter = get_settings(), TreeMeter()
    start, session = measured(meter, lambda: 0, lambda: start_session(settings))
    metrics = session.sparkContext._jvm.org.apache.spark.metrics.source.CodegenMetrics

    def drain() -> int:
        query = start_one_query(session, settings, availableNow=True)
        query.awaitTermination()
        return len(query.recentProgress)

    def cost(name: str, do: Callable[[], int]) -> dict[str, Any]:
        found, batches = measured(meter, lambda: int(metrics.METRIC_COMPILATION_TIME().getCount()), do)
        return {"stream": name, "batches": batches} | found

    with open_layers(session, settings):
        print(json.dumps({"start": start}), flush=True)
        queries: list[StreamingQuery] = []
        for line in sys.stdin:
            for query in queries:
                if (error := query.exception()) is not None:
                    raise error
                query.stop()
            queries = []
            if line == "drain\n":
                readings = [cost("all three", drain), cost("dlq", lambda: drain_stream(session, settings, "dlq").batches)]
                print(json.dumps({"round": readings, "peak_mebibytes": meter.peak_bytes >> 20}), flush=True)
            elif line == "live one\n":
                queries = [start_one_query(session, settings, processingTime=f"{TRIGGER_SECONDS} seconds")]
            elif line == "live three\n":
                streams = [one for one in STREAMS.values() if one.writes is not None]
                queries = [start_stream(session, settings, one, trigger_seconds=TRIGGER_SECONDS) for one in streams]
            print(json.dumps({"cpu": meter.reading()["cpu_seconds"]}), flush=True)


if __name__ == "__main__":
    work()
