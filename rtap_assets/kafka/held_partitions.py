"""Kafka partitions whose last stable offset is behind the high watermark: a transaction is open, and readers wait for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import READ_UNCOMMITTED, consumer_config, translate
from rtap_assets.kafka.topics import end_offsets, high_watermarks

GROUP = "rtap-open-transactions"


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


def appended_at(settings: Settings, topic: str, offsets: Mapping[int, int]) -> dict[int, datetime]:
    """Return the Kafka timestamps of the records at these offsets (by Kafka partition), committed or not.

    A record that is gone, or that does not come within the deadline, is left out.
    """
    small = {"fetch.message.max.bytes": 1024, "queued.max.messages.kbytes": 1024, "queued.min.messages": 1}
    config = {"isolation.level": READ_UNCOMMITTED, "enable.partition.eof": True, "auto.offset.reset": "latest"}
    consumer = Consumer(consumer_config(settings, GROUP) | small | config)
    found: dict[int, datetime] = {}
    ended: set[int] = set()
    deadline = time.monotonic() + settings.request_timeout_seconds
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
        while len(found.keys() | ended) < len(offsets) and (left := deadline - time.monotonic()) > 0:
            for message in consumer.consume(1, timeout=left):
                error, partition = message.error(), message.partition() or 0
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    ended.add(partition)
                elif error is None and message.offset() == offsets.get(partition):
                    found[partition] = datetime.fromtimestamp(message.timestamp()[1] / 1000, tz=UTC)
                elif error is None:
                    ended.add(partition)
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"tell the age of the records of {topic}") from error
    finally:
        consumer.close()
    return found
