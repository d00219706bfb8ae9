"""The generator against a real broker: what the ledger says is what the topic has."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from hashlib import md5
from typing import Any

import duckdb
import pytest
from commands import finished, start_rtap
from confluent_kafka import Consumer, TopicPartition
from polling import wait_until

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.schemas import parsed
from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import ConfigurationError, DependencyUnavailable
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GenerationReport, GeneratorOptions
from rtap_assets.kafka.clients import client_config
from rtap_assets.kafka.patience import with_patience
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.ports import free_ports
from rtap_assets.registry.client import Registry

Place = tuple[int, int]
THAW_SECONDS = 30
OPEN_TRANSACTION_SECONDS = 60  # its own 10 s, and the broker looks for lapsed ones every 10 s


def silent(_: str) -> None:
    """An `echo` that says nothing."""


def run(settings: Settings, **options: Any) -> GenerationReport:
    return generate(settings, GeneratorOptions(**options), echo=silent)


def topic_content(settings: Settings) -> dict[Place, tuple[bytes | None, str | None]]:
    """Place -> key and md5 of the value, of every record of the events topic."""
    ends = end_offsets(settings, settings.topic_events)
    consumer = Consumer(client_config(settings) | {"group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(settings.topic_events, partition, 0) for partition in ends])
    content: dict[Place, tuple[bytes | None, str | None]] = {}
    while len(content) < sum(ends.values()):
        for message in consumer.consume(5_000, timeout=10):
            assert message.error() is None
            value = message.value()
            digest = None if value is None else md5(value, usedforsecurity=False).hexdigest()
            content[message.partition(), message.offset()] = (message.key(), digest)
    consumer.close()
    return content


def committed_content(settings: Settings) -> dict[Place, str | None]:
    """Place -> md5 of the value, as a committed reader has it once no transaction is open any more."""
    partitions = end_offsets(settings, settings.topic_events)
    committed = {"isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = Consumer(client_config(settings) | committed | {"group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(settings.topic_events, partition, 0) for partition in partitions])
    ends = uncommitted_ends(settings)
    content: dict[Place, str | None] = {}
    deadline = time.monotonic() + OPEN_TRANSACTION_SECONDS
    at: dict[int, int] = {}
    while any(at.get(partition, 0) < end for partition, end in ends.items()):
        assert time.monotonic() < deadline, f"the reader stands at {at} of {ends}"
        for message in consumer.consume(5_000, timeout=1):
            if message.error() is None:
                digest = md5(message.value() or b"", usedforsecurity=False).hexdigest()
                content[message.partition(), message.offset()] = digest if message.value() is not None else None
        at = {place.partition: place.offset for place in consumer.position(list(consumer.assignment()))}
    consumer.close()
    return content


def uncommitted_ends(settings: Settings) -> dict[int, int]:
    """Kafka partition -> the end of its log, open transactions and control records included."""
    consumer = Consumer(client_config(settings) | {"group.id": "ends", "isolation.level": "read_uncommitted"})
    partitions = end_offsets(settings, settings.topic_events)
    found = {
        number: consumer.get_watermark_offsets(TopicPartition(settings.topic_events, number), timeout=10)[1]
        for number in partitions
    }
    consumer.close()
    return found


def ledger(settings: Settings, question: str) -> list[tuple[Any, ...]]:
    """Ask of `records`: what was intended, with its outcome where there is one."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"""CREATE VIEW records AS FROM read_parquet('{settings.ledger_dir}/*/intended-*.parquet') AS intended
            LEFT JOIN read_parquet('{settings.ledger_dir}/*/outcome-*.parquet') AS outcomes USING (run_id, sequence)"""
        )
        return connection.execute(question).fetchall()


def acknowledged(settings: Settings) -> dict[Place, str | None]:
    rows = ledger(settings, "SELECT kafka_partition, kafka_offset, value_md5 FROM records WHERE outcome = 'acknowledged'")
    return {(partition, offset): digest for partition, offset, digest in rows}


def test_the_acknowledged_records_of_the_ledger_are_exactly_the_topic(settings: Settings) -> None:
    report = run(settings, events=30_000, duplicates=0.02, invalid=0.01, reasons=tuple(Reason))
    assert (report.intended, report.acknowledged, report.unknown, report.failed) == (30_000, 30_000, 0, 0)
    assert set(report.by_reason) == set(Reason)
    assert sum(report.by_kind.values()) == 30_000
    content = topic_content(settings)
    assert acknowledged(settings) == {place: digest for place, (_, digest) in content.items()}
    assert ledger(settings, "SELECT count(*), count(DISTINCT sequence) FROM records") == [(30_000, 30_000)]
    partitions_of_key: dict[bytes, set[int]] = {}
    for (partition, _), (key, _) in content.items():
        if key is not None:
            partitions_of_key.setdefault(key, set()).add(partition)
    assert {len(partitions) for partitions in partitions_of_key.values()} == {1}


def test_a_schema_that_breaks_the_contract_is_never_registered_under_the_topics_own_subject(settings: Settings) -> None:
    def scales() -> set[int]:
        texts = Registry(settings).versions(settings.events_subject).values()
        return {field["type"]["scale"] for text in texts for field in parsed(text)["fields"] if field["name"] == "amount"}

    run(settings, events=500, invalid=0.1, reasons=(Reason.INCOMPATIBLE_SCHEMA,), foreign_schemas=0.5)
    assert scales() == {4}


def test_a_committed_reader_gets_what_the_ledger_calls_acknowledged_and_nothing_else(settings: Settings) -> None:
    report = run(settings, events=1_000, transactions=3)
    assert (report.intended, report.acknowledged, report.aborted) == (1_300, 1_100, 200)
    assert sum(report.aborted_by_kind.values()) == 200
    assert acknowledged(settings) == committed_content(settings)


def test_a_later_run_sends_copies_of_an_earlier_runs_good_records(settings: Settings) -> None:
    run(settings, events=2_000, run_id="first")
    run(settings, events=2_000, run_id="second", seed=2, duplicates=0.2)
    (copies, exact) = ledger(
        settings,
        """SELECT count(*), count(*) FILTER (o.kind = 'good' AND o.value_md5 = c.value_md5 AND o.net_amount = c.net_amount)
        FROM records AS c LEFT JOIN records AS o ON (o.run_id, o.sequence) = (c.duplicate_of_run, c.duplicate_of)
        WHERE c.run_id = 'second' AND c.duplicate_of_run = 'first'""",
    )[0]
    assert copies == exact
    assert copies > 20


def test_a_run_id_is_used_once(settings: Settings) -> None:
    run(settings, events=10, run_id="once")
    with pytest.raises(ConfigurationError, match="once"):
        run(settings, events=10, run_id="once")


def test_a_broker_that_is_not_there_is_named_after_the_patience_and_leaves_no_ledger(settings: Settings) -> None:
    (port,) = free_ports(1)
    absent = settings.model_copy(
        update={"kafka_bootstrap": f"127.0.0.1:{port}", "request_timeout_seconds": 1.0, "dependency_patience_seconds": 1.0}
    )
    with pytest.raises(DependencyUnavailable, match=str(port)):
        run(absent, events=10)
    assert not settings.ledger_dir.exists()


def interrupted(settings: Settings, number: signal.Signals, *arguments: str) -> tuple[int, str]:
    """The exit code and output of a run that got the signal in the middle, after its first outcome was written."""
    process = start_rtap(settings, "generate", "--run-id", "cli", *arguments)
    try:
        outcomes = settings.ledger_dir / "cli"
        wait_until(lambda: any(outcomes.glob("outcome-*.parquet")), seconds=60, what="the first chunk is settled")
        process.send_signal(number)
        return finished(process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "number, arguments", [(signal.SIGINT, ("--events", "2000000")), (signal.SIGTERM, ("--rate", "3000"))]
)
def test_a_signal_ends_the_run_cleanly_with_a_complete_ledger(
    settings: Settings, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    code, output = interrupted(settings, number, *arguments)
    assert code == 0, output
    assert "stopped on request; the ledger is complete" in output
    assert ledger(settings, "SELECT DISTINCT outcome FROM records") == [("acknowledged",)]
    assert acknowledged(settings) == {place: digest for place, (_, digest) in topic_content(settings).items()}


def test_a_killed_run_has_intended_all_that_is_in_the_topic(settings: Settings) -> None:
    code, _ = interrupted(settings, signal.SIGKILL, "--events", "2000000")
    assert code == -signal.SIGKILL
    intended = {digest for (digest,) in ledger(settings, "SELECT DISTINCT value_md5 FROM records")}
    content = topic_content(settings)
    assert {digest for _, digest in content.values()} <= intended
    places = acknowledged(settings)
    assert places.items() <= {place: digest for place, (_, digest) in content.items()}.items()


def test_a_broker_that_freezes_leaves_unknown_outcomes_that_the_topic_settles(stack: Settings, settings: Settings) -> None:
    broker = record_of(stack, "kafka")
    assert broker is not None
    impatient = settings.model_copy(update={"dependency_patience_seconds": 3.0})

    def freeze(settled: int, total: int | None) -> None:
        os.kill(broker.pid, signal.SIGSTOP)

    try:
        with pytest.raises(DependencyUnavailable, match="acknowledged none"):
            generate(impatient, GeneratorOptions(events=150_000), echo=silent, progress=freeze)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    outcomes = dict(ledger(settings, "SELECT outcome, count(*) FROM records GROUP BY outcome"))
    assert set(outcomes) == {"acknowledged", "unknown"}
    with_patience(lambda: end_offsets(settings, settings.topic_events), what="the broker", seconds=THAW_SECONDS)
    content = topic_content(settings)
    assert acknowledged(settings).items() <= {place: digest for place, (_, digest) in content.items()}.items()
    intended = Counter(digest for (digest,) in ledger(settings, "SELECT value_md5 FROM records"))
    assert Counter(digest for _, digest in content.values()) <= intended
