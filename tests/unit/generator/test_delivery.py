"""The pace of the sender: how long it waits for a row's turn, with a clock that is passed in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rtap_assets.generator.chunks import GOOD, Chunk
from rtap_assets.generator.delivery import POLL_SECONDS, ROUND_SECONDS, Sender
from rtap_assets.generator.events import objects

ROWS = 50


class FakeProducer:
    """Acknowledges at once; notes how long it was told to wait, and lets that time pass, in whole milliseconds."""

    def __init__(self) -> None:
        self.now, self.sent, self.waits = 0.0, 0, list[float]()

    def poll(self, seconds: float) -> int:
        self.waits.append(seconds)
        self.now += int(seconds * 1_000) / 1_000
        return 0

    def produce_batch(self, _topic: str, batch: list[dict[str, Any]]) -> int:
        for message in batch:
            at = SimpleNamespace(offset=lambda: self.sent, partition=lambda: 0)
            message["callback"](None, at)
            self.sent += 1
        return len(batch)


def chunk() -> Chunk:
    columns = {name: objects([b"x"] * ROWS) for name in ("key", "value")}
    return Chunk(0, 0, objects([GOOD] * ROWS), objects([None] * ROWS), columns)


def sent_every(spacing_seconds: float) -> FakeProducer:
    """A producer that was sent a chunk at this pace. Each look at the clock takes a moment, as under load."""
    producer = FakeProducer()

    def due_seconds(row: int) -> float:
        producer.now += 0.0004
        return row * spacing_seconds - producer.now

    Sender(producer, "events").send(chunk(), due_seconds=due_seconds, hurried=lambda: False)  # type: ignore[arg-type]
    return producer


def test_a_row_that_comes_due_between_two_looks_is_not_waited_for_without_end() -> None:
    """A negative time to `poll` means for ever: where no acknowledgement is under way, nothing would end that."""
    producer = sent_every(0.0107)
    assert producer.sent == ROWS
    assert [wait for wait in producer.waits if not 0 <= wait <= POLL_SECONDS] == []


def test_rows_are_sent_no_sooner_than_they_are_due() -> None:
    producer = sent_every(0.2)
    assert producer.sent == ROWS
    assert producer.now >= (ROWS - 1) * 0.2
    assert max(producer.waits) == POLL_SECONDS


def test_a_fast_pace_is_kept_in_rounds() -> None:
    """A wait of less than a millisecond is none: a loop of them would burn a core."""
    producer = sent_every(0.005)
    assert producer.sent == ROWS
    assert (ROWS - 1) * 0.005 <= producer.now <= ROWS * 0.005 + ROUND_SECONDS + 0.1
    assert {wait for wait in producer.waits if wait} == {ROUND_SECONDS}
