"""What of a topic a consumer has not read yet: how many records, and since when the oldest of them waits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import consumer_config, translate
from rtap_assets.kafka.topics import beginning_offsets, end_offsets
from rtap_assets.runtime.clock import from_milliseconds


@dataclass(frozen=True)
class Backlog:
    """Offsets not read yet, up to the last stable one: records, and the few offsets that control and aborted records take.

    `oldest_at` is the Kafka timestamp of the oldest record, None when there is none or it is not known.
    """

    records: int
    oldest_at: datetime | None


def backlog(settings: Settings, topic: str, positions: Mapping[int, int]) -> Backlog | None:
    """Return what lies between the positions (Kafka partition -> next offset to read) and the last stable offsets.

    None when a position is beyond the end or its Kafka partition is gone: the topic was made again or truncated, and how
    much of it is unread cannot be told.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
        ConfigurationError: there is no such topic.
    """
    ends = end_offsets(settings, topic)
    if any(offset > ends.get(partition, -1) for partition, offset in positions.items()):
        return None
    known = {partition: positions[partition] for partition in ends if partition in positions}
    if len(known) < len(ends):
        known = beginning_offsets(settings, topic) | known
    waiting = {partition: known[partition] for partition, end in ends.items() if known[partition] < end}
    records = sum(ends[partition] - offset for partition, offset in waiting.items())
    return Backlog(records, _oldest(settings, topic, waiting) if waiting else None)


def _oldest(settings: Settings, topic: str, offsets: Mapping[int, int]) -> datetime | None:
    """Return the smallest timestamp among the first committed records from these offsets on."""
    small = {"fetch.message.max.bytes": 1024, "queued.max.messages.kbytes": 1024, "queued.min.messages": 1}
    # Where only control and aborted records are left, the end of the partition is the answer.
    ends = {"auto.offset.reset": "earliest", "enable.partition.eof": True}
    consumer = Consumer(consumer_config(settings, "rtap-lag-probe") | small | ends)
    stamps: dict[int, int] = {}
    empty: set[int] = set()
    deadline = time.monotonic() + settings.request_timeout_seconds
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
        while len(stamps.keys() | empty) < len(offsets) and (left := deadline - time.monotonic()) > 0:
            for message in consumer.consume(1, timeout=left):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    empty.add(message.partition())
                elif error is None:
                    stamps.setdefault(message.partition(), message.timestamp()[1])
                    consumer.pause([TopicPartition(topic, message.partition(), OFFSET_BEGINNING)])
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"tell the age of the records of {topic}") from error
    finally:
        consumer.close()
    return from_milliseconds(min(stamps.values())) if stamps else None
