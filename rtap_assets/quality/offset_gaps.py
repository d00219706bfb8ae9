"""Finds offsets that bronze consumed but does not hold, and has the broker explain them while it still can.

Examines only offsets that no earlier pass has examined. Run it before the conservation check, with the same positions:
explained gaps go into `quality.offset_gaps`; unexplained ones are missing there and fail the check.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import GapKind, OffsetGap
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.errors import ServingError
from rtap_assets.kafka.readable_offsets import Explanation, Range, explain_ranges
from rtap_assets.kafka.topics import topic_identity
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.offset_gaps import looked_at, read_gaps, record_pass
from rtap_assets.serving.connection import connect_lake
from rtap_assets.serving.corrections import files_beyond
from rtap_assets.serving.lake_files import plan_lake

# Each transaction leaves a marker: beyond this many in one pass, neighbors are recorded as one range with a count.
MOST_SINGLE_GAPS = 1_000
UNEXPLAINED_SHOWN = 5


@dataclass(frozen=True)
class GapReport:
    """The result of one pass. `recorded`: offsets by kind. `unexplained`: missing offsets, with the reason."""

    recorded: Mapping[str, int] = field(default_factory=dict)
    unexplained: tuple[str, ...] = ()


def explain_gaps(settings: Settings, *, positions: StreamPositions) -> GapReport:
    """Find gaps below bronze's committed position, and record those that the broker explains.

    Raises:
        ServingError: the lake cannot be read.
        DependencyUnavailable: the catalog does not answer; or gaps exist and the broker does not answer.
    """
    topic, epoch = settings.topic_events, positions.topic_epoch
    before = looked_at(settings, topic, epoch)
    ahead = {partition: end for partition, end in positions.bronze.items() if end > before.get(partition, -1)}
    if not ahead:
        return GapReport()
    try:
        found = _gaps_in_bronze(settings, before=before, ends=ahead, topic_epoch=epoch)
    except duckdb.Error as error:
        raise ServingError(f"The search for gaps in bronze failed: {error}.", remedy="Try again.") from error
    fresh = _without_recorded(found, [gap for gap in read_gaps(settings) if (gap.topic, gap.topic_epoch) == (topic, epoch)])
    explanations = _explanations(settings, topic, fresh, topic_id=positions.topic_id) if fresh else []
    gaps = _as_gaps(explanations, topic=topic, topic_epoch=epoch)
    if not record_pass(settings, gaps, topic=topic, topic_epoch=epoch, before=before, after=before | ahead):
        return GapReport()  # a concurrent pass has examined the same offsets
    return GapReport(_counted(gaps), tuple(_unexplained(explanations)))


def _explanations(
    settings: Settings, topic: str, ranges: Mapping[int, Sequence[Range]], *, topic_id: str | None
) -> list[Explanation]:
    """Return the broker's explanation of the ranges; a recreated topic explains none."""
    explained = explain_ranges(settings, topic, ranges)
    now = topic_identity(settings, topic).topic_id
    if topic_id is None or now is None or topic_id == now:
        return explained
    why = f"the topic was created again (id {topic_id} -> {now})"
    return [replace(one, kind=None, why=why) for one in explained]


def _gaps_in_bronze(
    settings: Settings, *, before: Mapping[int, int], ends: Mapping[int, int], topic_epoch: int
) -> dict[int, list[Range]]:
    """Return the offsets from `before` (or the first row) up to `ends` that have no row, by Kafka partition."""
    bronze = plan_lake(settings, (BRONZE,))[BRONZE.view]
    starts = {partition: before.get(partition, 0) for partition in ends}
    ahead = files_beyond(bronze, starts, topic_epoch=topic_epoch, otherwise=None)
    with closing(connect_lake(settings, {BRONZE.view: ahead})) as connection:
        return {
            partition: gaps
            for partition, end in ends.items()
            if (gaps := _gaps_of_partition(connection, partition, before.get(partition), end, topic_epoch))
        }


def _gaps_of_partition(
    connection: duckdb.DuckDBPyConnection, partition: int, start: int | None, end: int, topic_epoch: int
) -> list[Range]:
    bounds = {"partition": partition, "start": -1 if start is None else start, "end": end, "epoch": topic_epoch}
    rows = (
        "FROM bronze WHERE topic_epoch = $epoch AND kafka_partition = $partition "
        "AND kafka_offset >= $start AND kafka_offset < $end"
    )
    counted = connection.execute(f"SELECT min(kafka_offset), count(DISTINCT kafka_offset) {rows}", bounds).fetchone()
    first, offsets = counted or (None, 0)
    begin = start if start is not None else first
    if begin is None or offsets == end - begin:
        return []
    return connection.execute(
        f"""
        WITH held AS (
            SELECT DISTINCT kafka_offset {rows}
            UNION ALL SELECT $begin - 1
            UNION ALL SELECT $end
        )
        SELECT kafka_offset + 1, next_offset - 1
        FROM (SELECT kafka_offset, lead(kafka_offset) OVER (ORDER BY kafka_offset) AS next_offset FROM held)
        WHERE next_offset > kafka_offset + 1
        ORDER BY kafka_offset
        """,
        bounds | {"begin": begin},
    ).fetchall()


def _without_recorded(found: Mapping[int, Sequence[Range]], recorded: Iterable[OffsetGap]) -> dict[int, list[Range]]:
    """Return the parts of the ranges that no recorded gap covers. A gap recorded with rows inside covers only itself."""
    whole = [gap for gap in recorded if gap.records == gap.last_offset - gap.first_offset + 1]
    left: dict[int, list[Range]] = {}
    for partition, ranges in found.items():
        rest = list(ranges)
        for gap in whole:
            if gap.kafka_partition == partition:
                rest = [part for one in rest for part in _cut(one, gap.first_offset, gap.last_offset)]
        if rest:
            left[partition] = rest
    return left


def _cut(one: Range, first: int, last: int) -> list[Range]:
    """Return the parts of a range outside `first` to `last`."""
    parts = [(one[0], min(one[1], first - 1)), (max(one[0], last + 1), one[1])]
    return [part for part in parts if part[0] <= part[1]]


def _as_gaps(explanations: Sequence[Explanation], *, topic: str, topic_epoch: int) -> list[OffsetGap]:
    gaps = [
        OffsetGap(
            topic=topic,
            topic_epoch=topic_epoch,
            kafka_partition=one.kafka_partition,
            first_offset=one.first_offset,
            last_offset=one.last_offset,
            records=one.last_offset - one.first_offset + 1,
            kind=one.kind.value,
            detail="a read-committed consumer receives none of these offsets",
        )
        for one in explanations
        if one.kind is not None
    ]
    markers = [gap for gap in gaps if gap.kind == GapKind.CONTROL]
    if len(markers) <= MOST_SINGLE_GAPS:
        return gaps
    return [gap for gap in gaps if gap.kind != GapKind.CONTROL] + _joined(markers)


def _joined(gaps: Sequence[OffsetGap]) -> list[OffsetGap]:
    """Return one gap per Kafka partition, from the first to the last of them, with their number."""
    joined = []
    for partition in sorted({gap.kafka_partition for gap in gaps}):
        own = [gap for gap in gaps if gap.kafka_partition == partition]
        first = own[0]
        joined.append(
            OffsetGap(
                topic=first.topic,
                topic_epoch=first.topic_epoch,
                kafka_partition=partition,
                first_offset=first.first_offset,
                last_offset=own[-1].last_offset,
                records=sum(gap.records for gap in own),
                kind=first.kind,
                detail=f"{len(own)} gaps between rows, recorded as one range",
            )
        )
    return joined


def _counted(gaps: Sequence[OffsetGap]) -> dict[str, int]:
    return {kind: sum(gap.records for gap in gaps if gap.kind == kind) for kind in sorted({gap.kind for gap in gaps})}


def _unexplained(explanations: Sequence[Explanation]) -> list[str]:
    """Return sentences about the first few unexplained ranges."""
    missing = [one for one in explanations if one.kind is None]
    shown = [
        f"Kafka partition {one.kafka_partition}, offsets {one.first_offset} to {one.last_offset} "
        f"({one.last_offset - one.first_offset + 1} records): {one.why}"
        for one in missing[:UNEXPLAINED_SHOWN]
    ]
    more = len(missing) - len(shown)
    return shown + ([f"and {more} more ranges"] if more else [])
