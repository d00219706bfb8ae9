"""The stream engine: four streams in one Spark session, a thread for each, and what may be asked of them.

The caller owns the checkpoints and has the tables in place (`open_layers`). Questions are answered from memory: a frozen
JVM, broker or catalog holds up its own thread, and no answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.clock import from_milliseconds, utc_now
from rtap_assets.streaming.jvm_heartbeat import JvmPulse
from rtap_assets.streaming.lifecycle.command_handlers import patience_of
from rtap_assets.streaming.lifecycle.command_queue import OperationBook
from rtap_assets.streaming.lifecycle.desired import DurableStates
from rtap_assets.streaming.lifecycle.lag import BROKER, CATALOG, Refusal, SourceProbe, dependencies_of
from rtap_assets.streaming.lifecycle.open_transactions import producer_finder
from rtap_assets.streaming.lifecycle.restart_policy import observe
from rtap_assets.streaming.lifecycle.runner import StreamRunner
from rtap_assets.streaming.model.operation import STREAM_ACTIONS, Action, Operation
from rtap_assets.streaming.model.states import FailureNote, Observed, StreamStatus
from rtap_assets.streaming.operations.housekeeping import Housekeeper
from rtap_assets.streaming.queries.definitions import STREAMS, StreamDefinition

HARD_STOP_SECONDS = 20.0  # beyond Spark's own `stopTimeout`
LOG = logging.getLogger(__name__)


class StreamEngine:
    """The streams of one host. Nothing runs until `resume`, or a start or drain is submitted."""

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        *,
        streams: Mapping[str, StreamDefinition] = STREAMS,
        on_batch: Callable[[Mapping[str, Any]], object] = lambda _: None,
        say: Callable[[str], None] = LOG.info,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._session, self._settings, self._clock = session, settings, clock
        kafka = [stream for stream in streams.values() if stream.reads is None]
        tables = [stream for stream in streams.values() if stream.reads is not None]
        self._probes = {
            BROKER: SourceProbe(settings, BROKER, kafka, clock=clock, say=say, describe=producer_finder(session, settings)),
            CATALOG: SourceProbe(settings, CATALOG, tables, clock=clock, say=say),
        }
        self._pulse = JvmPulse(self._ask_jvm, interval_seconds=settings.host_watch_seconds, clock=clock)
        durable = DurableStates(settings)
        self._runners = {
            name: StreamRunner(
                session,
                settings,
                stream,
                durable=durable,
                book=OperationBook(name, timeouts=_timeouts(settings), clock=clock),
                on_batch=on_batch,
                clock=clock,
                say=say,
                jvm_is_alive=self.jvm_is_alive,
                source_away=self._source_away,
                source_refusal=self._source_refusal,
            )
            for name, stream in streams.items()
        }
        self._housekeeper = Housekeeper(session, settings, pause=self.paused, clock=clock)
        for runner in self._runners.values():
            runner.start()
        for probe in self._probes.values():
            probe.start()
        self._housekeeper.start()
        self._pulse.start()

    def resume(self) -> None:
        """Start the streams that are desired to run."""
        for runner in self._runners.values():
            runner.may_run = True
            runner.wake()

    def statuses(self) -> list[StreamStatus]:
        """Every stream as of now, from memory."""
        now = self._clock()
        return [self._status(runner, now) for runner in self._runners.values()]

    def submit(self, stream: str, action: str) -> Operation:
        """Take a command and return at once; ask `operation` how it went.

        Raises:
            StreamError: there is no such stream or action.
        """
        if stream not in self._runners or action not in STREAM_ACTIONS:
            raise StreamError(
                f"There is no {action} of {stream}.",
                remedy=f"Streams: {', '.join(self._runners)}; actions: {', '.join(STREAM_ACTIONS)}.",
            )
        operation = self._runners[stream].book.submit(Action(action))
        self._runners[stream].wake()
        return operation

    def submit_for_tables(self, action: str, arguments: Mapping[str, Any] | None = None) -> Operation:
        """Ask for one of `TABLE_ACTIONS`; returns at once. It cannot be cancelled: its steps are short.

        Raises:
            ConfigurationError: the arguments are not those of the action.
        """
        return self._housekeeper.submit(Action(action), arguments)

    def operation(self, id: str) -> Operation | None:
        """The course of a command; None when it is not known (any more)."""
        found = (runner.book.get(id) for runner in self._runners.values())
        return next((operation for operation in found if operation is not None), self._housekeeper.operation(id))

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """The stream rests between two batches for the time of the block, whatever is desired of it.

        Raises:
            StreamError: it did not come to rest within the time that a stop may take.
        """
        runner = self._runners.get(name)
        if runner is None:
            yield
            return
        resting = runner.pause()
        try:
            if not resting.wait(self._settings.stop_timeout_seconds + HARD_STOP_SECONDS):
                raise StreamError(
                    f"{name} did not come to rest between two batches.", remedy="Try again when its batches are shorter."
                )
            yield
        finally:
            runner.go_on()

    def cancel(self, id: str) -> Operation:
        """End a command: a drain gives the stream back to what is desired, start and stop keep what they made desired.

        Raises:
            StreamError: the operation is not known.
        """
        for runner in self._runners.values():
            operation = runner.book.cancel(id)
            if operation is not None:
                runner.wake()
                return operation
        raise StreamError(f"There is no operation {id}.", remedy="Operations are kept until the host ends.")

    def progress(self, stream: str, limit: int) -> list[dict[str, Any]]:
        """The newest batches of a stream, oldest first.

        Raises:
            StreamError: there is no such stream.
        """
        if stream not in self._runners:
            raise StreamError(f"There is no stream {stream}.", remedy=f"Streams: {', '.join(self._runners)}.")
        return self._runners[stream].log.newest(limit)

    def jvm_is_alive(self) -> bool:
        """Whether the session's JVM process still exists (it may be frozen)."""
        process = getattr(self._session.sparkContext._gateway, "proc", None)
        return process is None or process.poll() is None

    def jvm_answers(self) -> bool:
        """Whether the JVM lives and has answered of late. From memory, as every answer here."""
        return self.jvm_is_alive() and self._pulse.silent_since(self._clock()) is None

    def close(self, *, seconds: float) -> dict[str, bool]:
        """Stop every stream between batches and end the threads; what is desired stays. Returns name -> clean."""
        deadline = time.monotonic() + seconds
        self._pulse.close()
        self._housekeeper.close(0)
        for runner in self._runners.values():
            runner.close(stop_seconds=seconds)
        clean = {name: runner.join(deadline - time.monotonic()) for name, runner in self._runners.items()}
        self._housekeeper.close(deadline - time.monotonic())
        for probe in self._probes.values():
            probe.close(max(0.0, min(1.0, deadline - time.monotonic())))
        return clean

    def _ask_jvm(self) -> object:
        java: Any = self._session.sparkContext._jvm
        return java.System.nanoTime()

    def _source_away(self, stream: StreamDefinition) -> str | None:
        """The dependency that the stream cannot go on without and that does not answer its probe, if any."""
        now = self._clock()
        return next((name for name in sorted(dependencies_of(stream)) if self._probes[name].is_away(now)), None)

    def _source_refusal(self, stream: StreamDefinition) -> Refusal | None:
        return self._probes[BROKER if stream.reads is None else CATALOG].refusal(stream.name)

    def _status(self, runner: StreamRunner, now: datetime) -> StreamStatus:
        facts, settings = runner.facts, self._settings
        away = self._source_away(runner.stream)
        silent = self._pulse.silent_since(now)
        probe = self._probes[BROKER if runner.stream.reads is None else CATALOG]
        lag, held = probe.lag(runner.stream.name, now), probe.open_transaction(runner.stream.name, now)
        observed, since = observe(
            facts,
            now,
            patience=patience_of(runner),
            is_source_away=away is not None,
            jvm_silent_since=silent,
            held_since=None if held is None else held.at,
        )
        if observed is Observed.REFUSED and runner.stream.reads is None:
            lag = None  # its position is not one of the topic that is there now
        is_held = observed is Observed.WAITING and held is not None and not (facts.waiting_for or away)
        newest = (runner.log.newest(1) or [{}])[0]
        return StreamStatus(
            name=runner.stream.name,
            desired=runner.desired,
            observed=observed,
            since=since,
            observed_at=now,
            valid_until=now + timedelta(seconds=settings.status_validity_seconds),
            last_commit_at=runner.last_commit_at,
            last_batch_id=runner.committed,
            batch_seconds=newest.get("batch_seconds"),
            input_rows_per_second=newest.get("input_rows_per_second"),
            processed_rows_per_second=newest.get("processed_rows_per_second"),
            lag_records=None if lag is None else lag.records,
            lag_seconds=None if lag is None else lag.seconds(now),
            watermark=from_milliseconds(runner.watermark_ms) if runner.watermark_ms else None,
            state_rows=newest.get("state_rows"),
            state_bytes=newest.get("state_bytes"),
            waiting_for=facts.waiting_for or away or "an open transaction" if observed is Observed.WAITING else None,
            next_start=facts.next_start if observed in (Observed.BACKOFF, Observed.WAITING) else None,
            failures=runner.failures,
            last_error=_silence(silent) if silent is not None else held if is_held else runner.last_error,
        )


def _silence(since: datetime) -> FailureNote:
    return FailureNote(
        "jvm_silent",
        "The Java process of the host does not answer: it is frozen, or the machine has no time or memory for it.",
        since,
        "It goes on by itself when it answers again; else `rtap down`, then `rtap up --ui --streams`.",
    )


def _timeouts(settings: Settings) -> dict[Action, float]:
    stop = settings.stop_timeout_seconds + HARD_STOP_SECONDS
    return {
        Action.START: settings.start_timeout_seconds,
        Action.STOP: stop,
        Action.RESTART: stop + settings.start_timeout_seconds,
        Action.DRAIN: settings.drain_timeout_seconds,
    }
