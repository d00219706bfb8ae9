"""Who has looked at the dead-letter topic: what lies past the committed offsets of the review group, and committing them.

Looking never commits; `acknowledge` does. The group has no members: its offsets are a mark, nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.kafka.bounded_read import read_after, start_of
from rtap_assets.kafka.clients import consumer_config, translate
from rtap_assets.kafka.dead_letters import HEADER_PREFIX
from rtap_assets.kafka.topics import beginning_offsets, end_offsets
from rtap_assets.runtime.clock import from_milliseconds

REVIEW_GROUP = "rtap-dlq-review"
SAMPLES = 3  # of each reason
UNREADABLE = "no reason in the headers"


@dataclass(frozen=True)
class UnseenLetter:
    """One record past the committed offsets, and where it came from."""

    kafka_partition: int
    kafka_offset: int
    appended_at: datetime
    reason: str
    detail: str
    source: str


@dataclass(frozen=True)
class DlqLag:
    """What nobody has looked at yet.

    `records` counts all of it; `by_reason`, `oldest`, and `samples` (the newest few of each reason) are of the first `read`
    of them, which is all of it unless there is more than the limit.
    """

    records: int
    read: int
    by_reason: dict[str, int] = field(default_factory=dict)
    oldest: datetime | None = None
    samples: dict[str, list[UnseenLetter]] = field(default_factory=dict)


def unseen_letters(settings: Settings, *, limit: int) -> list[UnseenLetter]:
    """The records past the committed offsets, oldest first, at most `limit`. Commits nothing.

    Raises:
        DependencyUnavailable: the broker does not answer.
    """
    messages, _ = read_after(settings, settings.topic_dlq, after=committed(settings), limit=limit)
    letters = [letter_of(message) for message in messages]
    return sorted(letters, key=lambda letter: (letter.appended_at, letter.kafka_partition, letter.kafka_offset))[:limit]


def dlq_lag(settings: Settings, *, limit: int) -> DlqLag:
    """How much lies past the committed offsets; reads at most about `limit` records for their reasons. Commits nothing."""
    ends, seen = end_offsets(settings, settings.topic_dlq), _seen(settings)
    records = sum(max(0, end - seen[partition]) for partition, end in ends.items())
    if not records:
        return DlqLag(0, 0)
    messages, _ = read_after(settings, settings.topic_dlq, after=seen, limit=limit)
    letters = [letter_of(message) for message in messages]
    counts = Counter(letter.reason for letter in letters)
    oldest = min((letter.appended_at for letter in letters), default=None)
    return DlqLag(records, len(letters), dict(counts.most_common()), oldest, _samples(letters))


def _samples(letters: Sequence[UnseenLetter]) -> dict[str, list[UnseenLetter]]:
    found: dict[str, list[UnseenLetter]] = {}
    for letter in sorted(letters, key=lambda one: one.appended_at, reverse=True):
        kept = found.setdefault(letter.reason, [])
        if len(kept) < SAMPLES:
            kept.append(letter)
    return found


def acknowledge(settings: Settings) -> int:
    """Commit the topic's end, as it is at the call, as looked at; returns how many records that newly covers.

    Raises:
        DependencyUnavailable: the broker does not answer.
        ConfigurationError: the group has members: something consumes under its name.
    """
    ends, seen = end_offsets(settings, settings.topic_dlq), _seen(settings)
    fresh = {partition: end for partition, end in ends.items() if end != seen[partition]}
    if fresh:
        commit(settings, fresh)
    return sum(max(0, end - seen[partition]) for partition, end in fresh.items())


def commit(settings: Settings, offsets: Mapping[int, int]) -> None:
    """Set the committed offsets of the review group."""
    partitions = [TopicPartition(settings.topic_dlq, partition, offset) for partition, offset in sorted(offsets.items())]
    with _group(settings, f"commit the offsets of {REVIEW_GROUP}") as group:
        _without_errors(group.commit(offsets=partitions, asynchronous=False))


def committed(settings: Settings) -> dict[int, int]:
    """Kafka partition -> the committed offset of the review group; a partition without one is left out."""
    partitions = [TopicPartition(settings.topic_dlq, partition) for partition in end_offsets(settings, settings.topic_dlq)]
    with _group(settings, f"tell the offsets of {REVIEW_GROUP}") as group:
        found = _without_errors(group.committed(partitions, timeout=settings.request_timeout_seconds))
    return {one.partition: one.offset for one in found if one.offset >= 0}


@contextmanager
def _group(settings: Settings, what: str) -> Iterator[Consumer]:
    """A consumer of the review group that joins nothing.

    Not the admin client, whose requests for a group's offsets end the process with a segmentation fault in librdkafka 2.16
    while the group's coordinator is not there yet, as after the first start of a broker.
    """
    consumer = Consumer(consumer_config(settings, REVIEW_GROUP))
    try:
        yield consumer
    except KafkaException as error:
        raise translate(error, settings=settings, what=what) from error
    finally:
        consumer.close()


def _without_errors(partitions: list[TopicPartition] | None) -> list[TopicPartition]:
    for partition in partitions or []:
        if partition.error is not None:
            raise KafkaException(partition.error)
    return partitions or []


def letter_of(message: Message) -> UnseenLetter:
    """The context of a dead letter. The last header of a name is ours: the record's own headers come first."""
    context = {
        name.removeprefix(HEADER_PREFIX): (value or b"").decode("utf-8", errors="replace")
        for name, value in message.headers() or []
        if name.startswith(HEADER_PREFIX)
    }
    _, milliseconds = message.timestamp()
    source = "/".join(context.get(part, "?") for part in ("topic", "partition", "offset"))
    return UnseenLetter(
        kafka_partition=message.partition() or 0,
        kafka_offset=message.offset() or 0,
        appended_at=from_milliseconds(milliseconds),
        reason=context.get("reason", UNREADABLE),
        detail=context.get("detail", ""),
        source=source,
    )


def _seen(settings: Settings) -> dict[int, int]:
    """Where the unseen records of each Kafka partition begin."""
    beginnings, ends, marks = (
        beginning_offsets(settings, settings.topic_dlq),
        end_offsets(settings, settings.topic_dlq),
        committed(settings),
    )
    return {partition: start_of(marks.get(partition), beginnings[partition], end) for partition, end in ends.items()}
