"""Reads one Kafka partition between two offsets, as a consumer that is given committed records only: for audits.

No group, no commit, bounded memory: the messages are handed over in batches, and a batch is gone before the next comes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.clients import client_config, translate

BATCH = 5_000
QUEUE = {"queued.max.messages.kbytes": 32_768, "queued.min.messages": 10_000}
# A consumer must name a group even where it neither joins nor commits.
GROUP = {"group.id": "rtap-audit", "enable.auto.commit": False, "enable.partition.eof": True}


def read_committed(settings: Settings, topic: str, partition: int, *, start: int, end: int) -> Iterator[list[Message]]:
    """Yield the committed messages with offsets from `start` up to `end`, exclusive, in batches and in order.

    Offsets that the broker gives to no such consumer (control records, aborted or compacted ones) are left out.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
    """
    if start >= end:
        return
    options = {"isolation.level": "read_committed", "auto.offset.reset": "error", "check.crcs": True}
    consumer = Consumer(client_config(settings) | GROUP | QUEUE | options)
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        deadline = time.monotonic() + settings.request_timeout_seconds
        while True:
            messages = consumer.consume(BATCH, timeout=0.2)
            if messages:
                deadline = time.monotonic() + settings.request_timeout_seconds
            elif time.monotonic() > deadline:
                raise DependencyUnavailable(
                    f"The Kafka broker at {settings.bootstrap_servers} sent nothing more of {topic}/{partition}.",
                    remedy="See `rtap status`.",
                    dependency="kafka",
                )
            kept, is_done = _taken(messages, end)
            if kept:
                yield kept
            if is_done:
                return
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"read {topic}") from error
    finally:
        consumer.close()


def _taken(messages: list[Message], end: int) -> tuple[list[Message], bool]:
    """The messages before the end, and whether the end is reached."""
    kept: list[Message] = []
    for message in messages:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # nothing committed follows
                return kept, True
            raise KafkaException(error)
        offset = message.offset() or 0
        if offset < end:
            kept.append(message)
        if offset + 1 >= end:
            return kept, True
    return kept, False
