"""Reads a topic from given offsets up to its end at the call, and no further: for sensors and reports, not for streams."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.clients import consumer_config, translate
from rtap_assets.kafka.topics import beginning_offsets, end_offsets

BATCH = 500
UNUSED_GROUP = "rtap-bounded-read"


def read_after(
    settings: Settings, topic: str, *, after: Mapping[int, int], limit: int
) -> tuple[list[Message], dict[int, int]]:
    """Return the committed messages from the offsets in `after` on, and for each Kafka partition the offset to go on from.

    Ends at the last stable offsets of the call: aborted records are passed over, an open transaction is not waited for.
    At most `limit` messages and one batch more. A Kafka partition that `after` does not name is read from its beginning;
    what retention has removed is skipped; an offset past the end (the topic was made anew) starts from the beginning.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
    """
    ends, beginnings = end_offsets(settings, topic), beginning_offsets(settings, topic)
    position = {partition: start_of(after.get(partition), beginnings[partition], end) for partition, end in ends.items()}
    remaining = {partition for partition, end in ends.items() if position[partition] < end}
    found: list[Message] = []
    consumer = Consumer(consumer_config(settings, UNUSED_GROUP) | {"enable.partition.eof": True, "fetch.wait.max.ms": 50})
    try:
        consumer.assign([TopicPartition(topic, partition, position[partition]) for partition in sorted(remaining)])
        deadline = time.monotonic() + settings.request_timeout_seconds
        while remaining and len(found) < limit:
            messages = consumer.consume(BATCH, timeout=0.2)
            if messages:
                deadline = time.monotonic() + settings.request_timeout_seconds
            elif time.monotonic() > deadline:
                raise DependencyUnavailable(
                    f"The Kafka broker at {settings.bootstrap_servers} sent nothing more of {topic}.",
                    remedy="See `rtap status`.",
                    dependency="kafka",
                )
            for message in messages:
                _take(message, found, position, ends, remaining)
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"read {topic}") from error
    finally:
        consumer.close()
    return found, position


def start_of(wanted: int | None, beginning: int, end: int) -> int:
    """Where to start: as wanted, unless that is not, or no longer, in the topic."""
    if wanted is None or wanted > end:
        return beginning
    return max(wanted, beginning)


def _take(
    message: Message, found: list[Message], position: dict[int, int], ends: Mapping[int, int], remaining: set[int]
) -> None:
    """Keep one message that lies before the end; note where its Kafka partition stands."""
    partition, error = message.partition() or 0, message.error()
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        position[partition] = max(position[partition], ends[partition])  # what is left has no message
        remaining.discard(partition)
        return
    offset = message.offset() or 0
    if offset < ends[partition]:
        found.append(message)
        position[partition] = offset + 1
    if offset + 1 >= ends[partition]:
        position[partition] = max(position[partition], ends[partition])
        remaining.discard(partition)
