"""The live system as the README starts it: events at a steady rate, every reason of quarantine among them, no restart."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from commands import rtap
from operated import Operated, operated_settings
from polling import wait_until
from stack_fixtures import embedded_settings, silent

from rtap_assets.contracts.rules import Reason
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.host.client import StreamsClient
from rtap_assets.local.stack import down
from rtap_assets.serving.connection import open_lake

RATE = 500
READY_SECONDS = 120
LOOK_SECONDS = 0.25  # a state lasts longer
STARTED = re.compile(r"(\w+): started, every")


def test_a_live_system_with_every_kind_of_record_restarts_no_stream(tmp_path: Path, live_seconds: float) -> None:
    base = embedded_settings(tmp_path / ".rtap")
    triggers = {name: getattr(base, name) for name in (f"trigger_{stream}_seconds" for stream in STREAM_NAMES)}
    settings = operated_settings(base).model_copy(update=triggers)
    try:
        rtap(settings, "up", "--streams", "--generate", str(RATE))
        with StreamsClient(settings) as client:
            platform = Operated(settings, client)
            platform.command("start")
            wait_until(lambda: platform.told() == {"running"}, seconds=READY_SECONDS, what="all streams run")
            _watch(platform, seconds=live_seconds)
            starts = [found[1] for line in platform.log() if (found := STARTED.search(line))]
            assert sorted(starts) == sorted(STREAM_NAMES)
            rtap(settings, "down")
            rtap(settings, "up")
            rtap(settings, "drain")
        with open_lake(settings) as connection:
            reasons = connection.execute("SELECT DISTINCT error_reason FROM bronze").fetchall()
        assert {reason for (reason,) in reasons} == {None, *Reason}
        rtap(settings, "reconcile")
    finally:
        down(settings, echo=silent)


def _watch(platform: Operated, *, seconds: float) -> None:
    """Look at every state for this long: each is running, each time."""
    end = time.monotonic() + seconds

    def is_over() -> bool:
        found = {one.name: one.observed.value for one in platform.client.statuses()}
        assert found == dict.fromkeys(STREAM_NAMES, "running")
        return time.monotonic() > end

    wait_until(is_over, seconds=seconds + READY_SECONDS, what="the end of the watch", poll_seconds=LOOK_SECONDS)


@pytest.fixture
def live_seconds(request: pytest.FixtureRequest) -> float:
    """How long a live system is watched: a minute, or what `--live-seconds` says."""
    return float(request.config.getoption("--live-seconds"))
