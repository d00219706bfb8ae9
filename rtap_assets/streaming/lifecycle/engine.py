"""The stream engine: four streams in one Spark session, a thread for each, and what may be asked of them.

The caller owns the checkpoints and has the tables in place (`open_layers`). Questions are answered from memory: a frozen
JVM, broker or catalog holds up its own thread, and no answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.checkpoints.files import committed_position
from rtap_assets.streaming.checkpoints.progress import ProgressLog
from rtap_assets.streaming.jvm_heartbeat import JvmHeartbeat
from rtap_assets.streaming.lifecycle.command_tracker import HARD_STOP_SECONDS, CommandTracker, timeouts_of
from rtap_assets.streaming.lifecycle.desired import DurableStates
from rtap_assets.streaming.lifecycle.drains import Drain, everything_there_is
from rtap_assets.streaming.lifecycle.events import HostResumed, TableWorkEnds
from rtap_assets.streaming.lifecycle.observation import ProbeReadings, status_of
from rtap_assets.streaming.lifecycle.phases import StreamState
from rtap_assets.streaming.lifecycle.query_watch import Context
from rtap_assets.streaming.lifecycle.restart_policy import Policy
from rtap_assets.streaming.lifecycle.supervisor import StreamSupervisor
from rtap_assets.streaming.model.operation import STREAM_ACTIONS, Action, Operation
from rtap_assets.streaming.model.states import StreamStatus
from rtap_assets.streaming.operations.housekeeping import Housekeeper
from rtap_assets.streaming.probes.disk_room import have_room, written_folders
from rtap_assets.streaming.probes.sources import Sources
from rtap_assets.streaming.queries.definitions import STREAMS, StreamDefinition
from rtap_assets.streaming.queries.query_handle import SparkAccess, jvm_is_alive

PROBE_STOP_SECONDS = 2.0
LOG = logging.getLogger(__name__)


class StreamEngine:
    """The streams of one process. Nothing runs until `resume`, or a start or drain is submitted.

    With `is_host` false it serves one command: nothing is read from or written to what hosts keep, and it neither watches
    the sources nor looks after the tables.
    """

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        *,
        streams: Mapping[str, StreamDefinition] = STREAMS,
        on_batch: Callable[[Mapping[str, Any]], object] = lambda _: None,
        say: Callable[[str], None] = LOG.info,
        clock: Callable[[], datetime] = utc_now,
        is_host: bool = True,
    ) -> None:
        self._session, self._settings, self._streams, self._clock = session, settings, streams, clock
        self._say, self._on_batch = say, on_batch
        self._durable = DurableStates(settings, is_durable=is_host)
        self._sources = Sources(session, settings, streams.values(), clock=clock, say=say)
        self._heartbeat = JvmHeartbeat(self._ask_jvm, interval_seconds=settings.host_watch_seconds, clock=clock)
        self._supervisors = {name: self._supervisor(stream) for name, stream in streams.items()}
        self._housekeeper = Housekeeper(session, settings, pause=self.paused, clock=clock)
        for supervisor in self._supervisors.values():
            supervisor.start()
        if is_host:
            self._sources.start()
            self._housekeeper.start()
            self._heartbeat.start()

    def resume(self) -> None:
        """Start the streams that are desired to run."""
        for supervisor in self._supervisors.values():
            supervisor.post(HostResumed())

    def statuses(self) -> list[StreamStatus]:
        """Return every stream as of now, from memory."""
        now = self._clock()
        return [self._status(supervisor, now) for supervisor in self._supervisors.values()]

    def submit(self, stream: str, action: str) -> Operation:
        """Set what is desired of a stream and return at once; ask `operation` how it goes.

        Raises:
            StreamError: there is no such stream or action.
        """
        if stream not in self._supervisors or action not in STREAM_ACTIONS:
            raise StreamError(
                f"There is no {action} of {stream}.",
                remedy=f"Streams: {', '.join(self._supervisors)}; actions: {', '.join(STREAM_ACTIONS)}.",
            )
        return self._supervisors[stream].submit(Action(action))

    def submit_for_tables(self, action: str, arguments: Mapping[str, Any] | None = None) -> Operation:
        """Ask for one of `TABLE_ACTIONS`; return at once. It cannot be cancelled: its steps are short.

        Raises:
            ConfigurationError: the arguments are not those of the action.
        """
        return self._housekeeper.submit(Action(action), arguments)

    def operation(self, id: str) -> Operation | None:
        """Return the course of a command; None when it is not known (any more)."""
        found = (supervisor.operation(id) for supervisor in self._supervisors.values())
        return next((operation for operation in found if operation is not None), self._housekeeper.operation(id))

    def cancel(self, id: str) -> Operation:
        """End a command: a drain gives the stream back to what is desired, start and stop keep what they made desired.

        Raises:
            StreamError: the operation is not known.
        """
        for supervisor in self._supervisors.values():
            if (operation := supervisor.cancel(id)) is not None:
                return operation
        raise StreamError(f"There is no operation {id}.", remedy="Operations are kept until the host ends.")

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Let the stream rest between two batches for the time of the block, whatever is desired of it.

        Raises:
            StreamError: it did not come to rest within the time that a stop may take.
        """
        supervisor = self._supervisors.get(name)
        if supervisor is None:
            yield
            return
        try:
            if not supervisor.pause(seconds=self._settings.stop_timeout_seconds + HARD_STOP_SECONDS):
                raise StreamError(
                    f"{name} did not come to rest between two batches.", remedy="Try again when its batches are shorter."
                )
            yield
        finally:
            supervisor.post(TableWorkEnds())

    def progress(self, stream: str, limit: int) -> list[dict[str, Any]]:
        """Return the newest batches of a stream, oldest first.

        Raises:
            StreamError: there is no such stream.
        """
        if stream not in self._supervisors:
            raise StreamError(f"There is no stream {stream}.", remedy=f"Streams: {', '.join(self._supervisors)}.")
        return self._supervisors[stream].log.newest(limit)

    def jvm_is_alive(self) -> bool:
        """Return whether the session's JVM process still exists (it may be frozen)."""
        return jvm_is_alive(self._session)

    def jvm_answers(self) -> bool:
        """Return whether the JVM lives and has answered recently. From memory, as every answer here."""
        return self.jvm_is_alive() and self._heartbeat.silent_since(self._clock()) is None

    def close(self, *, seconds: float) -> dict[str, bool]:
        """Stop every stream between batches and end the threads; what is desired stays. Return name -> clean."""
        deadline = time.monotonic() + seconds
        self._heartbeat.close()
        self._housekeeper.close(0)
        for supervisor in self._supervisors.values():
            supervisor.close(stop_seconds=seconds)
        clean = {name: one.join(deadline - time.monotonic()) for name, one in self._supervisors.items()}
        self._housekeeper.close(deadline - time.monotonic())
        self._sources.close(seconds=max(0.0, min(PROBE_STOP_SECONDS, deadline - time.monotonic())))
        return clean

    def _ask_jvm(self) -> object:
        java: Any = self._session.sparkContext._jvm
        return getattr(java, "java.lang.System").nanoTime()

    def _status(self, supervisor: StreamSupervisor, now: datetime) -> StreamStatus:
        stream, sources = self._streams[supervisor.name], self._sources
        silent = self._heartbeat.silent_since(now) if self._durable.is_durable else None
        held, lag = sources.open_transaction(stream, now), sources.lag(stream, now)
        return status_of(
            supervisor.name,
            supervisor.snapshot,
            ProbeReadings(sources.away(stream), silent, held, lag),
            policy=supervisor.policy,
            now=now,
            validity_seconds=self._settings.status_validity_seconds,
            reads_kafka=stream.reads_kafka,
        )

    def _supervisor(self, stream: StreamDefinition) -> StreamSupervisor:
        settings, spark_log = self._settings, str(self._settings.log_dir / "spark.log")
        policy = Policy.of(settings, trigger_seconds=stream.trigger_seconds(settings))
        access = SparkAccess(self._session, settings, stream)

        def find_target(state: StreamState) -> Callable[[], bool]:
            if not state.has_query:
                access.verify()
            return everything_there_is(settings, stream)

        position = partial(committed_position, stream.checkpoint(settings))
        commands = CommandTracker(
            stream.name,
            policy=policy,
            durable=self._durable,
            timeouts=timeouts_of(settings),
            patience_seconds=settings.dependency_patience_seconds,
            begin_drain=lambda before: Drain(before, find_target=find_target, position=position, now=self._clock()),
            away=lambda: self._sources.away(stream),
            clock=self._clock,
            spark_log=spark_log,
        )
        context = Context(
            clock=self._clock,
            say=self._say,
            spark_log=spark_log,
            has_room=lambda: have_room(written_folders(settings)),
            refusal=lambda: self._sources.refusal(stream),
            on_batch=self._on_batch,
        )
        log = ProgressLog(settings, stream.name)
        return StreamSupervisor(access, policy=policy, commands=commands, durable=self._durable, log=log, context=context)
