"""Offsets that no consumer gets, and why: the kinds, and the table in which they are written down. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rtap_assets.contracts.tables import Column, TableSpec


class GapKind(StrEnum):
    """Why offsets below a consumer's position have no row in bronze."""

    CONTROL = "control"  # a transaction's commit or abort marker takes an offset of its own
    ABORTED = "aborted"  # records of a transaction that was aborted
    COMPACTED = "compacted"  # the topic is compacted: a newer record of the key took their place
    DELETED = "deleted"  # deleted on purpose before they were read
    LOST = "lost"  # retention or a truncation took them before they were read; accepted by an operator
    ERASED = "erased"  # rows of bronze that an erasure removed
    REMOVED = "removed"  # rows of bronze that another program removed


@dataclass(frozen=True)
class OffsetGap:
    """`records` of the offsets `first_offset` to `last_offset`, both inclusive, that have no row in bronze.

    Where `records` is less than the length of the range, the other offsets of it have rows. `topic_epoch` counts how often
    the topic was made again under its name.
    """

    topic: str
    kafka_partition: int
    first_offset: int
    last_offset: int
    records: int
    kind: str
    detail: str = ""
    recorded_at: datetime | None = None
    topic_epoch: int = 0

    @property
    def identity(self) -> tuple[str, int, int, int, int, str]:
        """What two reports of the same gap have in common."""
        return (self.topic, self.topic_epoch, self.kafka_partition, self.first_offset, self.last_offset, self.kind)


OFFSET_GAPS = TableSpec(
    namespace="quality",
    name="offset_gaps",
    view="offset_gaps",
    doc="Offsets of the events topic that have no row in bronze, and why. Conservation = rows + these = offsets consumed.",
    grain="one range of offsets of one kind",
    key=("topic", "topic_epoch", "kafka_partition", "first_offset", "kind"),
    partition="",
    columns=(
        Column("topic", "string", "Kafka topic."),
        Column("topic_epoch", "int", "How often the topic had been made again under its name."),
        Column("kafka_partition", "int", "Kafka partition."),
        Column("first_offset", "bigint", "First offset of the range, inclusive."),
        Column("last_offset", "bigint", "Last offset of the range, inclusive."),
        Column("records", "bigint", "Offsets of the range that have no row; the others have one."),
        Column("kind", "string", "control, aborted, compacted, deleted, lost, erased or removed."),
        Column("detail", "string", "How it was found, or who accepted it."),
        Column("recorded_at", "timestamp", "When it was written down, UTC."),
    ),
)
