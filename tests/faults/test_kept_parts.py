"""Each embedded part is killed once, with the keeper on: all of it runs again by itself, and every event counts once.

The seconds are printed; they are the measurement that the runbook gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import rtap
from dagster_runs import ask_ui
from operated import Fault, Operated, kill, operated_platform

from rtap_assets.errors import RtapError
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.local.pid_files import record_of
from rtap_assets.local.status import status
from rtap_assets.registry.client import Registry

RATE = 50
KILLED = (
    "registry", "kafka", "dashboard", "dagster-code-server", "dagster-daemon", "dagster-webserver", "stream-host",
    "generator",
)  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    state_dir = tmp_path_factory.mktemp("keeper") / ".rtap"
    with operated_platform(state_dir, "--generate", str(RATE), keep_parts=True) as platform:
        yield platform


def pid_of(platform: Operated, service: str) -> int:
    """Return the pid of the part's record; 0 for the moment between its death and the record of the next one."""
    record = record_of(platform.settings, service)
    return 0 if record is None else record.pid


def all_lives(platform: Operated) -> bool:
    """Whether every part is there, answers, and the streams run and take what the generator sends."""
    settings = platform.settings
    try:
        if {line.state for line in status(settings)} != {"running"} or platform.told() != {"running"}:
            return False
        end_offsets(settings, settings.topic_events)
        ask_ui(settings, "{ assetNodes { assetKey { path } } }")
        return Registry(settings).is_ready()
    except (RtapError, OSError, AssertionError, json.JSONDecodeError):
        return False


@pytest.mark.parametrize("service", KILLED)
def test_a_killed_part_comes_back_by_itself(platform: Operated, service: str) -> None:
    before = pid_of(platform, service)
    fault = Fault(f"{service} killed")
    kill(psutil.Process(before))
    fault.until(lambda: pid_of(platform, service) not in {0, before} and all_lives(platform), "everything runs again")
    committed = platform.client.status("bronze").last_batch_id or 0
    fault.until(lambda: (platform.client.status("bronze").last_batch_id or 0) > committed, "bronze takes new events")


def test_a_killed_jvm_comes_back_by_itself(platform: Operated) -> None:
    host = platform.client.host()
    fault = Fault("JVM of the stream host killed")
    kill(psutil.Process(host.jvm_pid))
    fault.until(
        lambda: pid_of(platform, "stream-host") not in {0, host.pid} and all_lives(platform), "everything runs again"
    )


def test_after_all_that_every_event_counts_once_and_down_ends_everything(platform: Operated) -> None:
    settings = platform.settings
    assert "given up" not in rtap(settings, "status")
    generator = record_of(settings, "generator")
    assert generator is not None
    said = rtap(settings, "down").splitlines()
    assert [line.split("  ")[0] for line in said] == [
        "Keeper", "Generator", "Dashboard", "Dagster daemon", "Dagster webserver", "Dagster code", "Stream host",
        "Schema registry", "Kafka broker",
    ]  # fmt: skip
    assert status(settings) == []
    rtap(settings, "up", "--streams")
    Fault("everything started again").until(lambda: platform.told() == {"running"}, "the streams resume")
    platform.assert_exact()


def test_the_log_of_the_keeper_names_each_death(platform: Operated) -> None:
    said = Path(platform.settings.log_dir / "keeper.out").read_text(encoding="utf-8")
    assert said.count(" died: started again (death 1)") >= len(KILLED)
