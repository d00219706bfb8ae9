"""Run the streams continuously: start the four queries, keep them going, say what they wait for, drain-stop at the end.

A dependency that is away is patience, not a failure; a fault restarts with back-off, the first time at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.streaming.checkpoints import newest_committed, read_batch
from rtap_assets.streaming.drain import dropped_rows, start_stream, stop_between_batches
from rtap_assets.streaming.failures import Verdict, judge
from rtap_assets.streaming.ownership import verify_binding
from rtap_assets.streaming.queries import GOLD_STREAM, STREAMS, StreamDefinition
from rtap_assets.streaming.restate import restate_gold

TICK_SECONDS = 0.2
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 1.0, 30.0


@dataclass
class _Supervised:
    """One stream, its running query if any, and when it may be started again."""

    stream: StreamDefinition
    query: StreamingQuery | None = None
    failures: int = 0
    committed: int | None = None
    not_before: float = 0.0
    waiting_for: str | None = None


def run_streams(
    session: SparkSession,
    settings: Settings,
    *,
    names: Sequence[str] = tuple(STREAMS),
    stop: Event,
    echo: Callable[[str], None],
) -> dict[str, bool]:
    """Run the named streams until `stop` is set; then stop each between batches.

    Returns, for each stream, whether its stop was clean (newest planned batch = newest committed batch).

    Raises:
        StreamError: a checkpoint does not belong to its table; nothing was started on it.
    """
    supervised = [_Supervised(STREAMS[name]) for name in names]
    for one in supervised:
        verify_binding(settings, one.stream)
    try:
        while not stop.wait(TICK_SECONDS):
            for one in supervised:
                _supervise(session, settings, one, echo)
    finally:
        clean = {
            one.stream.name: one.query is None or stop_between_batches(one.query, seconds=settings.stop_timeout_seconds)
            for one in supervised
        }
    return clean


def _supervise(session: SparkSession, settings: Settings, one: _Supervised, echo: Callable[[str], None]) -> None:
    """Look at one stream once: start it when it is due, note progress, judge a failure."""
    name = one.stream.name
    if one.query is None:
        if time.monotonic() >= one.not_before:
            _start(session, settings, one, echo)
        return
    committed = newest_committed(one.stream.checkpoint(settings))
    if committed != one.committed:
        one.committed, one.failures = committed, 0
        _restate_if_gold_dropped(session, settings, one, echo)
        if one.waiting_for:
            echo(f"{name}: goes on after waiting for {one.waiting_for}")
            one.waiting_for = None
    if one.query is not None and not one.query.isActive:
        error = one.query.exception()
        one.query = None
        if error is not None:
            _postpone(one, *judge(error), echo=echo)


def _restate_if_gold_dropped(
    session: SparkSession, settings: Settings, one: _Supervised, echo: Callable[[str], None]
) -> None:
    """Stop gold between batches and write the windows again whose rows it dropped; the next tick starts it."""
    progress = one.query.lastProgress if one.query is not None and one.stream is GOLD_STREAM else None
    if progress is None or one.query is None or not dropped_rows(progress):
        return
    stop_between_batches(one.query, seconds=settings.stop_timeout_seconds)
    one.query = None
    watermark_ms = read_batch(one.stream.checkpoint(settings), progress.batchId).watermark_ms
    restated = restate_gold(session, settings, watermark_ms=watermark_ms)
    echo(f"gold: {restated} rows restated from silver, {dropped_rows(progress)} events were dropped")


def _start(session: SparkSession, settings: Settings, one: _Supervised, echo: Callable[[str], None]) -> None:
    trigger_seconds = one.stream.trigger_seconds(settings)
    try:
        one.query = start_stream(session, settings, one.stream, trigger_seconds=trigger_seconds)
    except DependencyUnavailable as error:
        _postpone(one, Verdict.WAIT, error.message, echo=echo)
    except StreamingQueryException as error:
        _postpone(one, *judge(error), echo=echo)
    else:
        one.committed = newest_committed(one.stream.checkpoint(settings))
        echo(f"{one.stream.name}: running, every {trigger_seconds:g} s")


def _postpone(one: _Supervised, verdict: Verdict, reason: str, *, echo: Callable[[str], None]) -> None:
    """Decide when to start again: a restart and a first fault at once, anything else with a capped back-off."""
    one.failures += 1
    at_once = verdict is not Verdict.WAIT and one.failures == 1
    delay = 0.0 if at_once else min(FIRST_BACKOFF_SECONDS * 2 ** (one.failures - 1), LONGEST_BACKOFF_SECONDS)
    one.not_before = time.monotonic() + delay
    if verdict is Verdict.WAIT:
        if one.waiting_for != reason:
            echo(f"{one.stream.name}: WAITING for {reason}")
        one.waiting_for = reason
    else:
        echo(f"{one.stream.name}: starting again in {delay:g} s ({reason})")
