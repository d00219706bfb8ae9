"""A topic that was made again, truncated or cut short is refused by name; the guided way on counts every record exactly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from commands import run_rtap
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, ResourceType
from event_bytes import Record
from polling import wait_until
from pyspark.sql import SparkSession
from remade_topic import make_again
from stream_fixtures import ask, check, drain, open_engine
from transactional import purchases, send_plainly, writer_of

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import BRONZE_SPEC
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.errors import StreamError
from rtap_assets.kafka.clients import Admin
from rtap_assets.kafka.topics import topic_identity
from rtap_assets.quality.catalog import DqResult
from rtap_assets.quality.offset_gaps import explain_gaps
from rtap_assets.streaming.checkpoints.files import stream_positions
from rtap_assets.streaming.checkpoints.topic_binding import read_binding, write_binding
from rtap_assets.streaming.checkpoints.topic_continuation import continue_with, plan_continuation, steps_of
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.model.states import Observed, StreamStatus

PROOF_SECONDS = 60


def conservation(settings: Settings) -> DqResult:
    explain_gaps(settings, positions=stream_positions(settings.checkpoint_dir, topic=settings.topic_events))
    return check(settings, BRONZE, "conservation")


def delete_before(settings: Settings, partition: int, offset: int) -> None:
    admin = Admin(settings)
    where = TopicPartition(settings.topic_events, partition, offset)
    admin.results(admin.client.delete_records, [where], what="delete records")


def numbers(settings: Settings) -> list[tuple[int, int, int]]:
    """Epoch, rows and events of bronze, by epoch."""
    return ask(
        settings,
        "SELECT topic_epoch, count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM bronze GROUP BY 1 ORDER BY 1",
    )


def status_of(engine: StreamEngine, name: str = "bronze") -> StreamStatus:
    return next(one for one in engine.statuses() if one.name == name)


def test_a_topic_made_again_before_bronze_reads_is_refused_and_goes_on_as_a_new_epoch(
    spark: SparkSession, streams: Settings
) -> None:
    writer = writer_of(streams)
    send_plainly(streams, purchases(writer, 0, 50, "1"))
    drain(spark, streams)
    old = topic_identity(streams, streams.topic_events).topic_id
    make_again(streams, streams.topic_events)
    new = topic_identity(streams, streams.topic_events).topic_id
    send_plainly(streams, purchases(writer, 1_000, 80, "2"))
    with pytest.raises(StreamError, match=rf"was created again under its name \(id {old} -> {new}, noticed at 20") as caught:
        drain(spark, streams)
    assert "Bronze has read the old one (Kafka partition 0 to offset 50" in caught.value.message
    assert numbers(streams) == [(0, 50, 50)]

    # Only what was agreed to is done, and nothing before --yes.
    with pytest.raises(StreamError, match="was created again"):
        plan_continuation(streams, BRONZE_SPEC, accept_loss=True, new_topic=False)
    plan = plan_continuation(streams, BRONZE_SPEC, accept_loss=False, new_topic=True)
    assert (plan.new_epoch, dict(plan.starting_offsets), plan.lost_records) == (1, {0: 0, 1: 0, 2: 0}, 0)
    with pytest.raises(StreamError, match="was created again"):
        drain(spark, streams, "bronze")

    # Killed after each of its steps, the command is finished by its repetition; bronze does not start meanwhile.
    for killed_after in range(1, len(steps_of(streams, plan))):
        for _, step in steps_of(streams, plan)[:killed_after]:
            step()
        with pytest.raises(StreamError, match="was begun and not finished"):
            drain(spark, streams, "bronze")
        assert plan_continuation(streams, BRONZE_SPEC, accept_loss=False, new_topic=False) == plan
    continue_with(streams, plan)
    binding = read_binding(streams.checkpoint_dir / "bronze")
    assert binding is not None
    assert (binding.topic_id, binding.topic_epoch, len(binding.closed)) == (new, 1, 1)

    reports = drain(spark, streams)
    assert reports["bronze"].input_rows == reports["silver"].input_rows == 80
    assert numbers(streams) == [(0, 50, 50), (1, 80, 80)]
    assert ask(streams, "SELECT topic_epoch, count(*), sum(net_amount)::INT FROM silver GROUP BY 1 ORDER BY 1") == [
        (0, 50, 50),
        (1, 80, 160),
    ]
    assert conservation(streams).passed
    with pytest.raises(StreamError, match="Nothing has to be continued"):
        plan_continuation(streams, BRONZE_SPEC, accept_loss=True, new_topic=True)

    # Nothing but the recorded continuation is accepted in place of a checkpoint.
    shutil.rmtree(streams.checkpoint_dir / "bronze")
    with pytest.raises(StreamError, match=r"The checkpoint of bronze is missing: bronze\.sales_events has batch 0"):
        drain(spark, streams, "bronze")


def test_records_gone_before_they_were_read_are_named_and_recorded_as_lost(spark: SparkSession, streams: Settings) -> None:
    writer = writer_of(streams)
    send_plainly(streams, purchases(writer, 0, 1, "1"))
    drain(spark, streams)
    send_plainly(streams, purchases(writer, 1, 2, "1"))
    send_plainly(streams, purchases(writer, 10, 3, "5"), partition=1)
    delete_before(streams, 0, 2)
    with pytest.raises(StreamError) as caught:
        drain(spark, streams, "bronze")
    assert caught.value.message == (
        f"bronze cannot be drained: Records of {streams.topic_events} are gone before bronze has read them: "
        "Kafka partition 0, offsets 1 to 1 (1); 1 offsets in all. Retention or a deletion took them."
    )
    assert "--accept-loss" in caught.value.remedy
    with pytest.raises(StreamError, match="are gone before bronze has read them"):
        plan_continuation(streams, BRONZE_SPEC, accept_loss=False, new_topic=True)
    plan = plan_continuation(streams, BRONZE_SPEC, accept_loss=True, new_topic=False)
    assert (dict(plan.lost), dict(plan.starting_offsets), plan.new_epoch) == ({0: (1, 1)}, {0: 2, 1: 0, 2: 0}, 0)

    # The same by the command: it says what it would do, and does it when told to.
    code, said = run_rtap(streams, "topics", "status")
    assert (code, "are gone before bronze has read them" in said, "bound to id" in said) == (1, True, True)
    code, said = run_rtap(streams, "topics", "continue", "--accept-loss")
    assert code == 0
    assert "- Kafka partition 0, offsets 1 to 1 (1) are written to quality.offset_gaps as lost." in said
    assert "Nothing was changed." in said
    assert (
        plan_continuation(streams, BRONZE_SPEC, accept_loss=True, new_topic=False).starting_offsets == plan.starting_offsets
    )
    code, said = run_rtap(streams, "topics", "continue", "--accept-loss", "--yes")
    assert (code, "1 offsets are recorded as lost" in said) == (0, True), said
    assert conservation(streams).detail == {"missing": "0", "repeated": "0", "lost": "1"}
    drain(spark, streams)
    result = conservation(streams)
    assert (result.passed, result.detail) == (True, {"missing": "0", "repeated": "0", "lost": "1"})
    assert numbers(streams) == [(0, 5, 5)]
    assert ask(streams, "SELECT count(*), sum(net_amount)::INT FROM silver") == [(5, 17)]
    assert ask(streams, "SELECT kafka_partition, first_offset, last_offset, records, kind FROM offset_gaps") == [
        (0, 1, 1, 1, "lost")
    ]

    # All that is left may be nothing: the drain ends all the same, and what comes later is read.
    send_plainly(streams, purchases(writer, 20, 2, "1"), partition=2)
    delete_before(streams, 2, 2)
    continue_with(streams, plan_continuation(streams, BRONZE_SPEC, accept_loss=True, new_topic=False))
    assert drain(spark, streams, "bronze")["bronze"].input_rows == 0
    send_plainly(streams, purchases(writer, 30, 1, "1"), partition=2)
    drain(spark, streams)
    assert conservation(streams).detail == {"missing": "0", "repeated": "0", "lost": "1"}
    assert numbers(streams) == [(0, 6, 6)]


@pytest.mark.parametrize("probe_seconds, records", [(0.2, 0), (3_600, 80)], ids=["by the probe", "by the next batch"])
def test_a_running_bronze_is_refused_when_its_topic_is_made_again_and_reads_added_partitions(
    spark: SparkSession, streams: Settings, probe_seconds: float, records: int
) -> None:
    quick = {"lag_probe_seconds": probe_seconds, "trigger_bronze_seconds": 0.2}
    settings, writer = streams.model_copy(update=quick), writer_of(streams)
    send_plainly(settings, purchases(writer, 0, 5, "1"))
    with open_engine(spark, settings, clean=False) as engine:
        engine.submit("bronze", "start")
        wait_until(lambda: rows(settings) == 5, seconds=PROOF_SECONDS, what="the first records")
        admin = Admin(settings)
        admin.results(admin.client.create_partitions, [NewPartitions(settings.topic_events, 6)], what="add Kafka partitions")
        wait_until(
            lambda: len(topic_identity(settings, settings.topic_events).partitions) == 6,
            seconds=PROOF_SECONDS,
            what="the new partitions",
        )
        send_plainly(settings, purchases(writer, 100, 4, "1"), partition=5)
        wait_until(lambda: rows(settings) == 9, seconds=PROOF_SECONDS, what="the records of the added partitions")
        assert conservation(settings).passed

        make_again(settings, settings.topic_events)
        send_plainly(settings, purchases(writer, 200, records, "1"))
        wait_until(lambda: status_of(engine).observed is Observed.REFUSED, seconds=PROOF_SECONDS, what="bronze is refused")
        status = status_of(engine)
        assert status.last_error is not None
        assert "was created again under its name (id " in status.last_error.message
        assert status.lag_records is None
    assert rows(settings) == 9


def rows(settings: Settings) -> int:
    return int(ask(settings, "SELECT count(*) FROM bronze")[0][0])


def test_a_log_that_was_replaced_or_truncated_and_timestamps_of_producers_are_refused(
    spark: SparkSession, streams: Settings
) -> None:
    writer = writer_of(streams)
    send_plainly(streams, purchases(writer, 0, 4, "1"))
    drain(spark, streams, "bronze")
    for record_count, message in (
        (6, r"was replaced: at offset 3 of Kafka partition 0 it has a record of"),
        (2, "ends before"),
    ):
        make_again(streams, streams.topic_events)
        forget_id(streams)  # as on a broker that gives topics no ids
        send_plainly(streams, list(fresh(writer, record_count)))
        with pytest.raises(StreamError, match=message):
            drain(spark, streams, "bronze")
    assert rows(streams) == 4

    set_timestamps(streams, "CreateTime")
    with pytest.raises(StreamError, match=r"has message\.timestamp\.type=CreateTime") as caught:
        drain(spark, streams, "bronze")
    assert "--add-config message.timestamp.type=LogAppendTime" in caught.value.remedy


def fresh(writer: object, count: int) -> Iterator[Record]:
    yield from purchases(writer, 500, count, "7")  # type: ignore[arg-type]


def forget_id(settings: Settings) -> None:
    """Bind bronze to whatever topic is there now, as if its id had not changed."""

    binding = read_binding(settings.checkpoint_dir / "bronze")
    assert binding is not None
    found = topic_identity(settings, settings.topic_events)
    write_binding(settings.checkpoint_dir / "bronze", replace(binding, topic_id=found.topic_id))


def set_timestamps(settings: Settings, kind: str) -> None:
    admin = Admin(settings)
    entry = ConfigEntry("message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, settings.topic_events, incremental_configs=[entry])
    admin.results(admin.client.incremental_alter_configs, [resource], what="alter the topic")
