"""The review of the dead-letter topic: records past the committed offsets of the review group, and committing them.

Reading never commits; `acknowledge` does. The group has no members: its offsets only mark what was reviewed.
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
class UnseenRecord:
    """One record past the committed offsets, with the coordinates of its source record."""

    kafka_partition: int
    kafka_offset: int
    appended_at: datetime
    reason: str
    detail: str
    source: str


@dataclass(frozen=True)
class DlqLag:
    """The unreviewed records of the dead-letter topic.

    `records` counts all of them; `by_reason`, `oldest` and `samples` (the newest few of each reason) cover the first `read`
    records: all of them, up to the limit.
    """

    records: int
    read: int
    by_reason: dict[str, int] = field(default_factory=dict)
    oldest: datetime | None = None
    samples: dict[str, list[UnseenRecord]] = field(default_factory=dict)


def dlq_lag(settings: Settings, *, limit: int) -> DlqLag:
    """Return the lag past the committed offsets; reads at most about `limit` records for their reasons. Commits nothing."""
    ends, seen = end_offsets(settings, settings.topic_dlq), _seen(settings)
    records = sum(max(0, end - seen[partition]) for partition, end in ends.items())
    if not records:
        return DlqLag(0, 0)
    messages, _ = read_after(settings, settings.topic_dlq, after=seen, limit=limit)
    unseen = [_unseen_record_of(message) for message in messages]
    counts = Counter(record.reason for record in unseen)
    oldest = min((record.appended_at for record in unseen), default=None)
    return DlqLag(records, len(unseen), dict(counts.most_common()), oldest, _samples(unseen))


def _samples(unseen: Sequence[UnseenRecord]) -> dict[str, list[UnseenRecord]]:
    found: dict[str, list[UnseenRecord]] = {}
    for record in sorted(unseen, key=lambda one: one.appended_at, reverse=True):
        kept = found.setdefault(record.reason, [])
        if len(kept) < SAMPLES:
            kept.append(record)
    return found


def acknowledge(settings: Settings) -> int:
    """Commit the topic's current end as reviewed; return how many records that newly covers.

    Raises:
        DependencyUnavailable: the broker does not answer.
        ConfigurationError: the group has members: a consumer uses its name.
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
    """Return the committed offsets of the review group, by Kafka partition; a partition without one is left out."""
    partitions = [TopicPartition(settings.topic_dlq, partition) for partition in end_offsets(settings, settings.topic_dlq)]
    with _group(settings, f"return the offsets of {REVIEW_GROUP}") as group:
        found = _without_errors(group.committed(partitions, timeout=settings.request_timeout_seconds))
    return {one.partition: one.offset for one in found if one.offset >= 0}


@contextmanager
def _group(settings: Settings, what: str) -> Iterator[Consumer]:
    """Open a consumer of the review group that does not join it.

    Not the admin client: its requests for a group's offsets crash the process with a segmentation fault in librdkafka 2.16
    while the group has no coordinator yet, as after the first start of a broker.
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


def _unseen_record_of(message: Message) -> UnseenRecord:
    """Return the context of a dead letter. The last header of a name is ours: the record's own headers come first."""
    context = {
        name.removeprefix(HEADER_PREFIX): (value or b"").decode("utf-8", errors="replace")
        for name, value in message.headers() or []
        if name.startswith(HEADER_PREFIX)
    }
    _, milliseconds = message.timestamp()
    source = "/".join(context.get(part, "?") for part in ("topic", "partition", "offset"))
    return UnseenRecord(
        kafka_partition=message.partition() or 0,
        kafka_offset=message.offset() or 0,
        appended_at=from_milliseconds(milliseconds),
        reason=context.get("reason", UNREADABLE),
        detail=context.get("detail", ""),
        source=source,
    )


def _seen(settings: Settings) -> dict[int, int]:
    """Return where the unreviewed records of each Kafka partition begin."""
    beginnings, ends, marks = (
        beginning_offsets(settings, settings.topic_dlq),
        end_offsets(settings, settings.topic_dlq),
        committed(settings),
    )
    return {partition: start_of(marks.get(partition), beginnings[partition], end) for partition, end in ends.items()}
