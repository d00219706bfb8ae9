"""Keeps Spark's Kafka source from failing in its metrics after a batch that a crash left over (SPARK-54027, SPARK-55271).

The source's report compares the batch with the newest offsets, which only a batch that it plans itself makes it ask for: a
batch from the log ends in a NullPointerException, once it is committed. No connector with the correction is to be had, so an
empty map takes the place of the missing one, and the next batch overwrites it. Where that comes too late, the query fails
once and is started again, as `failures.py` says.
"""

from __future__ import annotations

import time
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

SOURCE_CLASS = "KafkaMicroBatchStream"
FIELD = "latestPartitionOffsets"
# A started query makes its sources first, in a fraction of a second; its first batch takes longer.
SECONDS, POLL_SECONDS = 5.0, 0.002


def fill_missing_offsets(session: SparkSession, query: StreamingQuery) -> bool:
    """Give the query's Kafka sources newest offsets, empty ones, where they have none; returns whether any lacked them.

    Call it at once after the start of a query that begins with a batch from its log.
    """
    try:
        empty = getattr(getattr(session.sparkContext._jvm.scala.collection.immutable, "Map$"), "MODULE$").empty()
        filled = [_fill(source, empty) for source in _sources(query)]
    except Py4JError:  # another version of Spark has other insides, and may not need this
        return False
    return any(filled)


def _sources(query: StreamingQuery) -> list[Any]:
    execution = query._jsq.streamingQuery()
    deadline = time.monotonic() + SECONDS
    while query.isActive and time.monotonic() < deadline:
        sources = execution.sources()
        if sources is not None and sources.size():
            return [sources.apply(index) for index in range(sources.size())]
        time.sleep(POLL_SECONDS)
    return []


def _fill(source: Any, empty: Any) -> bool:
    if source.getClass().getSimpleName() != SOURCE_CLASS:
        return False
    field = source.getClass().getDeclaredField(FIELD)
    field.setAccessible(True)
    if field.get(source) is not None:
        return False
    field.set(source, empty)
    return True
