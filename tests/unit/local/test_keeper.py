"""The keeper's judgment over time, and its work on real records: who is started again, when, and who is given up."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from polling import wait_until
from stack_fixtures import silent

from rtap_assets.config import Settings, load_settings
from rtap_assets.errors import StreamError
from rtap_assets.local.keeper import (
    LONGEST_PAUSE_SECONDS,
    LOOKS,
    MOST_DEATHS,
    STEADY_SECONDS,
    Keeper,
    keeper_service,
    pause_seconds,
)
from rtap_assets.local.pid_files import ProcessRecord, forget, given_up, record_of
from rtap_assets.local.processes import Service, start, stop
from rtap_assets.local.services.stream_host import recorded_host
from rtap_assets.local.stack import down
from rtap_assets.local.status import status
from rtap_assets.streaming.probes.disk_room import have_room


class Clock:
    """A clock that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path / ".rtap")


def sleeper(name: str, *words: str) -> Service:
    return Service(name=name, title=name, command=["/bin/sleep", *words], is_ready=lambda: True)


def kill(record: ProcessRecord) -> None:
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: record.process() is None, seconds=60, what="it is gone")


def living(settings: Settings, service: str) -> ProcessRecord:
    record = record_of(settings, service)
    assert record is not None
    return record


def test_a_part_that_died_is_started_once_and_one_that_was_ended_is_not(settings: Settings) -> None:
    revived: list[str] = []

    def revive(record: ProcessRecord) -> None:
        revived.append(record.service)
        start(settings, sleeper(record.service, "60"))

    keeper = Keeper(settings, revive=revive)
    for name in ("kafka", "registry", "keeper"):
        start(settings, sleeper(name, "60"))
    try:
        keeper.look()
        kill(living(settings, "kafka"))
        kill(living(settings, "keeper"))  # itself is none of its parts
        record = living(settings, "registry")
        assert stop(record) == "stopped"
        keeper.look()
        forget(settings, record)  # an end that was meant: the record goes a moment later
        for _ in range(LOOKS + 3):
            keeper.look()
        assert revived == ["kafka"]
        assert living(settings, "kafka").process() is not None
    finally:
        down(settings, echo=silent)


def test_a_part_that_dies_again_and_again_is_started_with_growing_pauses_and_then_given_up(settings: Settings) -> None:
    clock, starts = Clock(), list[float]()

    def revive(record: ProcessRecord) -> None:
        starts.append(clock.now)
        kill(start(settings, sleeper(record.service, "60")))

    keeper = Keeper(settings, revive=revive, clock=clock)
    kill(start(settings, sleeper("registry", "60")))
    for _ in range(400):
        clock.now += 0.5
        keeper.look()
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert len(starts) == MOST_DEATHS
    assert starts[0] <= 1_000.0 + 0.5 * LOOKS
    assert pauses == sorted(pauses)
    assert given_up(settings) == ["registry"]
    assert [(line.service, line.state) for line in status(settings)] == [("registry", "failed")]

    # `rtap up` starts it: it is kept again, and forgiven.
    start(settings, sleeper("registry", "60"))
    try:
        keeper.look()
        assert given_up(settings) == []
        assert [line.state for line in status(settings)] == ["running"]
    finally:
        down(settings, echo=silent)


def test_a_part_that_lived_long_is_forgiven_its_deaths(settings: Settings) -> None:
    clock, starts = Clock(), list[float]()

    def revive(record: ProcessRecord) -> None:
        starts.append(clock.now)
        start(settings, sleeper(record.service, "60"))

    keeper = Keeper(settings, revive=revive, clock=clock)
    start(settings, sleeper("kafka", "60"))
    try:
        for _ in range(2 * MOST_DEATHS):
            kill(living(settings, "kafka"))
            before = clock.now
            for _ in range(LOOKS):
                keeper.look()
            assert starts[-1] == before  # at once
            keeper.look()
            clock.now += STEADY_SECONDS + 1
            keeper.look()
        assert len(starts) == 2 * MOST_DEATHS
        assert given_up(settings) == []
    finally:
        down(settings, echo=silent)


def test_pauses_double_up_to_a_bound() -> None:
    assert [pause_seconds(deaths) for deaths in range(1, 5)] == [0, 1, 2, 4]
    assert pause_seconds(50) == LONGEST_PAUSE_SECONDS


def test_the_keeper_ends_at_once_when_told_to(settings: Settings) -> None:
    record = start(settings, keeper_service(settings))
    assert record.process() is not None
    said: list[str] = []
    down(settings, echo=said.append)
    assert [line.split() for line in said] == [["Keeper", "stopped"]]


def test_room_is_looked_for_on_every_disk(tmp_path: Path) -> None:
    assert have_room([tmp_path])
    assert not have_room([tmp_path, tmp_path / "not there"])


@pytest.mark.parametrize(
    "keeper_lives, error, is_kept",
    [
        (False, StreamError("in use"), False),
        (True, StreamError("in use"), True),  # the keeper tries again
        (True, StreamError("dirty", has_ended=True), False),
        (True, None, False),
    ],
)
def test_a_host_that_ends_leaves_its_record_only_where_the_keeper_is_to_try_again(
    settings: Settings, keeper_lives: bool, error: StreamError | None, is_kept: bool
) -> None:
    if keeper_lives:
        start(settings, sleeper("keeper", "60"))
    try:
        with suppress(StreamError), recorded_host(settings) as recorded:
            recorded()
            if error is not None:
                raise error
        assert (record_of(settings, "stream-host") is not None) == is_kept
    finally:
        if (record := record_of(settings, "stream-host")) is not None:
            forget(settings, record)  # it is this process
        down(settings, echo=silent)
