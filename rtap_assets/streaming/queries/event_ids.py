"""Columns as numbers: event ids, UUIDs in either case and trimmed or not, as their 128 bits; instants as microseconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rtap_assets.contracts.rules import UUID_PATTERN
from rtap_assets.contracts.text import trim

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

LENGTH, DASHES = 36, (8, 13, 18, 23)
HIGH_DIGITS, LOW_DIGITS = ([place for place in range(LENGTH) if place not in DASHES][first::2] for first in (0, 1))
DIGIT_VALUES = bytes(int(chr(code), 16) if chr(code) in "0123456789abcdefABCDEF" else 0 for code in range(256))


@dataclass(frozen=True)
class EventIds:
    """Event ids: the upper and the lower 64 bits of each."""

    upper: Words
    lower: Words

    def __len__(self) -> int:
        return len(self.upper)

    def __getitem__(self, rows: Rows | Mask) -> EventIds:
        return EventIds(self.upper[rows], self.lower[rows])


def ids_after(batches: Iterable[pa.RecordBatch], oldest_us: int) -> Iterator[tuple[EventIds, Numbers]]:
    """Yield the ids of the rows whose event time is after this one, with those times, batch by batch."""
    for rows in batches:
        times = as_numbers(rows["event_time"])
        live = times > oldest_us
        yield read_event_ids(rows["event_id"].filter(pa.array(live))), times[live]


def as_numbers(column: pa.Array) -> Numbers:
    """Return numbers and instants as 64-bit integers; null, as in rows older than their column, is 0."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC")).view(pa.int64())
    numbers: Numbers = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return numbers


def read_event_ids(texts: pa.StringArray) -> EventIds:
    """Return the ids of a column without nulls.

    Text that is no UUID once it is trimmed, which the contract keeps out of silver, counts by a 128-bit digest.
    """
    is_plain = np.asarray(pc.match_substring_regex(texts, rf"\A{UUID_PATTERN}\z"), bool)
    if is_plain.all():
        return _plain_ids(texts)
    upper, lower = np.zeros(len(texts), np.uint64), np.zeros(len(texts), np.uint64)
    plain = _plain_ids(texts.filter(pa.array(is_plain)))
    upper[is_plain], lower[is_plain] = plain.upper, plain.lower
    for row in np.flatnonzero(~is_plain):
        upper[row], lower[row] = _odd_id(texts[int(row)].as_py())
    return EventIds(upper, lower)


def _plain_ids(texts: pa.StringArray) -> EventIds:
    if not len(texts):
        return EventIds(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    _, offsets, data = texts.buffers()
    begin = int(np.frombuffer(offsets, np.int32)[texts.offset])
    text = memoryview(data)[begin : begin + LENGTH * len(texts)]
    digits = np.frombuffer(bytes(text).translate(DIGIT_VALUES), np.uint8).reshape(-1, LENGTH)
    packed = (digits[:, HIGH_DIGITS] << 4) | digits[:, LOW_DIGITS]
    words = np.ascontiguousarray(packed).view(">u8").astype(np.uint64)
    return EventIds(np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1]))


def _odd_id(text: str) -> tuple[int, int]:
    name = trim(text).lower()
    if re.fullmatch(UUID_PATTERN, name):
        number = UUID(name).int
    else:
        number = int.from_bytes(blake2b(name.encode(), digest_size=16).digest(), "big")
    return number >> 64, number & (2**64 - 1)
