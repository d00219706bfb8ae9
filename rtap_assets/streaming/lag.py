"""How far each stream is behind the end of its source, looked at by a thread per dependency.

A broker or catalog that is frozen holds up its own probe alone: the newest reading stays in memory, with its age.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.backlog import backlog as kafka_backlog
from rtap_assets.lake.backlog import backlog as table_backlog
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.streaming.checkpoints import committed_position
from rtap_assets.streaming.queries import StreamDefinition

BROKER, CATALOG = "broker", "catalog"


@dataclass(frozen=True)
class Lag:
    """What was left to read at `at`, and since when the oldest of it waits. None: not known."""

    at: datetime
    records: int | None
    oldest_at: datetime | None

    def seconds(self, now: datetime) -> float | None:
        """The age of the oldest unread record; zero when all is read."""
        if self.records == 0:
            return 0.0
        return None if self.oldest_at is None else max(0.0, (now - self.oldest_at).total_seconds())


class SourceProbe:
    """Looks at the sources that one dependency holds, every `lag_probe_seconds`, until it is closed."""

    def __init__(
        self,
        settings: Settings,
        dependency: str,
        streams: Sequence[StreamDefinition],
        *,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._dependency, self._streams = settings, dependency, streams
        self._clock, self._say = clock, say
        self._readings: dict[str, Lag] = {}
        self._unknown: dict[str, str] = {}  # stream -> why it has no reading, as it was said
        self._asking_since: datetime | None = None
        self._away_since: datetime | None = None
        self._closing = Event()
        self._thread = Thread(target=self._run, name=f"probe-{dependency}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float) -> None:
        self._closing.set()
        self._thread.join(seconds)

    def lag(self, stream: str, now: datetime) -> Lag | None:
        """The newest reading, unless it is too old to be told."""
        reading = self._readings.get(stream)
        longest = timedelta(seconds=self._settings.lag_probe_seconds + self._settings.status_validity_seconds)
        return None if reading is None or now - reading.at > longest else reading

    def is_away(self, now: datetime) -> bool:
        """Whether the dependency refuses to answer, or has been asked for too long without an answer."""
        asking_since = self._asking_since
        patience = timedelta(seconds=2 * self._settings.request_timeout_seconds)
        return self._away_since is not None or (asking_since is not None and now - asking_since > patience)

    def _run(self) -> None:
        while True:
            self._asking_since = self._clock()
            try:
                for stream in self._streams:
                    self._measure(stream)
                self._heard()
            except DependencyUnavailable as error:
                if self._away_since is None:
                    self._away_since = self._clock()
                    self._say(f"{self._dependency} does not answer: {error.message}")
            finally:
                self._asking_since = None
            if self._closing.wait(self._settings.lag_probe_seconds):
                return

    def _measure(self, stream: StreamDefinition) -> None:
        """A new reading; none at all where it fails, so that an old one is not told and the other streams keep theirs."""
        try:
            self._readings[stream.name] = measure_lag(self._settings, stream, clock=self._clock)
            self._unknown.pop(stream.name, None)
        except DependencyUnavailable:
            raise
        except Exception as error:  # a probe that dies would be silence: say it once, look again later
            self._readings.pop(stream.name, None)
            if self._unknown.get(stream.name) != (why := repr(error)):
                self._unknown[stream.name] = why
                self._say(f"lag of {stream.name} is not known: {why}")

    def _heard(self) -> None:
        if self._away_since is not None:
            self._say(f"{self._dependency} answers again")
        self._away_since = None


def measure_lag(settings: Settings, stream: StreamDefinition, *, clock: Callable[[], datetime]) -> Lag:
    """How much the source of the stream holds past the stream's newest commit.

    Raises:
        DependencyUnavailable: broker or catalog did not answer.
        ConfigurationError, ServingError: there is no such topic or table.
    """
    position = committed_position(stream.checkpoint(settings))
    if stream.reads is None:
        read = (position or {}).get(settings.topic_events, {})
        waiting = kafka_backlog(settings, settings.topic_events, {int(key): offset for key, offset in read.items()})
        return Lag(clock(), waiting.records, waiting.oldest_at)
    with open_catalog(settings) as catalog:
        left = table_backlog(load_table(catalog, stream.reads.identifier), position)
    return Lag(clock(), None, None) if left is None else Lag(clock(), left.rows, left.oldest_at)


def dependencies_of(stream: StreamDefinition) -> frozenset[str]:
    """What must answer for the stream to go on; a registry that is away holds up starts and new ids alone."""
    touches_kafka = stream.reads is None or stream.writes is None or not stream.native_sink
    return frozenset({CATALOG, BROKER} if touches_kafka else {CATALOG})
