"""A transaction that stays open is noticed, with age and producer; those that come and go are not. Time is passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.kafka.single_records import SingleRecord
from rtap_assets.streaming.probes.open_transactions import OPEN_TRANSACTION, HeldPartition, TransactionWatch

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PATIENCE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
TOPIC = "sales.events.v1"


@dataclass
class Broker:
    """What is held back now, when the first record of each transaction was appended, and what it was asked."""

    held: list[HeldPartition] = field(default_factory=list)
    appended: dict[int, datetime] = field(default_factory=dict)
    producers_asked: list[int] = field(default_factory=list)

    def held_partitions(self, _: Settings, topic: str) -> list[HeldPartition]:
        return self.held

    def records_at(self, _: Settings, topic: str, offsets: Mapping[int, int]) -> dict[int, SingleRecord]:
        return {
            partition: SingleRecord(partition, offset, self.appended[partition], None, None)
            for partition, offset in offsets.items()
            if partition in self.appended
        }

    def describe(self, topic: str, partition: int) -> str:
        self.producers_asked.append(partition)
        return "Producer 7, epoch 0."

    def watch(self) -> TransactionWatch:
        settings = load_settings(open_transaction_alert_seconds=PATIENCE.total_seconds())
        return TransactionWatch(
            settings, TOPIC, describe=self.describe, held=self.held_partitions, first_records=self.records_at
        )


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_a_topic_in_which_nothing_is_held_back_has_no_note(broker: Broker) -> None:
    watch = broker.watch()
    assert watch.look(NOON) is watch.look(NOON + PATIENCE) is None


def test_a_transaction_is_noted_once_it_is_open_for_longer_than_allowed_by_the_brokers_time(broker: Broker) -> None:
    watch, broker.held, broker.appended = broker.watch(), [HeldPartition(2, 40, 3)], {2: NOON - SECOND}
    assert watch.look(NOON) is None  # it may be gone at the next look
    assert watch.look(NOON + PATIENCE - 2 * SECOND) is None
    note = watch.look(NOON + PATIENCE)
    assert note is not None
    assert (note.code, note.at) == (OPEN_TRANSACTION, NOON - SECOND)
    assert note.message == (
        f"Kafka partition 2 of {TOPIC} has an open transaction since 2026-03-01 11:59:59Z: offset 40 and 2 behind it wait "
        "for it. Producer 7, epoch 0."
    )


def test_transactions_that_come_and_go_are_never_noted(broker: Broker) -> None:
    watch, broker.appended = broker.watch(), {2: NOON - 2 * PATIENCE}
    for number in range(5):
        broker.held = [HeldPartition(2, 40 + number, 1)]
        assert watch.look(NOON + number * PATIENCE) is None


def test_a_first_record_that_cannot_be_read_is_as_old_as_our_first_look_at_it(broker: Broker) -> None:
    watch, broker.held = broker.watch(), [HeldPartition(0, 5, 1)]
    watch.look(NOON)
    assert watch.look(NOON + SECOND) is None
    note = watch.look(NOON + 2 * SECOND + PATIENCE)
    assert note is not None
    assert note.at == NOON + SECOND


def test_a_record_from_the_future_is_no_older_than_now(broker: Broker) -> None:
    watch, broker.held, broker.appended = broker.watch(), [HeldPartition(0, 5, 1)], {0: NOON + timedelta(hours=1)}
    watch.look(NOON)
    watch.look(NOON + SECOND)
    note = watch.look(NOON + 2 * SECOND + PATIENCE)
    assert note is not None
    assert note.at == NOON + SECOND


def test_of_several_the_oldest_is_named_and_its_producer_asked_for_once(broker: Broker) -> None:
    broker.held = [HeldPartition(0, 5, 1), HeldPartition(1, 6, 1), HeldPartition(2, 7, 1)]
    broker.appended = {0: NOON, 1: NOON - SECOND, 2: NOON}
    watch = broker.watch()
    watch.look(NOON)
    for later in range(3):
        note = watch.look(NOON + 2 * PATIENCE + later * SECOND)
        assert note is not None
        assert note.message.startswith("Kafka partition 1 of")
        assert note.message.endswith("2 more Kafka partitions wait in the same way.")
    assert broker.producers_asked == [1]


def test_a_transaction_that_ended_is_forgotten_and_a_later_one_has_its_own_age(broker: Broker) -> None:
    watch, broker.held, broker.appended = broker.watch(), [HeldPartition(0, 5, 1)], {0: NOON}
    watch.look(NOON)
    assert watch.look(NOON + 2 * PATIENCE) is not None
    broker.held = []
    assert watch.look(NOON + 2 * PATIENCE + SECOND) is None
    broker.held, broker.appended = [HeldPartition(0, 9, 1)], {0: NOON + 2 * PATIENCE}
    watch.look(NOON + 2 * PATIENCE + 2 * SECOND)
    assert watch.look(NOON + 2 * PATIENCE + 3 * SECOND) is None
    note = watch.look(NOON + 4 * PATIENCE)
    assert note is not None
    assert note.at == NOON + 2 * PATIENCE
