"""Sending at a steady pace, with a producer that only notes what it is told."""

from __future__ import annotations

from typing import Any

from generator_fixtures import chunks_of

from rtap_assets.generator.delivery import Sender
from rtap_assets.generator.options import GeneratorOptions


class NotingProducer:
    """Takes every record; keeps how long it was asked to wait for events."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.sent = 0

    def poll(self, timeout: float) -> int:
        self.waits.append(timeout)
        return 0

    def produce_batch(self, _topic: str, messages: list[dict[str, Any]]) -> int:
        self.sent += len(messages)
        return len(messages)

    def produce(self, _topic: str, **_message: Any) -> None:
        self.sent += 1


def test_a_turn_that_comes_between_two_looks_at_the_clock_is_not_waited_for_without_end() -> None:
    """The Kafka client takes a wait below 0 as one without end; the machine may be busy for longer than a turn is away."""
    (chunk,) = chunks_of(GeneratorOptions(events=10, duplicates=0, invalid=0))
    looks: list[float] = []

    def due_seconds(_row: int) -> float:
        looks.append(0.001 if len(looks) % 2 == 0 else -0.5)
        return looks[-1]

    producer = NotingProducer()
    looked = iter(range(1_000))
    Sender(producer, "events").send(chunk, due_seconds=due_seconds, hurried=lambda: next(looked) > 100)  # type: ignore[arg-type]
    assert producer.sent == len(chunk)
    assert -0.5 in looks
    assert min(producer.waits) == 0
