"""Gold killed between publishing and merging, and between merging and Spark's commit: nothing lost, nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from stream_fixtures import ask, assert_newest_messages_are_gold, drain, received, send_events, snapshots

from rtap_assets.config import Settings
from rtap_assets.streaming.checkpoints.files import has_unfinished_batch, newest_committed
from rtap_assets.streaming.queries.definitions import GOLD_STREAM
from rtap_assets.streaming.queries.gold_sink import gold_sink
from rtap_assets.streaming.queries.query_handle import start_stream
from rtap_assets.streaming.queries.revenue_windows import revenue_5m

Sink = Callable[[DataFrame, int], None]
KILLED = "killed here"


def run_until_killed(session: SparkSession, settings: Settings, sink: Sink) -> None:
    """Run gold with this sink in place of its own, up to the error that stands for the kill."""
    doomed = replace(GOLD_STREAM, writer=lambda session, settings: GOLD_STREAM.writer(session, settings).foreachBatch(sink))
    query = start_stream(session, settings, doomed, trigger_seconds=0)
    with pytest.raises(StreamingQueryException, match=KILLED):
        query.awaitTermination(120)
    assert has_unfinished_batch(GOLD_STREAM.checkpoint(settings))


def gold(settings: Settings) -> list[tuple[Any, ...]]:
    return ask(settings, "SELECT * FROM gold ORDER BY window_start, plan_tier, region, currency")


def test_gold_loses_neither_message_nor_row_and_a_replayed_batch_changes_nothing(
    spark: SparkSession, streams: Settings
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError(KILLED)

    def after_publishing(batch: DataFrame, batch_id: int) -> None:
        gold_sink(streams, GOLD_STREAM.checkpoint(streams), revenue_5m(streams), upsert=dies)(batch, batch_id)

    def after_merging(batch: DataFrame, batch_id: int) -> None:
        gold_sink(streams, GOLD_STREAM.checkpoint(streams), revenue_5m(streams))(batch, batch_id)
        raise RuntimeError(KILLED)

    send_events(streams, events=600, invalid=0, delayed=0, span_seconds=900)
    drain(spark, streams)
    send_events(streams, events=600, invalid=0, delayed=0, span_seconds=900, seed=2)
    drain(spark, streams, "bronze", "silver")
    rows, merged, committed = gold(streams), snapshots(streams)["gold"], newest_committed(GOLD_STREAM.checkpoint(streams))
    messages = len(received(streams, streams.topic_revenue))

    run_until_killed(spark, streams, after_publishing)
    assert (gold(streams), snapshots(streams)["gold"]) == (rows, merged)
    published = len(received(streams, streams.topic_revenue)) - messages
    assert published > 0

    run_until_killed(spark, streams, after_merging)
    rows_after, merged_after = gold(streams), snapshots(streams)["gold"]
    assert rows_after != rows
    assert len(merged_after) == len(merged) + 1

    report = drain(spark, streams, "gold")["gold"]
    assert (report.batches, committed) == (1, newest_committed(GOLD_STREAM.checkpoint(streams)) - 1)
    assert (gold(streams), snapshots(streams)["gold"]) == (rows_after, merged_after)
    assert {row[-2] for row in rows_after} == {0}  # revision: a replay is no restatement
    assert len(received(streams, streams.topic_revenue)) == messages + 2 * published  # a merged batch is not published again
    assert_newest_messages_are_gold(streams)
    summed = "SELECT sum(orders + refunds) FROM gold WHERE epoch_us(window_start) % 300000000 = 0"
    assert ask(streams, summed) == ask(streams, "SELECT count(*) FROM silver")
