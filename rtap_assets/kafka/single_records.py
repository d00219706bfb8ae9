"""Fetches the record at a given offset of each Kafka partition: when it was appended, and whether it is still the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import READ_UNCOMMITTED, consumer_config, translate
from rtap_assets.runtime.clock import from_milliseconds

GROUP = "rtap-single-records"


@dataclass(frozen=True)
class SingleRecord:
    """A record as the broker has it at one offset; `appended_at` has whole milliseconds."""

    kafka_partition: int
    kafka_offset: int
    appended_at: datetime
    key: bytes | None
    value: bytes | None


def records_at(settings: Settings, topic: str, offsets: Mapping[int, int]) -> dict[int, SingleRecord]:
    """Return the records at these offsets by Kafka partition, committed or not.

    Left out is a Kafka partition that has no record at that offset, or whose record does not come within the deadline.

    Raises:
        DependencyUnavailable: the broker does not answer.
    """
    config = {
        "isolation.level": READ_UNCOMMITTED,
        "enable.partition.eof": True,
        "auto.offset.reset": "latest",
        "queued.max.messages.kbytes": 1024,
        "queued.min.messages": 1,
    }
    consumer = Consumer(consumer_config(settings, GROUP) | config)
    found: dict[int, SingleRecord] = {}
    ended: set[int] = set()
    deadline = time.monotonic() + settings.request_timeout_seconds
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
        while len(found.keys() | ended) < len(offsets) and (left := deadline - time.monotonic()) > 0:
            for message in consumer.consume(1, timeout=left):
                error, partition = message.error(), message.partition() or 0
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None or message.offset() != offsets[partition]:
                    ended.add(partition)
                    continue
                stamp = from_milliseconds(message.timestamp()[1])
                found.setdefault(
                    partition, SingleRecord(partition, offsets[partition], stamp, message.key(), message.value())
                )
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"read single records of {topic}") from error
    finally:
        consumer.close()
    return found
