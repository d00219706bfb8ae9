"""Kafka partitions whose last stable offset is behind the high watermark: a transaction is open, and readers wait for it."""

from __future__ import annotations

from dataclasses import dataclass

from rtap_assets.config import Settings
from rtap_assets.kafka.topics import end_offsets, high_watermarks


@dataclass(frozen=True)
class HeldPartition:
    """`records` offsets from `first_offset` on are held back by a transaction that began there."""

    kafka_partition: int
    first_offset: int
    records: int


def held_partitions(settings: Settings, topic: str) -> list[HeldPartition]:
    """Return the Kafka partitions in which committed readers cannot go on to the end.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
        ConfigurationError: there is no such topic.
    """
    stable, ends = end_offsets(settings, topic), high_watermarks(settings, topic)
    return [
        HeldPartition(partition, offset, ends[partition] - offset)
        for partition, offset in stable.items()
        if ends.get(partition, 0) > offset
    ]
