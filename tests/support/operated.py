"""The whole platform as people operate it, what its two faces (`rtap` and Dagster) say of the streams, and its faults."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import psutil
from commands import rtap
from dagster_runs import shown_state_checks
from hosted import is_gone
from polling import wait_until
from stack_fixtures import embedded_settings, silent, small_and_quick
from stream_fixtures import send_events

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.demo.proof import prove
from rtap_assets.host.client import StreamsClient
from rtap_assets.local.pid_files import records
from rtap_assets.local.stack import down
from rtap_assets.streaming.model.operation import Operation

TRUTH_SECONDS = 60  # the promise: within this time both faces say what is so
DRAIN_SECONDS = 120
HEALTH_SECONDS = 2
SUBMITTED = ": operation "


def operated_settings(settings: Settings) -> Settings:
    """Return small and quick settings; no schedule comes in between, and a state is valid for as long as by default."""
    return small_and_quick(settings, dq_interval_minutes=59, marts_interval_minutes=59)


@dataclass
class Operated:
    """A running platform. Both faces say, for each stream, the observed state as of now, or "unknown" once it has lapsed."""

    settings: Settings
    client: StreamsClient
    seeds: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000)))

    def told(self) -> set[str]:
        """Return the states that `rtap status` shows."""
        return {one.observed.value for one in self.client.statuses()}

    def shown(self) -> set[str]:
        """Return the states that Dagster's UI shows."""
        now = datetime.now(UTC).timestamp()
        checks = shown_state_checks(self.settings)
        assert checks.keys() <= {key.to_user_string() for key in ASSET_OF_STREAM.values()}
        found = {one["observed"] if now <= one["valid until"] else "unknown" for one in checks.values()}
        return found if len(checks) == len(ASSET_OF_STREAM) else found | {"hidden"}

    def wait_for(self, observed: str, *, after: str) -> None:
        """Return when both faces show this state of every stream; print how long after `after` that was."""
        fault = Fault(after)
        fault.until(lambda: self.told() == {observed}, f"rtap says {observed}")
        fault.until(lambda: self.shown() == {observed}, f"Dagster says {observed}")

    def send(self) -> None:
        """Send events that no stream has read yet, none of them late."""
        send_events(
            self.settings, events=600, duplicates=0.02, delayed=0, invalid=0.02, span_seconds=60, seed=next(self.seeds)
        )

    def command(self, action: str) -> None:
        """Start or stop the streams from the command line, not from Dagster."""
        for operation in [self.client.submit(name, action) for name in STREAM_NAMES]:
            self.client.wait(operation, seconds=TRUTH_SECONDS)

    def health(self) -> int:
        """Return the status code of `/healthz`; 0 without an answer."""
        try:
            answer = httpx2.get(f"{self.settings.streams_address}/healthz", timeout=HEALTH_SECONDS, trust_env=False)
        except httpx2.TransportError:
            return 0
        return answer.status_code

    def log(self) -> list[str]:
        """Return the lines of the stream host's log."""
        return (self.settings.log_dir / "stream-host.log").read_text(encoding="utf-8").splitlines()

    def operations(self, *, since: int) -> list[Operation]:
        """Return the operations that any client submitted since that line of the log."""
        submitted = [line.rpartition(SUBMITTED)[2] for line in self.log()[since:] if SUBMITTED in line]
        return [self.client.operation(id) for id in submitted]

    def family(self, *services: str) -> list[psutil.Process]:
        """Return the processes of these services (all by default) with their descendants."""
        found = [record.process() for record in records(self.settings) if not services or record.service in services]
        return with_descendants(process for process in found if process is not None)

    def assert_exact(self) -> None:
        """Assert that every event that was sent is in every layer exactly once."""
        for name in STREAM_NAMES:
            self.client.wait(self.client.submit(name, "drain"), seconds=DRAIN_SECONDS)
        proof = prove(self.settings)
        assert proof.broken == set(), proof.damage
        assert proof.exit_code == 0, proof.incomplete


@contextmanager
def operated_platform(state_dir: os.PathLike[str], *options: str, **changes: Any) -> Iterator[Operated]:
    """Yield a platform of its own, broker and registry included, with the four streams running; `options` go to `up`."""
    settings = operated_settings(embedded_settings(state_dir)).model_copy(update=changes)  # type: ignore[arg-type]
    try:
        rtap(settings, "up", "--ui", "--streams", *options)
        with StreamsClient(settings) as client:
            platform = Operated(settings, client)
            platform.command("start")
            platform.send()
            platform.wait_for("running", after="platform started")
            yield platform
    finally:
        down(settings, echo=silent)


def with_descendants(parents: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still live of these and of all that they started."""
    found = set()
    for parent in parents:
        with suppress(psutil.NoSuchProcess):
            found |= {parent, *parent.children(recursive=True)}
    return list(found)


class Fault:
    """Measures how long after its beginning a condition held, and prints it for the report."""

    def __init__(self, name: str) -> None:
        self._name, self._began = name, time.monotonic()

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for the condition, within the promised time; print and return the seconds since the fault."""
        left = TRUTH_SECONDS - (time.monotonic() - self._began)
        wait_until(condition, seconds=left, what=f"{self._name}: {what}")
        seconds = time.monotonic() - self._began
        print(f"TRUTH {self._name}: {what} after {seconds:.1f} s")
        assert seconds <= TRUTH_SECONDS
        return seconds


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop the process (SIGSTOP) for the time of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill(*processes: psutil.Process) -> None:
    """Kill -9, all at once; return when they are dead, whether or not a parent has reaped them."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it ended with its parent
            process.kill()
    wait_until(
        lambda: all(is_gone(process.pid) for process in processes), seconds=TRUTH_SECONDS, what=f"{processes} are dead"
    )
