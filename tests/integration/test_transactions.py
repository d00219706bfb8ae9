"""Transactions of producers: committed, aborted, left open; what they leave in the offsets is explained, or fails."""

from __future__ import annotations

from decimal import Decimal

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import ask, check, drain, open_engine
from transactional import (
    CALL_SECONDS,
    open_with,
    purchases,
    send_aborted,
    send_committed,
    send_plainly,
    transactional_producer,
    wait_until_ended,
    writer_of,
)

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import GapKind
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.errors import StreamError
from rtap_assets.kafka.bounded_read import read_after
from rtap_assets.kafka.clients import Admin, client_config
from rtap_assets.kafka.readable_offsets import Explanation, explain_ranges
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.kafka.transactions import TransactionalProducer
from rtap_assets.quality.catalog import DqResult
from rtap_assets.quality.offset_gaps import GapReport, explain_gaps
from rtap_assets.streaming.checkpoints.files import stream_positions
from rtap_assets.streaming.model.states import Observed

COMPACTION_SECONDS = 90


def conservation(settings: Settings) -> DqResult:
    return check(settings, BRONZE, "conservation")


def look_for_gaps(settings: Settings) -> GapReport:
    return explain_gaps(settings, positions=stream_positions(settings.checkpoint_dir, topic=settings.topic_events))


def net(settings: Settings) -> Decimal | None:
    ((silver, gold),) = ask(
        settings, "SELECT (SELECT sum(net_amount) FROM silver), (SELECT sum(net_amount) / 5 FROM gold) FROM range(1)"
    )
    assert silver == gold
    return None if silver is None else Decimal(silver)


def delete_before(settings: Settings, offset: int) -> None:
    admin = Admin(settings)
    where = TopicPartition(settings.topic_events, 0, offset)
    admin.results(admin.client.delete_records, [where], what="delete records")


def test_aborted_records_reach_no_layer_an_open_transaction_is_waited_for_and_every_gap_is_explained(
    spark: SparkSession, streams: Settings
) -> None:
    writer = writer_of(streams)
    send_committed(streams, purchases(writer, 100, 5, "102"))
    send_aborted(streams, purchases(writer, 200, 7, "1000"))
    send_committed(streams, purchases(writer, 300, 1, "8"), partition=1)
    drain(spark, streams)
    assert net(streams) == Decimal("518")
    with transactional_producer(streams) as (producer, name):
        open_with(producer, streams, purchases(writer, 400, 3, "5000"))
        send_plainly(streams, purchases(writer, 500, 1, "30"))

        # The drain's target is the last stable offset: it ends although records wait behind the open transaction.
        drain(spark, streams, "bronze")
        assert ask(streams, "SELECT kafka_partition, count(*) FROM bronze GROUP BY 1 ORDER BY 1") == [(0, 5), (1, 1)]
        found = look_for_gaps(streams)
        assert found == GapReport({"aborted": 7, "control": 3})
        result = conservation(streams)
        assert result.passed
        assert result.detail == {"missing": "0", "repeated": "0", "aborted": "7", "control": "3"}
        assert look_for_gaps(streams) == GapReport()  # nothing is looked at, or counted, twice

        # A reader that is bounded ends at the same place, not at its deadline.
        messages, position = read_after(streams, streams.topic_events, after={}, limit=100)
        assert (len(messages), position) == (6, end_offsets(streams, streams.topic_events))
        with transactional_producer(streams, name=name):  # the broker aborts what the first client left open
            wait_until_ended(streams)
    drain(spark, streams)
    assert net(streams) == Decimal("548")
    assert look_for_gaps(streams) == GapReport({"aborted": 3, "control": 1})
    ((kinds, rows),) = ask(
        streams,
        "SELECT map_from_entries(list((kind, records) ORDER BY kind)), (SELECT count(*) FROM bronze) "
        "FROM (SELECT kind, sum(records)::BIGINT AS records FROM offset_gaps GROUP BY kind)",
    )
    ends = end_offsets(streams, streams.topic_events)
    assert (kinds, rows) == ({"aborted": 10, "control": 4}, 7)
    assert sum(ends.values()) == 10 + 4 + 7

    # What was explained stays so when retention takes it; what was not is missing, and the check says so.
    delete_before(streams, ends[0])
    assert conservation(streams).passed
    send_aborted(streams, purchases(writer, 600, 2, "9"))
    send_committed(streams, purchases(writer, 700, 1, "2"))
    drain(spark, streams, "bronze")
    delete_before(streams, ends[0] + 3)
    report = look_for_gaps(streams)
    assert report.recorded == {"control": 1}
    assert [
        f"offsets {ends[0]} to {ends[0] + 2} (3 records): the broker keeps nothing" in one for one in report.unexplained
    ] == [True]
    result = conservation(streams)
    assert not result.passed
    assert result.detail == {"missing": "3", "repeated": "0", "aborted": "10", "control": "5"}


def test_rows_that_bronze_has_lost_are_missing_although_transactions_left_gaps_beside_them(
    spark: SparkSession, streams: Settings
) -> None:
    writer = writer_of(streams)
    for nth in range(3):
        send_committed(streams, purchases(writer, 100 * nth, 2, "1"))
    drain(spark, streams, "bronze")
    spark.sql(f"DELETE FROM {streams.catalog_name}.{BRONZE.identifier} WHERE kafka_offset IN (3, 4)").collect()
    report = look_for_gaps(streams)
    assert report.recorded == {"control": 3}
    assert [one.split(": ")[-1] for one in report.unexplained] == ["the broker hands these records to every consumer"]
    assert conservation(streams).detail == {"missing": "2", "repeated": "0", "control": "3"}
    assert not conservation(streams).passed


def test_a_transaction_that_hangs_is_seen_as_waiting_with_its_producer_until_it_ends(
    spark: SparkSession, streams: Settings
) -> None:
    quick = {"lag_probe_seconds": 0.2, "open_transaction_alert_seconds": 1, "trigger_bronze_seconds": 0.2}
    settings, writer = streams.model_copy(update=quick), writer_of(streams)
    said: list[str] = []
    with open_engine(spark, settings, say=said.append) as engine:

        def bronze() -> object:
            return next(one for one in engine.statuses() if one.name == "bronze")

        engine.submit("bronze", "start")
        wait_until(lambda: bronze().observed is Observed.RUNNING, seconds=60, what="bronze runs")  # type: ignore[attr-defined]
        with transactional_producer(settings) as (producer, name):
            open_with(producer, settings, purchases(writer, 1, 3, "1"), partition=2)
            wait_until(
                lambda: bronze().observed is Observed.WAITING,  # type: ignore[attr-defined]
                seconds=30,
                what=lambda: f"bronze waits for the transaction; {said}",
            )
            status = next(one for one in engine.statuses() if one.name == "bronze")
            assert (status.waiting_for, status.lag_records) == ("an open transaction", 0)
            assert status.last_error is not None
            assert status.since == status.last_error.at
            assert status.last_error.code == "open_transaction"
            assert f"Kafka partition 2 of {settings.topic_events} has an open" in status.last_error.message
            assert "offset 0 and 2 behind it wait for it. Producer " in status.last_error.message
            assert f", epoch 0, transactional id {name}." in status.last_error.message
            producer.commit_transaction(CALL_SECONDS)
        wait_until(
            lambda: bronze().observed is Observed.RUNNING and bronze().last_error is None,  # type: ignore[attr-defined]
            seconds=30,
            what="bronze goes on by itself",
        )
        wait_until(lambda: ask(settings, "SELECT count(*) FROM bronze") == [(3,)], seconds=30, what="its records are there")


def test_compacted_offsets_are_told_apart_from_records_that_were_lost(settings: Settings) -> None:
    topic = f"{settings.topic_events}.compacted"
    admin = Admin(settings)
    eager = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "min.compaction.lag.ms": "0",
        "delete.retention.ms": "100",
    }
    admin.results(admin.client.create_topics, [NewTopic(topic, 1, 1, config=eager)], what="create a topic")
    producer = Producer(client_config(settings))

    def send_again() -> list[int | None]:
        producer.produce(topic, b"value", b"key", 0)
        assert producer.flush(CALL_SECONDS) == 0
        messages, _ = read_after(settings, topic, after={}, limit=1_000)
        return [message.offset() for message in messages]

    kept: list[int | None] = []
    found: list[Explanation] = []

    def is_compacted() -> bool:
        """Whether the oldest record is gone, and the newest not compacted away before the broker was asked."""
        kept[:] = send_again()
        found[:] = explain_ranges(settings, topic, {0: [(0, kept[0])]}) if kept[0] else []
        return len(found) == 2

    wait_until(is_compacted, seconds=COMPACTION_SECONDS, what="the broker compacts the topic")
    compacted, present = found
    assert (compacted.first_offset, compacted.last_offset, compacted.kind) == (0, (kept[0] or 0) - 1, GapKind.COMPACTED)
    assert (present.first_offset, present.kind) == (kept[0], None)
    (beyond,) = explain_ranges(settings, topic, {0: [(10_000, 10_001)]})
    assert (beyond.kind, "the partition ends at offset" in beyond.why) == (None, True)
    admin.results(admin.client.delete_topics, [topic], what="delete the topic")


def test_our_transactional_producer_commits_its_records_or_nothing(settings: Settings) -> None:
    topic, name = settings.topic_dlq, f"redrive-{settings.topic_dlq}"

    def visible() -> list[bytes | None]:
        return sorted(message.value() or b"" for message in read_after(settings, topic, after={}, limit=100)[0])

    def abort(producer: TransactionalProducer) -> None:
        with producer.transaction():
            producer.produce(topic, b"never")
            raise ZeroDivisionError

    def be_overtaken(producer: TransactionalProducer) -> None:
        with producer.transaction():
            producer.produce(topic, b"never either")
            with TransactionalProducer(settings, name) as second, second.transaction():
                second.produce(topic, b"two")

    with TransactionalProducer(settings, name) as first:
        with first.transaction() as open_:
            open_.produce(topic, b"one", key=b"k", headers=[("n", b"1")])
        with pytest.raises(ZeroDivisionError):
            abort(first)
        assert visible() == [b"one"]
        # A second producer of the same id takes over: what the first one has open never becomes visible.
        with pytest.raises(StreamError, match=f"taken over the transactional id {name}"):
            be_overtaken(first)
    assert visible() == [b"one", b"two"]
