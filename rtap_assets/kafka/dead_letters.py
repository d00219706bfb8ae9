"""Reads the dead-letter topic: which records of which topic were quarantined. Repeats are dropped by identity."""

from __future__ import annotations

import sys
from typing import NamedTuple

from confluent_kafka import Message

from rtap_assets.config import Settings
from rtap_assets.kafka.bounded_read import read_after

HEADER_PREFIX = "rtap.dlq."


class DeadLetter(NamedTuple):
    """The identity of a quarantined record, and its reason code."""

    topic: str
    kafka_partition: int
    kafka_offset: int
    reason: str


def dead_letters(settings: Settings) -> set[DeadLetter]:
    """Return everything in the dead-letter topic up to its end at the call, each record once. Commits nothing.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
    """
    messages, _ = read_after(settings, settings.topic_dlq, after={}, limit=sys.maxsize)
    return {_identity(message) for message in messages}


def _identity(message: Message) -> DeadLetter:
    """Return the identity in the headers; the last header of a name is ours, for the record's own headers come first."""
    context = {name: value.decode() for name, value in message.headers() or [] if name.startswith(HEADER_PREFIX) and value}
    named = {name.removeprefix(HEADER_PREFIX): value for name, value in context.items()}
    return DeadLetter(named["topic"], int(named["partition"]), int(named["offset"]), named["reason"])
