"""`rtap drain` killed with -9 in mid-batch, several times and in several ways, then drained again: exact to the ledger."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commands import start_rtap
from killing import kill
from polling import wait_until
from pyspark.sql import SparkSession
from stream_fixtures import assert_newest_messages_are_gold, drain, send_events

from rtap_assets.config import Settings
from rtap_assets.demo.proof import prove
from rtap_assets.errors import StreamError
from rtap_assets.streaming.checkpoints.files import has_unfinished_batch, newest_committed, newest_planned
from rtap_assets.streaming.checkpoints.ownership import owned_checkpoints

BATCH_SECONDS = 180
POLL_SECONDS = 0.01


@contextmanager
def drain_process(settings: Settings, *names: str) -> Iterator[subprocess.Popen[str]]:
    """A `rtap drain` of its own, which must not come to its end."""
    log = settings.state_dir / "drain.log"
    with log.open("wb") as output:
        process = start_rtap(settings, "drain", *names, output=output)
    try:
        yield process
        assert process.returncode == -signal.SIGKILL, log.read_text()
    finally:
        process.kill()
        process.wait()


def wait_for_batch_in_flight(process: subprocess.Popen[str], settings: Settings, name: str, *, after: int) -> None:
    """Return while the named stream works on a batch, with at least `after` batches behind it."""
    checkpoint = settings.checkpoint_dir / name

    def is_in_flight() -> bool:
        assert process.poll() is None, f"ended with {process.returncode} before {name} was at batch {after}"
        return has_unfinished_batch(checkpoint) and (newest_committed(checkpoint) or 0) >= after

    wait_until(
        is_in_flight,
        seconds=BATCH_SECONDS,
        what=lambda: f"{name} works on batch {after} or later; it is at {newest_planned(checkpoint)}",
        poll_seconds=POLL_SECONDS,
    )


def test_a_drain_killed_again_and_again_ends_exactly_where_the_ledger_says(spark: SparkSession, streams: Settings) -> None:
    small = {"bronze_max_offsets_per_batch": 150, "source_max_files_per_batch": 2}
    settings = streams.model_copy(update=small | {"spark_driver_memory": "1g", "spark_quick_start": True})
    # Nothing is delayed, so that no row may be missing from silver for having come too late.
    send_events(settings, events=1_500, duplicates=0.05, delayed=0, invalid=0.03, span_seconds=1800)

    with drain_process(settings, "bronze") as process:
        wait_for_batch_in_flight(process, settings, "bronze", after=4)
        with (
            pytest.raises(StreamError, match=rf"in use by process {process.pid} \(rtap, since 20"),
            owned_checkpoints(spark, settings),
        ):
            pass
        kill(process, with_jvm=True)
    with drain_process(settings, "silver") as process:
        wait_for_batch_in_flight(process, settings, "silver", after=1)
        kill(process, with_jvm=False)
    with drain_process(settings, "gold") as process:
        wait_for_batch_in_flight(process, settings, "gold", after=0)
        kill(process, with_jvm=True)

    drain(spark, settings)
    proof = prove(settings)
    assert proof.broken == set(), proof.damage
    assert proof.exit_code == 0, proof.incomplete
    assert proof.apart("late, awaiting correction") == 0
    assert_newest_messages_are_gold(settings)
