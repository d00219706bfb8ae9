"""A real stream host under test: its settings, commands in processes of their own, and how long a wrong state was shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from commands import COMMAND_SECONDS
from polling import wait_until
from stack_fixtures import own_settings, silent, small_and_quick

from rtap_assets.audit.report import Report
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.demo.proof import prove
from rtap_assets.host.client import StreamsClient
from rtap_assets.local.stack import down
from rtap_assets.streaming.checkpoints.files import has_unfinished_batch
from rtap_assets.streaming.model.states import Observed, StreamStatus

LATE = "late, awaiting correction"
START_SECONDS, PROOF_SECONDS, END_SECONDS = 90, 90, 60
BATCH_SECONDS = 60
TRUTH_SECONDS = 60  # a wrong state may be told for no longer


@contextmanager
def hosted_settings(stack: Settings, state_dir: Path, **changes: Any) -> Iterator[Settings]:
    """Yield settings of a state folder with a port for its host; end what a test left running."""
    with own_settings(stack, state_dir) as own:
        settings = small_and_quick(own, host_watch_seconds=0.2, **changes)
        try:
            yield settings
        finally:
            down(settings, echo=silent)


def by_name(client: StreamsClient) -> dict[str, StreamStatus]:
    return {one.name: one for one in client.statuses()}


def wait_for_running(client: StreamsClient) -> None:
    def all_run() -> bool:
        return {one.observed for one in client.statuses()} == {Observed.RUNNING}

    wait_until(all_run, seconds=PROOF_SECONDS, what="all streams run")


def wait_for_unfinished_batch(settings: Settings, name: str) -> None:
    """Return while the stream works on a batch."""
    wait_until(
        lambda: has_unfinished_batch(settings.checkpoint_dir / name),
        seconds=BATCH_SECONDS,
        what=f"{name} begins a batch",
    )


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_truth(
    client: StreamsClient, is_told: Callable[[dict[str, StreamStatus]], bool], *, fault: str, since: float
) -> dict[str, StreamStatus]:
    """Return the first statuses that show the fault; print how long they did not (`since`: monotonic time of the fault)."""
    told: dict[str, StreamStatus] = {}

    def is_true() -> bool:
        told.update(by_name(client))
        return is_told(told)

    wait_until(is_true, seconds=max(0.0, since + TRUTH_SECONDS - time.monotonic()), what=lambda: f"{fault} is told; {told}")
    print(f"{fault}: told after {time.monotonic() - since:.1f} s")
    return told


def wait_until_drained(client: StreamsClient) -> None:
    """Drain every layer, in the order of the chain."""
    for name in STREAM_NAMES:
        client.wait(client.submit(name, "drain"), seconds=COMMAND_SECONDS)


def assert_exact(settings: Settings) -> Report:
    """Assert that ledger, topics and lake agree record by record and cent by cent; return the proof."""
    proof = prove(settings)
    assert proof.broken == set(), proof.damage
    assert proof.exit_code == 0, proof.incomplete
    return proof
