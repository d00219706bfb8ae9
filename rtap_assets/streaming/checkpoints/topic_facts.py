"""A topic as its stream has read it and as the broker has it, seen at one time; `topic_verification.py` judges it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import StreamSpec
from rtap_assets.kafka.topics import TopicIdentity, beginning_offsets, high_watermarks, topic_identity
from rtap_assets.streaming.checkpoints.files import committed_position
from rtap_assets.streaming.checkpoints.topic_binding import TopicBinding, by_partition, read_binding


@dataclass(frozen=True)
class Lost:
    """Offsets that the broker no longer keeps and the stream has not read; both ends inclusive."""

    kafka_partition: int
    first_offset: int
    last_offset: int

    @property
    def records(self) -> int:
        return self.last_offset - self.first_offset + 1

    def __str__(self) -> str:
        return (
            f"Kafka partition {self.kafka_partition}, offsets {self.first_offset} to {self.last_offset} ({self.records:,})"
        )


@dataclass(frozen=True)
class TopicFacts:
    """What a stream has read, and what the broker has, of its topic."""

    stream: str
    topic: str
    binding: TopicBinding | None
    found: TopicIdentity
    positions: Mapping[int, int]
    beginnings: Mapping[int, int]
    ends: Mapping[int, int]

    @property
    def is_other_topic(self) -> bool:
        """Return whether the id differs from the one that the stream is bound to; false where either is not known."""
        bound = None if self.binding is None else self.binding.topic_id
        return bound is not None and self.found.topic_id is not None and bound != self.found.topic_id

    @property
    def truncated(self) -> dict[int, int]:
        """Return, by Kafka partition, its end, where that is before what the stream has read."""
        return {
            partition: self.ends.get(partition, 0)
            for partition, position in self.positions.items()
            if position > self.ends.get(partition, 0)
        }

    @property
    def lost(self) -> list[Lost]:
        return [
            Lost(partition, position, self.beginnings[partition] - 1)
            for partition, position in sorted(self.positions.items())
            if position < self.beginnings.get(partition, 0)
        ]


def topic_facts(settings: Settings, stream: StreamSpec) -> TopicFacts:
    """Look at the checkpoint of a stream that follows a topic, and ask the broker.

    Raises:
        StreamError: a file of the checkpoint cannot be read.
        DependencyUnavailable: the broker did not answer.
        ConfigurationError: there is no such topic.
    """
    topic, binding = stream.topic_in(settings), read_binding(stream.checkpoint(settings))
    # The id first and once more at the end: what lies between is of that topic.
    found = topic_identity(settings, topic)
    facts = TopicFacts(
        stream.name,
        topic,
        binding,
        found,
        topic_positions(settings, stream, binding),
        beginning_offsets(settings, topic),
        high_watermarks(settings, topic),
    )
    again = topic_identity(settings, topic)
    return facts if again.topic_id == found.topic_id else replace(facts, found=again)


def topic_positions(settings: Settings, stream: StreamSpec, binding: TopicBinding | None) -> dict[int, int]:
    """Return where the stream reads on, by Kafka partition: its committed position, or where its checkpoint begins."""
    committed = (committed_position(stream.checkpoint(settings)) or {}).get(stream.topic_in(settings))
    if committed is not None:
        return by_partition(committed)
    return {} if binding is None else dict(binding.starting_offsets)


def topic_epoch(settings: Settings, stream: StreamSpec) -> int:
    """Return how often the stream's topic had been made again, as its rows say it from now on."""
    binding = read_binding(stream.checkpoint(settings))
    return 0 if binding is None else binding.topic_epoch


def starting_offsets(settings: Settings, stream: StreamSpec) -> str:
    """Return where a fresh checkpoint of the stream begins, as Spark's Kafka source takes it; it looks at nothing later.

    Raises:
        DependencyUnavailable, ConfigurationError: as `topic_facts`.
    """
    binding, topic = read_binding(stream.checkpoint(settings)), stream.topic_in(settings)
    if binding is None or not binding.starting_offsets:
        return "earliest"
    partitions = topic_identity(settings, topic).partitions
    # Spark wants every Kafka partition named; -2 is the beginning.
    offsets = {str(partition): binding.starting_offsets.get(partition, -2) for partition in partitions}
    return json.dumps({topic: offsets})
