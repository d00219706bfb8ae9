"""How far each stream is behind the end of its source, and what holds that end up, measured by a thread per dependency.

A broker or catalog that is frozen holds up its own probe alone: the newest reading stays in memory, with its age.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread

from rtap_assets.config import Settings
from rtap_assets.contracts.topics import Topic
from rtap_assets.errors import DependencyUnavailable, StreamError
from rtap_assets.kafka.backlog import backlog as kafka_backlog
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.backlog import backlog as table_backlog
from rtap_assets.streaming.checkpoints.files import committed_position
from rtap_assets.streaming.checkpoints.topic_binding import read_binding
from rtap_assets.streaming.checkpoints.topic_facts import topic_positions
from rtap_assets.streaming.checkpoints.topic_verification import verify_position
from rtap_assets.streaming.model.states import FailureNote
from rtap_assets.streaming.probes.open_transactions import Describe, TransactionWatch
from rtap_assets.streaming.queries.definitions import StreamDefinition

BROKER, CATALOG = "broker", "catalog"


@dataclass(frozen=True)
class Lag:
    """What was left to read at `at`, and since when the oldest of it waits. None: not known.

    From Kafka that is up to the last stable offset: what an open transaction holds back cannot be read, and does not count.
    """

    at: datetime
    records: int | None
    oldest_at: datetime | None

    def seconds(self, now: datetime) -> float | None:
        """Return the age of the oldest unread record; zero when all is read."""
        if self.records == 0:
            return 0.0
        return None if self.oldest_at is None else max(0.0, (now - self.oldest_at).total_seconds())


@dataclass(frozen=True)
class Refusal:
    """What was found to be wrong with a source at `at`."""

    error: StreamError
    at: datetime


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
        describe: Describe = lambda topic, partition: "",
    ) -> None:
        self._settings, self._dependency, self._streams = settings, dependency, streams
        self._clock, self._say = clock, say
        self._readings: dict[str, Lag] = {}
        self._watches = {
            stream.name: TransactionWatch(settings, stream.topic_in(settings), describe=describe)
            for stream in streams
            if stream.reads_kafka
        }
        self._held: dict[str, FailureNote] = {}
        self._refusals: dict[str, Refusal] = {}
        self._unknown: dict[str, str] = {}  # stream -> why it has no reading, as it was logged
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
        """Return the newest reading, unless it is too old to be shown."""
        reading = self._readings.get(stream)
        longest = timedelta(seconds=self._settings.lag_probe_seconds + self._settings.status_validity_seconds)
        return None if reading is None or now - reading.at > longest else reading

    def open_transaction(self, stream: str, now: datetime) -> FailureNote | None:
        """Return what is known of a transaction that has held the stream's source up for long; None without one."""
        return None if self.lag(stream, now) is None else self._held.get(stream)

    def refusal(self, stream: str) -> Refusal | None:
        """Return why the stream must not read on, as the newest look at its source found; None where it may."""
        return self._refusals.get(stream)

    def is_away(self, now: datetime) -> bool:
        """Return whether the dependency refuses to answer, or has been asked for too long without an answer."""
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
        """Take a new reading; none where it fails, so that no old one is shown and the other streams keep theirs."""
        try:
            if stream.reads_kafka:
                verify_position(self._settings, stream)
            self._refusals.pop(stream.name, None)
            self._readings[stream.name] = measure_lag(self._settings, stream, clock=self._clock)
            if (watch := self._watches.get(stream.name)) is not None:
                self._hold(stream.name, watch.look(self._clock()))
            self._unknown.pop(stream.name, None)
        except DependencyUnavailable:
            raise
        except StreamError as error:  # what is left to read is not known then, and never zero
            self._readings.pop(stream.name, None)
            self._refusals[stream.name] = Refusal(error, self._clock())
        except Exception as error:  # a probe that dies would be silence: say it once, look again later
            self._readings.pop(stream.name, None)
            if self._unknown.get(stream.name) != (why := repr(error)):
                self._unknown[stream.name] = why
                self._say(f"lag of {stream.name} is not known: {why}")

    def _hold(self, stream: str, note: FailureNote | None) -> None:
        before = self._held.pop(stream, None)
        if note is not None:
            self._held[stream] = note
        if note is not None and (before is None or before.at != note.at):
            self._say(f"{stream}: WAITING: {note.message}")
        elif note is None and before is not None:
            self._say(f"{stream}: no transaction has been open for long any more")

    def _heard(self) -> None:
        if self._away_since is not None:
            self._say(f"{self._dependency} answers again")
        self._away_since = None


def measure_lag(settings: Settings, stream: StreamDefinition, *, clock: Callable[[], datetime]) -> Lag:
    """Return how much the source of the stream holds past the stream's newest commit.

    Raises:
        DependencyUnavailable: broker or catalog did not answer.
        ConfigurationError, ServingError: there is no such topic or table.
    """
    if isinstance(stream.reads, Topic):
        read = topic_positions(settings, stream, read_binding(stream.checkpoint(settings)))
        waiting = kafka_backlog(settings, stream.topic_in(settings), read)
        return Lag(clock(), None, None) if waiting is None else Lag(clock(), waiting.records, waiting.oldest_at)
    position = committed_position(stream.checkpoint(settings))
    with open_catalog(settings) as catalog:
        left = table_backlog(load_table(catalog, stream.reads.identifier), position)
    return Lag(clock(), None, None) if left is None else Lag(clock(), left.rows, left.oldest_at)


def dependencies_of(stream: StreamDefinition) -> frozenset[str]:
    """Return what must answer for the stream to go on; a registry that is away holds up starts and new ids alone."""
    touches_kafka = stream.reads_kafka or stream.publishes is not None
    return frozenset({CATALOG, BROKER} if touches_kafka else {CATALOG})
