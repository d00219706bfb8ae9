"""The sender of redriven records over a producer in memory: whole transactions, each identity once, paced, accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lake_fixtures import NOON

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.dead_letters import DeadLetter
from rtap_assets.contracts.selection import Selection
from rtap_assets.kafka.redrives import Outgoing, Redriver, Run, ledger_key
from rtap_assets.streaming.operations.redrive import RedriveRequest, new_run


@dataclass
class FakeProducer:
    """Keeps what was committed; `dies_at` is the produce call that fails."""

    committed: list[tuple[str, bytes | None, bytes | None]] = field(default_factory=list)
    open: list[tuple[str, bytes | None, bytes | None]] = field(default_factory=list)
    calls: int = 0
    dies_at: int = 0

    @contextmanager
    def transaction(self) -> Iterator[FakeProducer]:
        self.open = []
        yield self
        self.committed += self.open

    def produce(self, topic: str, value: bytes | None, *, key: bytes | None, headers: Any = ()) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.open.append((topic, key, value))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def letters(count: int) -> list[Outgoing]:
    found = (DeadLetter("sales", 0, n, NOON + timedelta(seconds=n), 7, "null_key", "", None, b"v") for n in range(count))
    return [Outgoing(letter, b"k", b"repaired", is_parked=letter.kafka_offset == 0) for letter in found]


def a_run() -> Run:
    return new_run(RedriveRequest("resend", Selection(), {}, 2, 3))


def sent_to(producer: FakeProducer, topic: str) -> int:
    return sum(one == topic for one, _, _ in producer.committed)


def test_records_ledger_and_totals_are_in_the_same_transactions(settings: Settings) -> None:
    producer, pauses = FakeProducer(), list[float]()
    redriver = Redriver(settings, producer, {}, pause=pauses.append)  # type: ignore[arg-type]
    run = redriver.send(letters(5), a_run(), rate=2)
    assert (run.sent, run.parked) == (4, 1)
    assert (sent_to(producer, settings.topic_events), sent_to(producer, settings.topic_parked)) == (4, 1)
    entries = {
        key.decode(): json.loads(value or b"")
        for topic, key, value in producer.committed
        if topic == settings.topic_redrives and key
    }
    assert [entries[ledger_key(one.letter)]["to"] for one in letters(5)] == ["parked", *["events"] * 4]
    assert entries[f"run/{run.id}"]["sent"] == 4
    assert len(pauses) == 3  # two a second: of 2, 2 and 1 records
    assert 0.9 < pauses[0] <= 1
    assert 0.4 < pauses[2] <= 0.5


@pytest.mark.parametrize("dies_at", range(1, 11))
def test_killed_anywhere_and_repeated_each_identity_is_sent_once(settings: Settings, dies_at: int) -> None:
    producer = FakeProducer(dies_at=dies_at)
    with pytest.raises(KeyboardInterrupt):
        Redriver(settings, producer, {}, pause=lambda _: None).send(letters(4), a_run(), rate=2)  # type: ignore[arg-type]
    ledger = {key.decode(): {} for topic, key, _ in producer.committed if topic == settings.topic_redrives and key}
    again = Redriver(settings, producer, dict(ledger), pause=lambda _: None)  # type: ignore[arg-type]
    again.send(letters(4), a_run(), rate=500)
    assert sent_to(producer, settings.topic_events) + sent_to(producer, settings.topic_parked) == 4
    assert all(again.was_sent(one.letter) for one in letters(4))
    before = len(producer.committed)
    again.send(letters(4), a_run(), rate=500)
    assert len(producer.committed) == before


def test_the_same_letter_twice_in_one_part_is_sent_once(settings: Settings) -> None:
    producer = FakeProducer()
    run = Redriver(settings, producer, {}, pause=lambda _: None).send(letters(2) * 3, a_run(), rate=100)  # type: ignore[arg-type]
    assert (run.sent, run.parked) == (1, 1)


def test_a_slow_rate_sends_one_record_at_a_time(settings: Settings) -> None:
    pauses = list[float]()
    Redriver(settings, FakeProducer(), {}, pause=pauses.append).send(letters(3), a_run(), rate=0.5)  # type: ignore[arg-type]
    assert [round(seconds) for seconds in pauses] == [2, 2, 2]
