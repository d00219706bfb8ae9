"""Code that Spark compiles for the streams' micro-batches in a steady state.

Values that differ from batch to batch must not be part of generated code: a compilation costs about 50 ms of CPU, each time.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession
from stream_fixtures import drain, send_events

from rtap_assets.config import Settings
from rtap_assets.contracts.rules import Reason
from rtap_assets.streaming.queries.definitions import STREAMS

# Batches with copies, or with ids that no registry knows, are planned in another way, and so is the first batch of a stream:
# a warm stream has seen all of them.
PLAIN: dict[str, Any] = {"duplicates": 0.0, "invalid": 0.0}
ODD = {"duplicates": 0.1, "invalid": 0.2, "reasons": (Reason.UNKNOWN_SCHEMA_ID, Reason.UNKNOWN_REGION)}
WARM, STEADY = (ODD, PLAIN, ODD), (PLAIN, ODD)


def test_no_stream_compiles_code_for_a_batch_in_a_steady_state(spark: SparkSession, streams: Settings) -> None:
    metrics = spark.sparkContext._jvm.org.apache.spark.metrics.source.CodegenMetrics
    compiled: dict[str, list[int]] = {name: [] for name in STREAMS}
    for number, kind in enumerate((*WARM, *STEADY)):
        send_events(streams, events=400, delayed=0, span_seconds=120, seed=number, **kind)
        for name in STREAMS:
            before = metrics.METRIC_COMPILATION_TIME().getCount()
            assert drain(spark, streams, name)[name].batches
            compiled[name].append(metrics.METRIC_COMPILATION_TIME().getCount() - before)
    steady = {name: sum(counts[len(WARM) :]) for name, counts in compiled.items()}
    assert steady == dict.fromkeys(STREAMS, 0), compiled
