"""The index of seen ids against a dictionary, over many batches of few ids: exact, and bounded."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from rtap_assets.streaming.queries.event_ids import EventIds, read_event_ids
from rtap_assets.streaming.queries.seen_ids import SECOND_US, SeenIds

HORIZON_SECONDS = 600


def ids_of(numbers: range) -> EventIds:
    return EventIds(np.zeros(len(numbers), np.uint64), np.array(numbers, np.uint64))


def add(seen: SeenIds, numbers: range, *, at: int, watermark: int = 0) -> None:
    times = np.full(len(numbers), at * SECOND_US)
    seen.add(ids_of(numbers), times, watermark_us=watermark * SECOND_US)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_copies_are_those_that_a_dictionary_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    seen, remembered = SeenIds(horizon_seconds=HORIZON_SECONDS), dict[tuple[int, int], int]()
    for newest in range(10_000, 13_000, 60):
        rows, watermark = int(random.integers(0, 60)), newest - HORIZON_SECONDS
        ids = EventIds(*(random.integers(0, most, rows).astype(np.uint64) for most in (3, 200)))
        times = random.integers(newest - 300, newest + 300, rows)
        arrival = (random.integers(0, 5, rows), random.integers(0, 3, rows), random.permutation(rows))
        first = seen.first_copies(ids, arrival, watermark_us=watermark * SECOND_US)

        keys = list(zip(ids.upper.tolist(), ids.lower.tolist(), strict=True))
        expected, met = np.zeros(rows, bool), set()
        for row in np.lexsort(tuple(reversed(arrival))):
            expected[row] = keys[row] not in met and remembered.get(keys[row], 0) <= watermark
            met.add(keys[row])
        assert first.tolist() == expected.tolist()
        known = seen.knows(ids, watermark_us=watermark * SECOND_US)
        assert known.tolist() == [remembered.get(key, 0) > watermark for key in keys]

        seen.add(ids[first], times[first] * SECOND_US, watermark_us=watermark * SECOND_US)
        remembered |= {keys[row]: int(times[row]) + HORIZON_SECONDS + 1 for row in np.flatnonzero(first)}


def test_an_id_is_remembered_until_the_watermark_is_a_horizon_past_it() -> None:
    seen = SeenIds(horizon_seconds=HORIZON_SECONDS)
    add(seen, range(1), at=1_000)
    until = (1_000 + HORIZON_SECONDS) * SECOND_US
    assert [bool(seen.knows(ids_of(range(1)), watermark_us=until + late)[0]) for late in (-1, SECOND_US)] == [True, False]


def test_what_is_forgotten_takes_no_memory_for_long() -> None:
    seen = SeenIds(horizon_seconds=HORIZON_SECONDS)
    for batch in range(200):
        add(seen, range(100 * batch, 100 * batch + 100), at=100 * batch, watermark=100 * batch)
    assert len(seen) < 5 * 100 * HORIZON_SECONDS // 100
    assert seen.bytes == 20 * len(seen)


UUIDS = [str(UUID(int=number)) for number in (0, 1, 2**64, 2**128 - 1, 0x0123456789ABCDEF0123456789ABCDEF)]


@pytest.mark.parametrize(
    "texts",
    [
        UUIDS,
        [text.upper() for text in UUIDS],
        [f"\t{text}\u00a0" for text in UUIDS],
        [text if number % 2 else f" {text.upper()}" for number, text in enumerate(UUIDS)],
    ],
)
def test_the_text_of_an_id_in_every_accepted_spelling_is_its_number(texts: list[str]) -> None:
    ids = read_event_ids(pa.array(["first", *texts]).slice(1))
    assert [int(upper) << 64 | int(lower) for upper, lower in zip(ids.upper, ids.lower, strict=True)] == [
        UUID(text).int for text in UUIDS
    ]


def test_text_that_is_no_uuid_has_a_number_of_its_own() -> None:
    odd = ["event-1", "event-2", "", f"{{{UUIDS[1][:34]}}}", UUIDS[1].replace("-", "_"), "g" + UUIDS[1][1:]]
    ids = read_event_ids(pa.array([*odd, *UUIDS, " EVENT-1 "]))
    numbers = [int(upper) << 64 | int(lower) for upper, lower in zip(ids.upper, ids.lower, strict=True)]
    assert numbers[0] == numbers[-1]
    assert len(set(numbers)) == len(odd) + len(UUIDS)


def test_no_rows_have_no_ids() -> None:
    assert len(read_event_ids(pa.array([], pa.string()))) == 0
    assert SeenIds(horizon_seconds=1).first_copies(ids_of(range(0)), (np.zeros(0, np.int64),), watermark_us=0).tolist() == []
