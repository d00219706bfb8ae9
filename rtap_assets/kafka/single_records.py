"""Fetches the record at a given offset of each Kafka partition, with its timestamp and bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.kafka.bounded_read import AT_ONCE
from rtap_assets.kafka.clients import READ_UNCOMMITTED, consumer_config, translate
from rtap_assets.runtime.clock import from_milliseconds

GROUP = "rtap-single-records"


@dataclass(frozen=True)
class SingleRecord:
    """A record as the broker has it at one offset; `appended_at` has millisecond precision."""

    kafka_partition: int
    kafka_offset: int
    appended_at: datetime
    key: bytes | None
    value: bytes | None


def records_at(settings: Settings, topic: str, offsets: Mapping[int, int]) -> dict[int, SingleRecord]:
    """Return the records at these offsets by Kafka partition, committed or not.

    A Kafka partition without a record at that offset, or whose record does not arrive within the deadline, is left out.

    Raises:
        DependencyUnavailable: the broker does not answer.
    """
    config = {
        "isolation.level": READ_UNCOMMITTED,
        "enable.partition.eof": True,
        "auto.offset.reset": "latest",
        "fetch.message.max.bytes": 65_536,  # of a larger record the broker sends the whole
        "queued.min.messages": 1,
        # Else the next Kafka partition waits half a second for the fetch that is under way at the end of the one before.
    } | AT_ONCE
    consumer = Consumer(consumer_config(settings, GROUP) | config)
    found: dict[int, SingleRecord] = {}
    deadline = time.monotonic() + settings.request_timeout_seconds
    try:
        # One at a time: the records after one of them would fill the queue, and hold up the other partitions for seconds.
        for partition, offset in offsets.items():
            consumer.assign([TopicPartition(topic, partition, offset)])
            message = consumer.poll(max(0.0, deadline - time.monotonic()))
            error = None if message is None else message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if message is not None and error is None and (message.partition(), message.offset()) == (partition, offset):
                stamp = from_milliseconds(message.timestamp()[1])
                found[partition] = SingleRecord(partition, offset, stamp, message.key(), message.value())
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"read single records of {topic}") from error
    finally:
        consumer.close()
    return found
