"""`generate`: sends seeded sales events to the events topic, with a ledger of intended records and their outcomes.

The pure functions of `chunks` build the records; this module adds clock, registry, broker, files and signals.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import numpy as np
from confluent_kafka import Producer

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.generator.chunks import GOOD, Chunk, concatenate, make_chunks, sample
from rtap_assets.generator.delivery import Delivery, Sender, producer_config
from rtap_assets.generator.events import Columns
from rtap_assets.generator.ledger import ACKNOWLEDGED, FAILED, ROLLED_BACK, UNKNOWN, LedgerWriter, counts, read_replay
from rtap_assets.generator.options import GenerationReport, GeneratorOptions
from rtap_assets.generator.preparation import prepare_contract, usable_for_replay
from rtap_assets.generator.transactions import send_in_transaction
from rtap_assets.kafka.patience import with_patience
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.runtime.clock import utc_now

CHUNKS_IN_FLIGHT = 2
KEPT_CHUNKS = 8


class Progress(Protocol):
    """Called after each chunk with the number of settled records; `total` is None for an endless run."""

    def __call__(self, settled: int, total: int | None) -> None: ...


def _silent(settled: int, total: int | None) -> None:
    """Ignore the progress."""


def generate(
    settings: Settings, options: GeneratorOptions, *, echo: Callable[[str], None] = print, progress: Progress = _silent
) -> GenerationReport:
    """Send the records that `options` describe and return their outcomes; the ledger is complete in any case.

    SIGINT and SIGTERM end the run after the current chunk; a second signal also ends the wait for the broker.

    Raises:
        DependencyUnavailable: broker or registry did not answer within the patience of a one-shot command.
        ConfigurationError: the options cannot be satisfied, the topic is missing, or the run id was used before.
    """
    patience = settings.dependency_patience_seconds
    contract = with_patience(lambda: prepare_contract(settings, options), what="preparing the schemas", seconds=patience)
    with_patience(
        lambda: end_offsets(settings, settings.topic_events), what="looking for the events topic", seconds=patience
    )
    now, started = utc_now(), time.monotonic()
    start = options.start_time or now
    run_id = options.run_id or f"{now:%Y%m%dT%H%M%S}-{now.microsecond:06d}-{options.seed}"
    replay = read_replay(settings.ledger_dir, usable=usable_for_replay(contract, start)) if options.duplicates else None
    run = _Run(settings, options, LedgerWriter(settings.ledger_dir, run_id), progress, started)
    echo(f"run {run_id}: {_intention(options)} to {settings.topic_events} on {settings.bootstrap_servers}")
    with _stop_signals() as stops, _collector_paused(pause=options.rate is None):
        run.send_all(make_chunks(options, start_time=start, contract=contract, replay=replay), stops)
    if stops():
        echo(f"run {run_id}: stopped on request; the ledger is complete.")
    return run.report()


def _intention(options: GeneratorOptions) -> str:
    amount = f"{options.total:,} records" if options.total is not None else "records until stopped"
    return f"{amount}, {'flat out' if options.rate is None else f'{options.rate:g} a second'}, seed {options.seed},"


@dataclass
class _Run:
    """The sending of one run, chunk by chunk, and its tally."""

    settings: Settings
    options: GeneratorOptions
    ledger: LedgerWriter
    progress: Progress
    started: float
    kinds: Counter[str] = field(default_factory=Counter)
    rolled_back: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    kept: deque[Columns] = field(default_factory=lambda: deque(maxlen=KEPT_CHUNKS))

    def send_all(self, chunks: Iterator[Chunk], stops: Callable[[], int]) -> None:
        """Record, send and settle each chunk; without a rate, the next one is built while the broker takes the last.

        Raises:
            DependencyUnavailable: no record of a chunk was acknowledged.
        """
        patience = self.settings.dependency_patience_seconds
        sender = Sender(Producer(producer_config(self.settings, patience_seconds=patience)), self.settings.topic_events)
        most_in_flight = CHUNKS_IN_FLIGHT if self.options.rate is None else 1
        in_flight: deque[Delivery] = deque()
        try:
            for chunk in chunks:
                self.ledger.intend(chunk)
                if chunk.transaction is not None:
                    self._send_in_transaction(chunk, in_flight, sender, stops)
                    continue
                in_flight.append(sender.send(chunk, due_seconds=self._pace(chunk), hurried=lambda: stops() > 0))
                while len(in_flight) >= most_in_flight:
                    self._require_acknowledgment(self._settle(in_flight.popleft(), sender, stops))
                if stops():
                    break
        finally:
            while in_flight:
                self._settle(in_flight.popleft(), sender, stops)
            if self.kept:
                self.ledger.keep_for_replay(concatenate(self.kept))

    def _send_in_transaction(
        self, chunk: Chunk, in_flight: deque[Delivery], sender: Sender, stops: Callable[[], int]
    ) -> None:
        """Send one chunk alone, after everything in flight."""
        while in_flight:
            self._settle(in_flight.popleft(), sender, stops)
        name = f"{self.ledger.run_id}-{chunk.number}"
        self._settle(send_in_transaction(self.settings, chunk, name=name, hurried=lambda: stops() > 1), sender, stops)

    def report(self) -> GenerationReport:
        """Return the tally so far."""
        return GenerationReport(
            run_id=self.ledger.run_id,
            intended=self.outcomes.total(),
            acknowledged=self.outcomes[ACKNOWLEDGED],
            aborted=self.outcomes[ROLLED_BACK],
            unknown=self.outcomes[UNKNOWN],
            failed=self.outcomes[FAILED],
            seconds=time.monotonic() - self.started,
            by_kind=dict(self.kinds),
            aborted_by_kind=dict(self.rolled_back),
            by_reason=dict(sorted(self.reasons.items())),
        )

    def _pace(self, chunk: Chunk) -> Callable[[int], float] | None:
        """Return the wait until a row is due, as a function of the row; None without a rate."""
        if self.options.rate is None:
            return None
        rate, first = self.options.rate, chunk.first_sequence
        return lambda row: self.started + (first + row) / rate - time.monotonic()

    def _settle(self, delivery: Delivery, sender: Sender, stops: Callable[[], int]) -> Counter[str]:
        """Wait for the chunk's outcomes, write them to the ledger and return the number of each."""
        # The producer's own timeout fires first; the margin lets its report arrive.
        deadline = time.monotonic() + self.settings.dependency_patience_seconds + 5
        sender.await_result(delivery, deadline=deadline, hurried=lambda: stops() > 1)
        if delivery.open:
            sender.give_up()
        outcomes, chunk = delivery.outcomes(), delivery.chunk
        self.ledger.settle(chunk, outcomes)
        kinds, reasons = counts(chunk)
        self.kinds.update(kinds)
        self.reasons.update(reasons)
        tally = Counter(outcomes.outcome.tolist())
        self.outcomes.update(tally)
        if tally[ROLLED_BACK] == tally.total():  # a transaction, of which no committed reader receives a record
            self.rolled_back.update(kinds)
        if (chunk.kind == GOOD).any():
            self.kept.append(sample(np.random.default_rng([self.options.seed, chunk.number]), chunk))
        self.progress(self.outcomes.total(), self.options.total)
        return tally

    def _require_acknowledgment(self, tally: Counter[str]) -> None:
        if tally[ACKNOWLEDGED]:
            return
        raise DependencyUnavailable(
            f"The broker at {self.settings.bootstrap_servers} acknowledged none of the last {tally.total()} records "
            f"({tally[UNKNOWN]} unknown, {tally[FAILED]} failed).",
            remedy="See `rtap status`; the ledger holds what is known.",
        )


@contextmanager
def _collector_paused(*, pause: bool) -> Iterator[None]:
    """Disable Python's cycle collector for a run without a rate: it finds nothing, and took a third of the time."""
    was_on = gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Count SIGINT and SIGTERM. Outside the main thread, signal handlers are left unchanged."""
    received: list[int] = []
    previous: dict[signal.Signals, Any] = {}

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, remember)
    try:
        yield lambda: len(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
