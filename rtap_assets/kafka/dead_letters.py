"""Reads the dead-letter topic: which records of which topic were quarantined. Repeats are dropped by identity."""

from __future__ import annotations

import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.clients import consumer_config, translate
from rtap_assets.kafka.topics import end_offsets

HEADER_PREFIX = "rtap.dlq."
BATCH = 500
POLL_SECONDS = 0.2  # `consume` waits this long for a full batch, also for the last one, which is not full


class DeadLetter(NamedTuple):
    """The identity of a quarantined record, and why it is one."""

    topic: str
    kafka_partition: int
    kafka_offset: int
    reason: str


def dead_letters(settings: Settings) -> set[DeadLetter]:
    """Everything in the dead-letter topic up to its end at the call, each record once. Commits nothing.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
    """
    remaining = {partition: end for partition, end in end_offsets(settings, settings.topic_dlq).items() if end}
    found: set[DeadLetter] = set()
    consumer = Consumer(consumer_config(settings, "rtap-dlq-reader") | {"enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(settings.topic_dlq, partition, 0) for partition in remaining])
        deadline = time.monotonic() + settings.request_timeout_seconds
        while remaining:
            messages = consumer.consume(BATCH, timeout=POLL_SECONDS)
            if messages:
                deadline = time.monotonic() + settings.request_timeout_seconds
            elif time.monotonic() > deadline:
                raise DependencyUnavailable(
                    f"The broker sent nothing more of {settings.topic_dlq}.", remedy="See `rtap status`."
                )
            for message in messages:
                if _is_end(message):
                    remaining.pop(message.partition(), None)  # the rest are control and aborted records
                    continue
                found.add(_identity(message))
                if message.offset() + 1 >= remaining.get(message.partition(), 0):
                    remaining.pop(message.partition(), None)
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"reading {settings.topic_dlq}") from error
    finally:
        consumer.close()
    return found


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _identity(message: Message) -> DeadLetter:
    """The last header of a name is ours: the record's own headers come first."""
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    context = {name: value.decode() for name, value in message.headers() or [] if name.startswith(HEADER_PREFIX) and value}
    named = {name.removeprefix(HEADER_PREFIX): value for name, value in context.items()}
    return DeadLetter(named["topic"], int(named["partition"]), int(named["offset"]), named["reason"])
