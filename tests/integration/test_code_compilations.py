"""Code that Spark compiles for the streams' micro-batches in a steady state.

Values that differ from batch to batch must not be part of generated code: a compilation costs about 50 ms of CPU, each time.
"""

from __future__ import annotations

from pyspark.sql import SparkSession
from stream_fixtures import drain, send_events

from rtap_assets.config import Settings
from rtap_assets.streaming.queries.definitions import STREAMS

WARM_ROUNDS, STEADY_ROUNDS = 2, 3


def test_no_stream_compiles_code_for_a_batch_in_a_steady_state(spark: SparkSession, streams: Settings) -> None:
    metrics = spark.sparkContext._jvm.org.apache.spark.metrics.source.CodegenMetrics
    compiled: dict[str, list[int]] = {name: [] for name in STREAMS}
    for number in range(WARM_ROUNDS + STEADY_ROUNDS):
        send_events(streams, events=400, delayed=0, span_seconds=120, seed=number)
        for name in STREAMS:
            before = metrics.METRIC_COMPILATION_TIME().getCount()
            assert drain(spark, streams, name)[name].batches
            compiled[name].append(metrics.METRIC_COMPILATION_TIME().getCount() - before)
    steady = {name: sum(counts[WARM_ROUNDS:]) for name, counts in compiled.items()}
    assert steady == dict.fromkeys(STREAMS, 0), compiled
