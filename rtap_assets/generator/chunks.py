"""A run as a sequence of chunks: which records are good, which duplicate another, which are bad and why.

Pure: no I/O and no clock. The start time, the registry's ids and an earlier run's records are parameters; equal options,
start and inputs give equal bytes.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any

import numpy as np
from fastavro import schemaless_reader
from numpy.typing import NDArray

from rtap_assets.contracts.avro.wire import HEADER_BYTES
from rtap_assets.contracts.rules import Reason
from rtap_assets.generator.bad_records import Contract, bad_record
from rtap_assets.generator.encoding import encode_datum
from rtap_assets.generator.events import AWKWARD_AMOUNTS, Columns, good_events, objects
from rtap_assets.generator.options import TRANSACTION_ENDS, TRANSACTION_EVENTS, GeneratorOptions
from rtap_assets.generator.population import Integers
from rtap_assets.runtime.clock import to_milliseconds

GOOD, DUPLICATE, BAD = "good", "duplicate", "bad"
OWN_RUN = ""  # the ledger puts the run's id here

# Where the originals of duplicates are: shortly before in the same chunk, in an earlier chunk, in an earlier run.
DUPLICATE_SHARES = {"same chunk": 0.5, "later": 0.35, "earlier run": 0.15}
SAME_CHUNK_DISTANCE = 1000
KEPT_PER_CHUNK = 256
KEPT_CHUNKS = 40
# A later copy repeats an event at least this many chunks back, so that its original has left the streams' state.
LATER_COPY_CHUNKS = 3
AWKWARD_EVERY = 500
AWKWARD_PLACES = dict(zip((101, 351), AWKWARD_AMOUNTS, strict=True))
# Large records are rare: otherwise they would outweigh all others together.
REASON_WEIGHTS = {Reason.OVERSIZED: 0.05}


@dataclass(frozen=True)
class Chunk:
    """Records of the run in sending order, one row each. `columns` are the good event's, or its copy's.

    `reason` is None unless bad; `origin_run` and `origin_sequence` name the original of a duplicate. `transaction` is how
    the chunk's transaction ends; None without one.
    """

    number: int
    first_sequence: int
    kind: NDArray[np.object_]
    reason: NDArray[np.object_]
    columns: Columns
    timestamps_ms: Mapping[int, int] = field(default_factory=dict)
    transaction: str | None = None

    def __len__(self) -> int:
        return len(self.kind)


def make_chunks(
    options: GeneratorOptions, *, start_time: datetime, contract: Contract, replay: Columns | None = None
) -> Iterator[Chunk]:
    """Yield the run's chunks, endlessly if the options set no end. `replay` holds an earlier run's records (see `sample`).

    Time: without a rate, event times cover the `span_seconds` before `start_time`; with one, they follow it.
    """
    start_ms = to_milliseconds(start_time)
    run = _Run(options, contract, start_ms, replay, pending_reasons=list(options.reasons))
    first, number = 0, 0
    for number in count():
        left = options.chunk_events if options.total is None else options.total - first
        if left <= 0:
            break
        chunk = run.make(number, np.arange(first, first + min(left, options.chunk_events)))
        yield chunk
        first += len(chunk)
    for transaction in range(options.transactions):
        chunk = run.make(number + transaction, np.arange(first, first + TRANSACTION_EVENTS))
        yield replace(chunk, transaction=TRANSACTION_ENDS[transaction % len(TRANSACTION_ENDS)])
        first += len(chunk)


def sample(rng: np.random.Generator, chunk: Chunk, *, run_id: str = OWN_RUN) -> Columns:
    """Return some of the chunk's good records with their origin, to be sent again later."""
    good = np.flatnonzero(chunk.kind == GOOD)
    rows = np.sort(rng.choice(good, min(KEPT_PER_CHUNK, len(good)), replace=False))
    taken = {name: column[rows] for name, column in chunk.columns.items()}
    return taken | {"origin_run": objects([run_id] * len(rows)), "origin_sequence": chunk.first_sequence + rows}


def concatenate(parts: Sequence[Columns]) -> Columns:
    """Return the rows of all parts, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _due_ms(options: GeneratorOptions, start_ms: int, sequence: Integers) -> Integers:
    """Return when each record is ingested: spread over the simulated history, or at the steady rate."""
    if options.rate is not None:
        return np.asarray(start_ms + (sequence * 1000 / options.rate).astype(np.int64))
    assert options.total is not None
    span_ms = int(options.span_seconds * 1000)
    through = np.minimum(sequence + 1, options.total) * span_ms // max(options.total, 1)
    return np.asarray(start_ms - span_ms + through)


@dataclass
class _Run:
    """State carried from chunk to chunk: records to copy, and the reasons that have not occurred yet."""

    options: GeneratorOptions
    contract: Contract
    start_ms: int
    replay: Columns | None
    pending_reasons: list[Reason]
    earlier: deque[Columns] = field(default_factory=lambda: deque(maxlen=KEPT_CHUNKS))

    def make(self, number: int, sequence: Integers) -> Chunk:
        """Return the next chunk. Its randomness depends only on seed, start and number."""
        rng = np.random.default_rng([self.options.seed, self.start_ms, number])
        kind = self._kinds(rng, len(sequence))
        awkward = np.zeros(len(sequence), dtype=np.int64)
        for place, amount in AWKWARD_PLACES.items():
            awkward[(sequence % AWKWARD_EVERY == place) & (kind == GOOD)] = amount
        base_ms = _due_ms(self.options, self.start_ms, sequence)
        columns = good_events(rng, self.options, self.contract.ids, base_ms=base_ms, awkward=awkward)
        columns |= {"origin_run": objects([OWN_RUN] * len(sequence)), "origin_sequence": sequence.copy()}
        self._copy_duplicates(rng, kind, columns)
        self.__copy_later(rng, kind, columns)
        reason = objects([None] * len(sequence))
        timestamps = self._corrupt(rng, np.flatnonzero(kind == BAD), columns, reason)
        chunk = Chunk(number, int(sequence[0]), kind, reason, columns, timestamps)
        self.earlier.append(sample(rng, chunk))
        return chunk

    def _kinds(self, rng: np.random.Generator, size: int) -> NDArray[np.object_]:
        draw = rng.random(size)
        bad, copied = self.options.invalid, self.options.duplicates
        kind = np.where(draw < bad, BAD, np.where(draw < bad + copied, DUPLICATE, GOOD)).astype(object)
        good = np.flatnonzero(kind == GOOD)
        head = kind[: good[0] if len(good) else size]
        head[head == DUPLICATE] = GOOD  # no record precedes them
        return kind

    def _copy_duplicates(self, rng: np.random.Generator, kind: NDArray[np.object_], columns: Columns) -> None:
        """Overwrite the rows of duplicates with their originals', byte for byte."""
        rows, good = np.flatnonzero(kind == DUPLICATE), np.flatnonzero(kind == GOOD)
        draw = rng.random(len(rows))
        near, later = DUPLICATE_SHARES["same chunk"], DUPLICATE_SHARES["later"]
        from_later = (draw >= near) & (draw < near + later) & bool(self.earlier)
        from_replay = (draw >= near + later) & (self.replay is not None)
        here = rows[~from_later & ~from_replay]
        latest = np.searchsorted(good, here) - 1
        originals = good[np.maximum(latest - rng.integers(0, SAME_CHUNK_DISTANCE, len(here)), 0)]
        _overwrite(columns, here, columns, originals)
        if self.earlier:
            pool = concatenate(self.earlier)
            _overwrite(columns, rows[from_later], pool, rng.integers(0, len(pool["key"]), int(from_later.sum())))
        if self.replay is not None:
            picked = rng.integers(0, len(self.replay["key"]), int(from_replay.sum()))
            _overwrite(columns, rows[from_replay], self.replay, picked)

    def __copy_later(self, rng: np.random.Generator, kind: NDArray[np.object_], columns: Columns) -> None:
        """Turn some good rows into copies of events of several chunks ago, keeping the event times of the replaced rows."""
        old = list(self.earlier)[:-LATER_COPY_CHUNKS]
        rows = np.flatnonzero((kind == GOOD) & (rng.random(len(kind)) < self.options.later_copies))
        if old and len(rows):
            pool = concatenate(old)
            picked = rng.choice(len(pool["key"]), min(len(rows), len(pool["key"])), replace=False)
            _copy_later(columns, rows[: len(picked)], pool, picked, schemas=self.contract.schemas)
            kind[rows[: len(picked)]] = DUPLICATE

    def _corrupt(
        self, rng: np.random.Generator, rows: Integers, columns: Columns, reason: NDArray[np.object_]
    ) -> dict[int, int]:
        """Turn the given rows into bad records; return the producer's timestamp by row, if one is claimed."""
        timestamps = {}
        for row, chosen in zip(rows.tolist(), self._reasons(rng, len(rows)), strict=True):
            version = int(columns["schema_version"][row])
            key, value = columns["key"][row], columns["value"][row]
            message = bad_record(rng, chosen, self.contract, key=key, value=value, version=version)
            reason[row] = chosen
            columns["key"][row], columns["value"][row], columns["event_id"][row] = (
                message.key,
                message.value,
                message.event_id,
            )
            if message.timestamp_ms is not None:
                timestamps[row] = message.timestamp_ms
        return timestamps

    def _reasons(self, rng: np.random.Generator, size: int) -> list[Reason]:
        """Return each reason once before any occurs again; then random ones."""
        first, self.pending_reasons = self.pending_reasons[:size], self.pending_reasons[size:]
        weights = np.array([REASON_WEIGHTS.get(reason, 1.0) for reason in self.options.reasons])
        if len(first) == size:
            return first
        drawn = rng.choice(len(weights), size - len(first), p=weights / weights.sum())
        return [*first, *(self.options.reasons[index] for index in drawn)]


def _overwrite(target: Columns, rows: Integers, source: Columns, source_rows: Integers) -> None:
    for name, column in target.items():
        column[rows] = source[name][source_rows]


def _copy_later(
    columns: Columns, rows: Integers, originals: Columns, picked: Integers, *, schemas: Mapping[int, dict[str, Any]]
) -> None:
    """Overwrite `rows` of `columns` with copies of the picked originals, keeping the event and ingest time of each row.

    `schemas` are the writer schemas without logical types, by version.
    """
    times = {name: columns[name][rows].copy() for name in ("event_time", "ingest_time")}
    for name, column in columns.items():
        column[rows] = originals[name][picked]
    for place, row in enumerate(rows.tolist()):
        schema = schemas[int(columns["schema_version"][row])]
        value: bytes = columns["value"][row]
        event: dict[str, Any] = schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), schema, None)
        moved = event | {name: int(time[place]) for name, time in times.items()}
        columns["value"][row] = value[:HEADER_BYTES] + encode_datum(moved, schema)
    for name, time in times.items():
        columns[name][rows] = time
    columns["delayed"][rows] = np.False_
