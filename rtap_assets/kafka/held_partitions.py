"""Kafka partitions whose last stable offset is behind the high watermark: an open transaction blocks committed readers."""

from __future__ import annotations

from dataclasses import dataclass

from rtap_assets.config import Settings
from rtap_assets.kafka.topics import end_offsets, high_watermarks


@dataclass(frozen=True)
class HeldPartition:
    """A transaction that began at `first_offset` holds back `records` offsets."""

    kafka_partition: int
    first_offset: int
    records: int


def held_partitions(settings: Settings, topic: str) -> list[HeldPartition]:
    """Return the Kafka partitions whose end committed readers cannot reach.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
        ConfigurationError: the topic does not exist.
    """
    stable, ends = end_offsets(settings, topic), high_watermarks(settings, topic)
    return [
        HeldPartition(partition, offset, ends[partition] - offset)
        for partition, offset in stable.items()
        if ends.get(partition, 0) > offset
    ]
