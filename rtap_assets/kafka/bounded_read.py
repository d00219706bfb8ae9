"""Reads topics up to an end that is fixed beforehand, and no further: for sensors, reports and audits, not for streams.

No group is joined and nothing is committed; aborted records are passed over, and an open transaction is not waited for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.clients import consumer_config, translate
from rtap_assets.kafka.topics import beginning_offsets, end_offsets

BATCH, AUDIT_BATCH = 500, 5_000
POLL_SECONDS = 0.2  # `consume` waits this long for a full batch, also for the last one, which is not full
GROUP = "rtap-bounded-read"
AT_ONCE: dict[str, Any] = {"fetch.wait.max.ms": 50}
# Retention may move on during the read: what it removes meanwhile is skipped, but an audit must not miss it unnoticed.
SKIP_REMOVED: dict[str, Any] = {"auto.offset.reset": "earliest"}
REFUSE_REMOVED: dict[str, Any] = {"auto.offset.reset": "error"}
IN_BULK: dict[str, Any] = {"queued.max.messages.kbytes": 32_768, "queued.min.messages": 10_000, "check.crcs": True}


def read_after(
    settings: Settings, topic: str, *, after: Mapping[int, int], limit: int
) -> tuple[list[Message], dict[int, int]]:
    """Return the committed messages from the offsets in `after` on, and for each Kafka partition the offset to go on from.

    Ends at the last stable offsets of the call. At most `limit` messages and one batch more. A Kafka partition that `after`
    does not name is read from its beginning; what retention has removed is skipped; an offset past the end (the topic was
    created again) starts from the beginning.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
    """
    ends, beginnings = end_offsets(settings, topic), beginning_offsets(settings, topic)
    position = {partition: start_of(after.get(partition), beginnings[partition], end) for partition, end in ends.items()}
    found: list[Message] = []
    for messages in _batches(settings, topic, position, ends, size=BATCH, options=SKIP_REMOVED | AT_ONCE):
        found += messages
        if len(found) >= limit:
            break
    return found, position


def read_committed(settings: Settings, topic: str, partition: int, *, start: int, end: int) -> Iterator[list[Message]]:
    """Yield the committed messages with offsets from `start` up to `end`, exclusive, in batches and in order.

    Memory is bounded. Offsets that the broker gives to no such consumer (control records, aborted or compacted ones) are
    left out; a `start` that retention has removed is an error.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
        ConfigurationError: `start` is no longer in the topic.
    """
    options = REFUSE_REMOVED | IN_BULK
    yield from _batches(settings, topic, {partition: start}, {partition: end}, size=AUDIT_BATCH, options=options)


def start_of(wanted: int | None, beginning: int, end: int) -> int:
    """Return the offset to start from: as wanted, unless that is not, or no longer, in the topic."""
    if wanted is None or wanted > end:
        return beginning
    return max(wanted, beginning)


def consumed(settings: Settings, consumer: Consumer, topic: str, *, size: int) -> Iterator[list[Message]]:
    """Yield what an assigned consumer gets, in batches of at most `size`; ends of Kafka partitions are among them.

    Raises:
        DependencyUnavailable: nothing came for `request_timeout_seconds`.
        KafkaException: from librdkafka, in a message.
    """
    deadline = time.monotonic() + settings.request_timeout_seconds
    while True:
        messages = consumer.consume(size, timeout=POLL_SECONDS)
        if messages:
            for message in messages:
                if (error := message.error()) is not None and not is_end(message):
                    raise KafkaException(error)
            yield messages
            deadline = time.monotonic() + settings.request_timeout_seconds
        elif time.monotonic() > deadline:
            raise DependencyUnavailable(
                f"The Kafka broker at {settings.bootstrap_servers} sent nothing more of {topic}.",
                remedy="See `rtap status`.",
                dependency="kafka",
            )


def is_end(message: Message) -> bool:
    """Return whether this is the event of a Kafka partition's end in place of a message."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _batches(
    settings: Settings,
    topic: str,
    position: dict[int, int],
    ends: Mapping[int, int],
    *,
    size: int,
    options: dict[str, Any],
) -> Iterator[list[Message]]:
    """Yield the messages between `position` and `ends`; moves `position` on with each batch."""
    remaining = {partition for partition, end in ends.items() if position[partition] < end}
    if not remaining:
        return
    consumer = Consumer(consumer_config(settings, GROUP) | {"enable.partition.eof": True} | options)
    try:
        consumer.assign([TopicPartition(topic, partition, position[partition]) for partition in sorted(remaining)])
        for messages in consumed(settings, consumer, topic, size=size):
            kept = [message for message in messages if _take(message, position, ends, remaining)]
            if kept:
                yield kept
            if not remaining:
                return
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"read {topic}") from error
    finally:
        consumer.close()


def _take(message: Message, position: dict[int, int], ends: Mapping[int, int], remaining: set[int]) -> bool:
    """Return whether a message lies before the end; notes where its Kafka partition stands."""
    partition, offset = message.partition() or 0, message.offset() or 0
    is_before = not is_end(message) and offset < ends[partition]
    if is_before:
        position[partition] = offset + 1
    if is_end(message) or offset + 1 >= ends[partition]:
        position[partition] = max(position[partition], ends[partition])  # what is left has no message
        remaining.discard(partition)
    return is_before
