"""Which host is adopted, waited for or given up. None is started here: the lock of a host that lives forbids it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import psutil
import pytest
from fake_host import FakeHost
from polling import wait_until

from rtap_assets.config import Settings, settings_environment
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.host.client import HostDescription, StreamsClient
from rtap_assets.host.launcher import changed_settings, ensure_host
from rtap_assets.host.lock import only_host

QUICK = {"startup_timeout_seconds": 0.2, "stop_timeout_seconds": 0.2}
AWAY = DependencyUnavailable("It does not answer.", remedy="Wait.", dependency="stream host")


class LateHost(StreamsClient):
    """A client whose host answers as listed, and from then on as in the last entry."""

    def __init__(self, settings: Settings, *answers: HostDescription | Exception) -> None:
        super().__init__(settings)
        self.answers = list(answers)

    def host(self) -> HostDescription:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def settings(fake_host: FakeHost) -> Settings:
    return fake_host.settings


@pytest.fixture
def ready(fake_host: FakeHost) -> HostDescription:
    return fake_host.client.host()


def test_a_host_that_answers_is_adopted(settings: Settings, ready: HostDescription) -> None:
    said: list[str] = []
    with LateHost(settings, ready) as client:
        assert ensure_host(settings, echo=said.append, client=client) == ready
    assert said == ["stream host adopted: process 4711, since 2026-03-01 12:00:00Z"]


def test_a_host_that_starts_or_ends_is_waited_for_and_no_second_one_started(
    settings: Settings, ready: HostDescription
) -> None:
    ending = replace(ready, pid=1, stopping=True)
    with only_host(settings), LateHost(settings, ending, AWAY, AWAY, ready) as client:
        assert ensure_host(settings, client=client) == ready


def test_a_host_that_has_the_lock_and_never_answers_is_given_up(settings: Settings) -> None:
    hasty = settings.model_copy(update=QUICK)
    with only_host(hasty), LateHost(hasty, AWAY) as client, pytest.raises(DependencyUnavailable, match="does not answer"):
        ensure_host(hasty, client=client)


def test_a_host_that_is_about_to_end_for_too_long_is_given_up(settings: Settings, ready: HostDescription) -> None:
    hasty = settings.model_copy(update=QUICK)
    with (
        only_host(hasty),
        LateHost(hasty, replace(ready, stopping=True)) as client,
        pytest.raises(DependencyUnavailable, match="about to end for too long"),
    ):
        ensure_host(hasty, client=client)


def test_a_host_elsewhere_is_never_started_from_here(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"streams_url": "http://streams:18090"})
    said: list[str] = []
    with LateHost(elsewhere, AWAY) as client, pytest.raises(DependencyUnavailable):
        ensure_host(elsewhere, echo=said.append, client=client)
    assert said == []


def test_settings_that_changed_since_a_process_started_are_named(settings: Settings) -> None:
    process = subprocess.Popen(["/bin/sleep", "60"], env=settings_environment(settings))
    try:
        # A process has no environment for a moment after its program was loaded.
        wait_until(lambda: psutil.Process(process.pid).environ() != {}, seconds=60, what="the process has its environment")
        assert changed_settings(settings, process.pid) == []
        changed = settings.model_copy(update={"trigger_gold_seconds": 1.0})
        assert changed_settings(changed, process.pid) == ["RTAP_TRIGGER_GOLD_SECONDS"]
    finally:
        process.kill()
        process.wait()
    assert changed_settings(changed, process.pid) == []
