"""What the streams depend on, watched together: which dependency is away, how far each source is ahead, what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime

from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.streaming.model.states import FailureNote
from rtap_assets.streaming.probes.open_transactions import producer_finder
from rtap_assets.streaming.probes.source_probe import BROKER, CATALOG, Lag, Refusal, SourceProbe, dependencies_of
from rtap_assets.streaming.queries.definitions import StreamDefinition


class Sources:
    """A probe for the broker and one for the catalog. Answers come from memory; before `start` there are none."""

    def __init__(
        self,
        session: SparkSession,
        settings: Settings,
        streams: Iterable[StreamDefinition],
        *,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        every = list(streams)
        kafka, tables = ([one for one in every if one.reads_kafka is of_kafka] for of_kafka in (True, False))
        describe = producer_finder(session, settings)
        self._clock = clock
        self._probes = {
            BROKER: SourceProbe(settings, BROKER, kafka, clock=clock, say=say, describe=describe),
            CATALOG: SourceProbe(settings, CATALOG, tables, clock=clock, say=say),
        }
        self._has_started = False

    def start(self) -> None:
        """Begin to look."""
        self._has_started = True
        for probe in self._probes.values():
            probe.start()

    def close(self, *, seconds: float) -> None:
        """Look no more; a probe that hangs is left behind."""
        deadline = time.monotonic() + seconds
        for probe in self._probes.values() if self._has_started else ():
            probe.close(max(0.0, deadline - time.monotonic()))

    def away(self, stream: StreamDefinition) -> str | None:
        """Return the dependency that the stream cannot go on without and that does not answer its probe, if any."""
        now = self._clock()
        return next((name for name in sorted(dependencies_of(stream)) if self._probes[name].is_away(now)), None)

    def refusal(self, stream: StreamDefinition) -> Refusal | None:
        """Return why the stream must not read on, if so."""
        return self._of(stream).refusal(stream.name)

    def lag(self, stream: StreamDefinition, now: datetime) -> Lag | None:
        """Return how far the stream is behind its source; None: not known."""
        return self._of(stream).lag(stream.name, now)

    def open_transaction(self, stream: StreamDefinition, now: datetime) -> FailureNote | None:
        """Return what holds the end of the source up, if a transaction does."""
        return self._of(stream).open_transaction(stream.name, now)

    def _of(self, stream: StreamDefinition) -> SourceProbe:
        return self._probes[BROKER if stream.reads_kafka else CATALOG]
