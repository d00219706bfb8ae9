"""The ids of the events that silver holds and still remembers: exact, in memory, rebuilt from silver at each start.

An id takes 20 bytes: a 64-bit mix of its halves, by which a run is sorted; the lower half, which with the mix determines the
upper one; and the second from which it is forgotten. As a run grows it is merged with the one before it, so that runs are
few, and an id is moved a few times in its life. NumPy alone, no loop over rows. For one thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from rtap_assets.streaming.queries.event_ids import EventIds, Mask, Rows, Words

Instants = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.uint32]

SECOND_US = 1_000_000
LAST_SECOND = 2**32 - 1
MERGE_RATIO = 3  # the least size of a run, in sizes of the run after it
BYTES_PER_ID = 20


@dataclass(frozen=True)
class _Run:
    """Ids in the order of their mix."""

    mixed: Words
    lower: Words
    forgotten_at: Seconds

    def __len__(self) -> int:
        return len(self.mixed)

    def after(self, second: int) -> Self:
        """Return the run without the ids that are forgotten by this second."""
        kept = self.forgotten_at > second
        return self if kept.all() else type(self)(self.mixed[kept], self.lower[kept], self.forgotten_at[kept])

    @classmethod
    def sorted(cls, mixed: Words, lower: Words, forgotten_at: Seconds) -> Self:
        """Return a run of these ids, which come in any order."""
        order = np.argsort(mixed)
        return cls(mixed[order], lower[order], forgotten_at[order])

    def merged_with(self, other: Self) -> Self:
        halves = zip(vars(self).values(), vars(other).values(), strict=True)
        return self.sorted(*(np.concatenate(pair) for pair in halves))

    def find(self, mixed: Words, lower: Words, *, second: int) -> Mask:
        """Return for each id, in the order of their mix, whether the run has it and has not forgotten it by this second."""
        found = np.zeros(len(mixed), bool)
        places = np.searchsorted(self.mixed, mixed)
        asked = np.flatnonzero(places < len(self))
        while len(asked):  # again only where two ids share a mix, or an id is there a second time
            asked = asked[self.mixed[places[asked]] == mixed[asked]]
            there = places[asked]
            hit = (self.lower[there] == lower[asked]) & (self.forgotten_at[there] > second)
            found[asked[hit]] = True
            asked = asked[~hit]
            places[asked] += 1
            asked = asked[places[asked] < len(self)]
        return found


class SeenIds:
    """Ids with the event time of each; an id is remembered until the watermark is `horizon_seconds` past its event time."""

    def __init__(self, *, horizon_seconds: int) -> None:
        self._horizon_us = horizon_seconds * SECOND_US
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(2)]  # no producer can choose ids that collide
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        """Return how many ids are kept; some of them may be forgotten, and are dropped when their run is merged."""
        return sum(len(run) for run in self._runs)

    @property
    def bytes(self) -> int:
        """Return the memory that the ids take."""
        return BYTES_PER_ID * len(self)

    def first_copies(self, ids: EventIds, arrival: tuple[npt.NDArray[np.int64], ...], *, watermark_us: int) -> Mask:
        """Return which rows are the first of their id among the rows, and not remembered.

        `arrival`: what the rows are ordered by, the most significant first.
        """
        mixed = self._mix(ids)
        order = np.argsort(mixed)
        in_order = mixed[order]
        shared = np.zeros(len(ids), bool)
        same = in_order[1:] == in_order[:-1]
        shared[1:] |= same
        shared[:-1] |= same
        first = np.ones(len(ids), bool)
        first[_later_copies(ids, order[shared], arrival)] = False
        for run in self._runs:
            first[order[run.find(in_order, ids.lower[order], second=watermark_us // SECOND_US)]] = False
        return first

    def knows(self, ids: EventIds, *, watermark_us: int) -> Mask:
        """Return which ids are remembered."""
        mixed = self._mix(ids)
        order = np.argsort(mixed)
        known = np.zeros(len(ids), bool)
        for run in self._runs:
            known[order] |= run.find(mixed[order], ids.lower[order], second=watermark_us // SECOND_US)
        return known

    def add(self, ids: EventIds, event_times_us: Instants, *, watermark_us: int) -> None:
        """Remember the ids."""
        self.add_all([(ids, event_times_us)], watermark_us=watermark_us)

    def add_all(self, chunks: Iterable[tuple[EventIds, Instants]], *, watermark_us: int) -> None:
        """Remember the ids of all chunks; they are sorted once, at the end."""
        columns = [self._columns(ids, times) for ids, times in chunks if len(ids)]
        if not columns:
            return
        run = _Run.sorted(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))
        while self._runs and len(self._runs[-1]) < MERGE_RATIO * len(run):
            second = watermark_us // SECOND_US
            run = self._runs.pop().after(second).merged_with(run)
        self._runs.append(run)

    def _columns(self, ids: EventIds, event_times_us: Instants) -> tuple[Words, Words, Seconds]:
        """Return what a run keeps of each id, in the given order."""
        until = np.clip((event_times_us + self._horizon_us) // SECOND_US + 1, 0, LAST_SECOND).astype(np.uint32)
        return self._mix(ids), ids.lower, until

    def _mix(self, ids: EventIds) -> Words:
        return (ids.upper ^ (ids.lower * self._factors[0])) * self._factors[1]


def _later_copies(ids: EventIds, rows: Rows, arrival: tuple[npt.NDArray[np.int64], ...]) -> Rows:
    """Return those of the rows whose id arrived before, in another of them."""
    columns = (*(column[rows] for column in reversed(arrival)), ids.lower[rows], ids.upper[rows])
    rows = rows[np.lexsort(columns)]
    is_copy = (ids.upper[rows][1:] == ids.upper[rows][:-1]) & (ids.lower[rows][1:] == ids.lower[rows][:-1])
    later: Rows = rows[1:][is_copy]
    return later
