"""Asks the broker which offsets of a range it hands to a consumer, and explains those that no consumer gets.

Bounded by the ranges asked for: gaps that lie near each other are read through in one go, far ones are sought.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import GapKind
from rtap_assets.kafka.bounded_read import AT_ONCE, SKIP_REMOVED, consumed, is_end
from rtap_assets.kafka.clients import READ_COMMITTED, READ_UNCOMMITTED, consumer_config, translate
from rtap_assets.kafka.topics import beginning_offsets, cleanup_policy, end_offsets

BATCH = 1_000
GROUP = "rtap-offset-gaps"
# Two gaps this near to each other cost less to read through than to seek between.
NEAR_OFFSETS = 5_000

Range = tuple[int, int]  # first and last offset, inclusive


@dataclass(frozen=True)
class Explanation:
    """One range of a Kafka partition. `kind` is None where the broker cannot explain it; `why` then says what was found."""

    kafka_partition: int
    first_offset: int
    last_offset: int
    kind: GapKind | None
    why: str = ""


def explain_ranges(settings: Settings, topic: str, ranges: Mapping[int, Sequence[Range]]) -> list[Explanation]:
    """Explain each range (in the order of offsets, disjoint) by what the broker hands out of it.

    A range is split where its parts differ. Explained is only what the broker still keeps: what lies before its beginning or
    past the last stable offset can be anything.

    Raises:
        DependencyUnavailable: the broker does not answer, or stops answering in between.
        ConfigurationError: there is no such topic.
    """
    compacted = "compact" in cleanup_policy(settings, topic)
    ends = end_offsets(settings, topic)
    beginnings = beginning_offsets(settings, topic)
    kept = {
        partition: [
            (max(first, beginnings[partition]), min(last, ends[partition] - 1))
            for first, last in found
            if last >= beginnings[partition] and first < ends[partition]
        ]
        for partition, found in ranges.items()
        if partition in ends
    }
    committed = _handed_out(settings, topic, kept, isolation=READ_COMMITTED)
    uncommitted = _handed_out(settings, topic, kept, isolation=READ_UNCOMMITTED)
    # Retention may have moved on while the ranges were read: what it took meanwhile was not seen for that reason.
    beginnings = beginning_offsets(settings, topic)
    result = []
    for partition, found in sorted(ranges.items()):
        seen = _Seen(
            beginnings.get(partition, 0),
            ends.get(partition, 0),
            committed.get(partition, []),
            uncommitted.get(partition, []),
            hidden=GapKind.COMPACTED if compacted else GapKind.CONTROL,
        )
        result += [
            Explanation(partition, first, last, *seen.verdict(first))
            for whole in found
            for first, last in seen.split(*whole)
        ]
    return result


@dataclass(frozen=True)
class _Seen:
    """What the broker keeps and hands out of one Kafka partition."""

    beginning: int
    end: int
    committed: Sequence[Range]
    uncommitted: Sequence[Range]
    hidden: GapKind

    def split(self, first: int, last: int) -> list[Range]:
        """Return the parts of a range within which every offset has the same verdict."""
        cuts = {self.beginning, self.end}
        for start, stop in (*_overlapping(self.committed, first, last), *_overlapping(self.uncommitted, first, last)):
            cuts |= {start, stop + 1}
        starts = [first, *sorted(cut for cut in cuts if first < cut <= last)]
        return list(zip(starts, [*(start - 1 for start in starts[1:]), last], strict=True))

    def verdict(self, offset: int) -> tuple[GapKind | None, str]:
        if offset < self.beginning:
            return None, f"the broker keeps nothing before offset {self.beginning}"
        if offset >= self.end:
            return None, f"the partition ends at offset {self.end}"
        if _overlapping(self.committed, offset, offset):
            return None, "the broker hands these records to every consumer"
        if _overlapping(self.uncommitted, offset, offset):
            return GapKind.ABORTED, ""
        return self.hidden, ""


def _overlapping(ranges: Sequence[Range], first: int, last: int) -> Sequence[Range]:
    """Return those of the ranges (in the order of offsets, disjoint) that reach into `first` to `last`."""
    begin = bisect_left(ranges, first, key=lambda one: one[1])
    return ranges[begin : bisect_right(ranges, last, key=lambda one: one[0])]


def _handed_out(
    settings: Settings, topic: str, ranges: Mapping[int, Sequence[Range]], *, isolation: str
) -> dict[int, list[Range]]:
    """Return the parts of the ranges that a consumer of this isolation level gets, by Kafka partition."""
    config = (
        consumer_config(settings, GROUP)
        | AT_ONCE
        | SKIP_REMOVED
        | {
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    consumer = Consumer(config)
    try:
        return {
            partition: [
                part
                for span in _spans(found)
                for part in _within(span, _offsets(settings, consumer, topic, partition, span))
            ]
            for partition, found in ranges.items()
            if found
        }
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"read {topic}") from error
    finally:
        consumer.close()


def _spans(ranges: Sequence[Range]) -> list[list[Range]]:
    """Return the ranges in groups that are read in one go each."""
    spans: list[list[Range]] = []
    for one in ranges:
        if spans and one[0] - spans[-1][-1][1] <= NEAR_OFFSETS:
            spans[-1].append(one)
        else:
            spans.append([one])
    return spans


def _offsets(settings: Settings, consumer: Consumer, topic: str, partition: int, span: Sequence[Range]) -> list[Range]:
    """Return the offsets that the consumer is handed between the first and the last offset of the span, as ranges."""
    last = span[-1][1]
    found: list[Range] = []
    consumer.assign([TopicPartition(topic, partition, span[0][0])])
    for messages in consumed(settings, consumer, topic, size=BATCH):
        for message in messages:
            offset = message.offset() or 0
            if is_end(message) or offset > last:
                return found
            if found and offset == found[-1][1] + 1:
                found[-1] = (found[-1][0], offset)
            else:
                found.append((offset, offset))
    return found


def _within(span: Sequence[Range], found: Sequence[Range]) -> list[Range]:
    """Return what of `found` lies in the ranges of the span."""
    return [(max(first, start), min(last, stop)) for first, last in span for start, stop in _overlapping(found, first, last)]
