"""`quality.offset_gaps`: offsets that have no row in bronze, recorded while their cause can still be found.

PyIceberg appends, so that no Spark session is needed. Up to which offsets a pass has looked for gaps is a property of the
table, changed in the same commit as the rows. Writers take turns (a lock on this machine), and a lost race is no commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from pyiceberg.table import Table

from rtap_assets.config import Settings
from rtap_assets.contracts.offset_gaps import OFFSET_GAPS, OffsetGap
from rtap_assets.lake.catalog import catalog_session
from rtap_assets.lake.record_table import RecordTable, as_rows
from rtap_assets.lake.table_lock import locked_table
from rtap_assets.runtime.clock import utc_now

LOOKED_AT_PROPERTY = "rtap.gaps-looked-at"
# PyIceberg would append the rows again to whatever another writer has committed meanwhile.
RECORDS = RecordTable(OFFSET_GAPS, {"commit.retry.num-retries": "0"})


def read_gaps(settings: Settings) -> list[OffsetGap]:
    """Return every recorded gap, in the order of topic, epoch, Kafka partition and offset.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with catalog_session(settings) as catalog:
        table = RECORDS.find(catalog)
        return [] if table is None else _gaps_of(table)


def looked_at(settings: Settings, topic: str, topic_epoch: int) -> dict[int, int]:
    """Return, by Kafka partition, the offset up to which gaps were looked for; {} before the first pass.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    with catalog_session(settings) as catalog:
        table = RECORDS.find(catalog)
        return {} if table is None else _looked_at(table).get(_key(topic, topic_epoch), {})


def record_gaps(settings: Settings, gaps: Sequence[OffsetGap]) -> int:
    """Write down gaps; one that is recorded already (the same offsets and kind) is left out. Returns how many were new.

    Raises:
        StreamError: another writer kept the table for long.
        DependencyUnavailable: the catalog does not answer.
    """
    return _commit(settings, gaps, lambda _: {}) or 0


def record_pass(
    settings: Settings,
    gaps: Sequence[OffsetGap],
    *,
    topic: str,
    topic_epoch: int,
    before: Mapping[int, int],
    after: Mapping[int, int],
) -> bool:
    """Write down what a pass found between two positions, and that it looked there.

    Returns False, and writes nothing, when another pass has looked there meanwhile. Raises like `record_gaps`.
    """
    key = _key(topic, topic_epoch)

    def moved(table: Table) -> dict[str, str] | None:
        seen = _looked_at(table)
        if seen.get(key, {}) != dict(before):
            return None
        return {LOOKED_AT_PROPERTY: json.dumps(seen | {key: dict(after)})}

    return _commit(settings, gaps, moved) is not None


def _commit(settings: Settings, gaps: Sequence[OffsetGap], moved: object) -> int | None:
    assert callable(moved)
    now = utc_now()
    with (
        locked_table(settings, OFFSET_GAPS.identifier),
        catalog_session(settings) as catalog,
    ):
        table = RECORDS.ensure(catalog)
        properties = moved(table)
        if properties is None:
            return None
        known = {gap.identity for gap in _gaps_of(table)} if gaps else set()
        fresh = [replace(gap, recorded_at=gap.recorded_at or now) for gap in gaps if gap.identity not in known]
        if fresh or properties:
            with table.transaction() as transaction:
                if fresh:
                    transaction.append(as_rows(table, map(asdict, fresh)))
                if properties:
                    transaction.set_properties(properties)
        return len(fresh)


def _gaps_of(table: Table) -> list[OffsetGap]:
    rows = table.scan().to_arrow().to_pylist()
    gaps = [OffsetGap(**{name: row[name] for name in OffsetGap.__dataclass_fields__}) for row in rows]
    return sorted(gaps, key=lambda gap: gap.identity)


def _looked_at(table: Table) -> dict[str, dict[int, int]]:
    document = json.loads(table.properties.get(LOOKED_AT_PROPERTY, "{}"))
    return {key: {int(partition): offset for partition, offset in seen.items()} for key, seen in document.items()}


def _key(topic: str, topic_epoch: int) -> str:
    return f"{topic}/{topic_epoch}"
