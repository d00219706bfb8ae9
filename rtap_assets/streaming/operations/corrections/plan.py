"""Finds what is to be corrected among the records that silver has read since the last look.

The cost follows what is new: rows before the position are left out by the files' statistics, but for the ids (and times of
arrival) of the horizon, which one scan compares with a hash set of the new ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.contracts.corrections import CORRECTIONS, Cause, Change, Entry
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.corrections import Position, read_state
from rtap_assets.lake.history.snapshots import has_read_to, newest_append, newest_read
from rtap_assets.streaming.checkpoints.files import committed_position
from rtap_assets.streaming.operations.corrections.runs import CorrectionRun
from rtap_assets.streaming.queries.definitions import SILVER_STREAM, STREAMS
from rtap_assets.streaming.queries.revenue_windows import REVENUE_WINDOWS
from rtap_assets.transforms.corrections import (
    ID_HASH,
    arrivals,
    beyond_offsets,
    decide_copies,
    repeated_hashes,
    with_first_epoch,
    with_hash,
)
from rtap_assets.transforms.silver import COORDINATES, normalise_sales_events, stamp_processing

BROADCAST_ROWS = 3_000_000  # hashes of as many ids are a set of some 100 MB
POLL_SECONDS = 0.2
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Findings:
    """What a look found. `position` is where the next look begins; None while gold has not read all that was looked at.

    The frames are cached until the block of `findings` ends: `late` and `first_copies` are complete rows to add, `copies`
    rows of silver to remove.
    """

    late: DataFrame | None = None
    first_copies: DataFrame | None = None
    copies: DataFrame | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"late": 0, "first_copies": 0, "copies": 0, "looked_at": 0})
    position: Position | None = None
    is_waiting_for_gold: bool = False


@dataclass(frozen=True)
class _Snapshots:
    bronze: int
    silver: int
    is_read_by_gold: bool


@contextmanager
def findings(run: CorrectionRun) -> Iterator[Findings]:
    """Look at what silver has read since the last look; changes nothing.

    Copies are decided only where gold has read all of silver's snapshot: what is removed is subtracted from gold, and must
    have been added to it.
    """
    position = read_state(run.settings).position
    if position.topic != run.settings.topic_events:
        position = Position(run.settings.topic_events)
    snapshots = _snapshots(run)
    cached: list[DataFrame] = []
    try:
        yield Findings() if snapshots is None else _look(run, position, snapshots, cached)
    finally:
        for frame in cached:
            frame.unpersist()


def _snapshots(run: CorrectionRun) -> _Snapshots | None:
    # The position first: silver, read after it, holds all that the batches up to there have kept.
    position = committed_position(SILVER_STREAM.checkpoint(run.settings))
    with open_catalog(run.settings) as catalog:
        read = newest_read(load_table(catalog, BRONZE.identifier), position)
        table = load_table(catalog, SILVER.identifier)
        silver = table.current_snapshot()
    if read is None or silver is None:
        return None
    appended = newest_append(table)
    is_read = appended is None or gold_has_read(run, appended)
    return _Snapshots(read.snapshot_id, silver.snapshot_id, is_read_by_gold=is_read)


def gold_has_read(run: CorrectionRun, appended: Any) -> bool:
    """Return whether the streams of revenue windows have read silver up to this snapshot; wait a while for them."""
    deadline = time.monotonic() + run.settings.correction_wait_seconds
    while True:
        # The positions first: a table that was loaded before them may lack the snapshots that they name.
        positions = [committed_position(STREAMS[name].checkpoint(run.settings)) for name in REVENUE_WINDOWS]
        with open_catalog(run.settings) as catalog:
            table = load_table(catalog, SILVER.identifier)
        if all(has_read_to(table, position, appended) for position in positions):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)


def _look(run: CorrectionRun, position: Position, snapshots: _Snapshots, cached: list[DataFrame]) -> Findings:
    def keep(frame: DataFrame) -> DataFrame:
        cached.append(frame.persist())
        return cached[-1]

    horizon = run.settings.correction_horizon_days * DAY_SECONDS
    beyond = beyond_offsets(position.topic_epoch, position.offsets)
    if not position.offsets:
        beyond = F.col("kafka_timestamp") >= F.lit(run.clock() - timedelta(seconds=horizon))
    bronze = _as_of(run, BRONZE, snapshots.bronze).where(beyond)
    after = _after(run, position, bronze)
    if (after.topic_epoch, after.offsets) == (position.topic_epoch, position.offsets):
        return Findings(position=after)
    silver = _as_of(run, SILVER, snapshots.silver)
    held = arrivals(silver.where(beyond), is_held=True)
    valid = arrivals(normalise_sales_events(bronze), is_held=False)
    lacking = valid.join(held, list(COORDINATES), "left_anti").join(_withdrawn(run), list(COORDINATES), "left_anti")
    new = keep(with_hash(held.union(lacking.select(*held.columns))))
    known = new.agg(F.count("*"), F.unix_seconds(F.min("kafka_timestamp"))).first()
    looked_at, oldest = known if known is not None else (0, None)
    if oldest is None:
        return Findings(position=after)

    hashes = new.select(ID_HASH).distinct()
    if looked_at <= BROADCAST_ROWS:
        hashes = F.broadcast(hashes)
    earlier_rows = silver.where(~beyond & (F.col("kafka_timestamp") >= F.timestamp_seconds(F.lit(oldest - horizon))))
    earlier = with_hash(arrivals(earlier_rows, is_held=True)).join(hashes, ID_HASH, "left_semi")
    earlier = keep(earlier.select(*new.columns)) if position.offsets else earlier.where("false").select(*new.columns)
    concerned = keep(repeated_hashes(new, earlier))
    rows = new.union(earlier).join(F.broadcast(concerned), ID_HASH, "left_semi")
    decided = keep(decide_copies(rows, horizon_seconds=horizon))
    return _findings(run, decided, bronze, silver, after=after, snapshots=snapshots, looked_at=looked_at, keep=keep)


def _after(run: CorrectionRun, position: Position, bronze: DataFrame) -> Position:
    """Where the next look begins, after one at these rows."""
    ends = bronze.groupBy("topic_epoch", "kafka_partition").agg(F.max("kafka_offset")).collect()
    epoch = max([position.topic_epoch, *(row[0] for row in ends)])
    offsets = dict(position.offsets) if epoch == position.topic_epoch else {}
    offsets |= {row[1]: row[2] + 1 for row in ends if row[0] == epoch}
    return Position(position.topic, epoch, offsets, run.clock())


def _findings(
    run: CorrectionRun,
    decided: DataFrame,
    bronze: DataFrame,
    silver: DataFrame,
    *,
    after: Position,
    snapshots: _Snapshots,
    looked_at: int,
    keep: Any,
) -> Findings:
    is_late = (F.col("action") == str(Change.ADD)) & ~F.col("has_held")
    is_first = (F.col("action") == str(Change.ADD)) & F.col("has_held")
    is_copy = F.col("action") == str(Change.REMOVE)
    counted = decided.agg(*(F.count(F.when(condition, 1)) for condition in (is_late, is_first, is_copy))).first()
    late, first, copies = counted if counted is not None else (0, 0, 0)
    counts = {"late": late, "first_copies": first, "copies": copies, "looked_at": looked_at}
    if not snapshots.is_read_by_gold:
        added = keep(_to_add(bronze, decided.where(is_late))) if late else None
        return Findings(late=added, counts=counts | {"first_copies": 0, "copies": 0}, is_waiting_for_gold=True)
    return Findings(
        late=keep(_to_add(bronze, decided.where(is_late))) if late else None,
        first_copies=keep(_to_add(bronze, decided.where(is_first))) if first else None,
        copies=keep(_at(silver, decided.where(is_copy))) if copies else None,
        counts=counts,
        position=after,
    )


def _to_add(bronze: DataFrame, decided: DataFrame) -> DataFrame:
    rows = normalise_sales_events(_at(bronze, decided)).withColumn("is_late", F.lit(True))
    return stamp_processing(rows)


def _at(table: DataFrame, decided: DataFrame) -> DataFrame:
    """The table's rows at the decided coordinates; bounds let Iceberg leave out the files that hold none of them."""
    bounds = decided.agg(
        F.min("kafka_offset"),
        F.max("kafka_offset"),
        F.unix_micros(F.min("kafka_timestamp")),
        F.unix_micros(F.max("kafka_timestamp")),
    ).first()
    assert bounds is not None
    first_at, last_at = (F.timestamp_micros(F.lit(value)) for value in bounds[2:])
    near = F.col("kafka_offset").between(bounds[0], bounds[1]) & F.col("kafka_timestamp").between(first_at, last_at)
    return table.where(near).join(F.broadcast(decided.select(*COORDINATES)), list(COORDINATES), "left_semi")


def _withdrawn(run: CorrectionRun) -> DataFrame:
    """The coordinates of rows that a correction other than of copies removed: they must not come back as late rows."""
    removed = (F.col("entry") == str(Entry.ROW)) & (F.col("action") == str(Change.REMOVE))
    others = F.col("cause") != str(Cause.LATER_COPY)
    return F.broadcast(run.table(CORRECTIONS).where(removed & others).select(*COORDINATES))


def _as_of(run: CorrectionRun, spec: TableSpec, snapshot_id: int) -> DataFrame:
    return with_first_epoch(run.session.sql(f"SELECT * FROM {run.name(spec)} VERSION AS OF {snapshot_id}"))
