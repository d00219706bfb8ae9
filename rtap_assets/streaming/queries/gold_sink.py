"""The sink of revenue windows: what a micro-batch of silver adds to them is published, then merged. Safe to repeat.

The values are absolute: gold's present rows plus the batch's changes. The aggregate topic comes first and is flushed, so
that a crash in between repeats a message and loses none: gold has not changed, so the repeated batch computes the same. A
batch that gold's newest stamp names is skipped. Every batch makes one stamped snapshot, also one without rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import stream_filling
from rtap_assets.errors import RtapError, StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.commits import append_nothing
from rtap_assets.lake.history.snapshots import (
    STAMP_CAUSE,
    STAMP_CORRECTION_ID,
    STAMP_EPOCH_ID,
    STAMP_QUERY_ID,
    STAMP_WATERMARK_MS,
    ancestors,
    newest_watermark_ms,
    summary_value,
)
from rtap_assets.lake.merge import between, merge_statement
from rtap_assets.streaming.checkpoints.files import query_id, read_batch
from rtap_assets.streaming.failures import carried
from rtap_assets.streaming.queries.revenue_windows import RevenueWindows, publisher
from rtap_assets.transforms.gold import MEASURES, apply_changes, sum_panes, sum_windows

UPDATES_VIEW = "revenue_updates"
TWO_ROWS_OF_A_KEY = "MERGE_CARDINALITY_VIOLATION"
SNAPSHOT_PROPERTY = "spark.sql.iceberg.snapshot-property."
HOUR_US = 3_600 * 1_000_000
EVER_MS = 253_402_300_799_000  # 9999-12-31: a correction restates whatever it touches


@dataclass(frozen=True)
class _Span:
    """The extent of a set of panes: bounds of the window starts, as SQL timestamps, and the newest event time."""

    first: str
    last: str
    newest_event_ms: int


def gold_sink(
    settings: Settings, checkpoint: Path, windows: RevenueWindows, *, upsert: Callable[..., None] | None = None
) -> Callable[[DataFrame, int], None]:
    """Return the function that `foreachBatch` calls with each micro-batch of silver rows; `upsert` stands in for `merge`.

    Raises:
        ConfigurationError: the windows have a topic, and no schema is registered for it.
        DependencyUnavailable: the registry does not answer.
    """
    publish = publisher(settings, windows)

    def write(batch: DataFrame, batch_id: int) -> None:
        try:
            add(batch, batch_id)
        except RtapError as error:
            raise carried(error) from error

    def add(batch: DataFrame, batch_id: int) -> None:
        query = str(query_id(checkpoint))
        table = load_table(open_catalog(settings), windows.table.identifier)
        if is_merged(table, query=query, batch_id=batch_id):
            return
        watermark_ms = newest_watermark_ms(table)
        stamp = {STAMP_QUERY_ID: query, STAMP_EPOCH_ID: str(batch_id)}
        panes, span = _panes(batch, windows)
        if span is None:
            watermark = {} if watermark_ms is None else {STAMP_WATERMARK_MS: str(watermark_ms)}
            append_nothing(batch.sparkSession, settings, windows.table, stamp | watermark)
            return
        rows = _new_rows(
            panes,
            span,
            name=windows.name_in(settings),
            windows=windows,
            updated_ms=read_batch(checkpoint, batch_id).timestamp_ms,
            final_before_ms=watermark_ms or 0,
        )
        publish(rows)
        reached_ms = span.newest_event_ms - 2 * settings.watermark_delay_seconds * 1_000
        stamp[STAMP_WATERMARK_MS] = str(max(reached_ms, watermark_ms if watermark_ms is not None else reached_ms))
        (upsert or merge)(rows, span, settings=settings, windows=windows, stamp=stamp)

    return write


def subtract_rows(
    session: SparkSession, settings: Settings, windows: RevenueWindows, rows: DataFrame, *, correction_id: str, cause: str
) -> list[dict[str, Any]]:
    """Subtract silver rows that were removed from the windows; publish and merge what is left, with a higher revision.

    A window that loses its last event stays, with zeros. Does nothing when a retained snapshot of the table carries the
    correction's id. The caller pauses the table's stream meanwhile: it has one writer.

    Returns one dictionary per changed row: the key, each measure and the revision as `<name>` and, before the correction,
    `old_<name>` (None for a row that the table lacked). Instants are in UTC.
    """
    table = load_table(open_catalog(settings), windows.table.identifier)
    if any(summary_value(snapshot, STAMP_CORRECTION_ID) == correction_id for snapshot in ancestors(table)):
        return []
    panes, span = _panes(rows, windows)
    if span is None:
        return []
    now_ms = int(datetime.now(UTC).timestamp() * 1_000)
    changed = _new_rows(
        panes, span, name=windows.name_in(settings), windows=windows, updated_ms=now_ms, final_before_ms=EVER_MS, sign=-1
    )
    publisher(settings, windows)(changed)
    merge(changed, span, settings=settings, windows=windows, stamp={STAMP_CORRECTION_ID: correction_id, STAMP_CAUSE: cause})
    names = [*windows.table.key, *(prefix + name for name in (*MEASURES, "revision") for prefix in ("old_", ""))]
    found: list[dict[str, Any]] = changed.select(*names).toArrow().to_pylist()
    return found


def is_merged(table: Any, *, query: str, batch_id: int) -> bool:
    """Return whether the newest snapshot stamped by this query holds this batch or a later one."""
    for snapshot in ancestors(table):
        if summary_value(snapshot, STAMP_QUERY_ID) == query:
            return int(summary_value(snapshot, STAMP_EPOCH_ID) or -1) >= batch_id
    return False


def merge(rows: DataFrame, span: _Span, *, settings: Settings, windows: RevenueWindows, stamp: Mapping[str, str]) -> None:
    """Upsert the windows by key, in one snapshot that carries the stamp.

    Raises:
        StreamError: the table holds a key twice.
    """
    session = rows.sparkSession
    rows.select(*windows.table.column_names).createOrReplaceTempView(UPDATES_VIEW)
    try:
        for key, value in stamp.items():
            session.conf.set(SNAPSHOT_PROPERTY + key, value)
        spec, target = windows.table, windows.name_in(settings)
        on = [*(f"t.{name} = s.{name}" for name in spec.key), between("t.window_start", span.first, span.last)]
        updates = [name for name in spec.column_names if name not in spec.key]
        session.sql(merge_statement(target, UPDATES_VIEW, on=on, updates=updates, inserts=spec.column_names))
    except PySparkException as error:
        if TWO_ROWS_OF_A_KEY not in str(error):
            raise
        raise StreamError(
            f"{windows.table.identifier} holds a window twice, so another program has added to it.",
            remedy="`rtap tables changes` lists what other programs did; rebuild the table: "
            f"`rtap rebuild {stream_filling(windows.table).name}`.",
        ) from error
    finally:
        # The session may be that of other writers: what they commit is not this batch.
        for key in stamp:
            session.conf.unset(SNAPSHOT_PROPERTY + key)


def _panes(events: DataFrame, windows: RevenueWindows) -> tuple[DataFrame, _Span | None]:
    """Return the events by pane, computed once, and what they cover; None for no events."""
    panes = sum_panes(events, slide_seconds=windows.slide_seconds).localCheckpoint()
    row = panes.agg(
        F.unix_micros(F.min("pane_start")).alias("first_us"),
        F.unix_micros(F.max("pane_start")).alias("last_us"),
        F.unix_micros(F.max("newest_event_time")).alias("newest_event_us"),
    ).first()
    if row is None or row.first_us is None:
        return panes, None
    oldest_us = row.first_us - (windows.window_seconds - windows.slide_seconds) * 1_000_000
    # By the hour: the bounds are compiled into the code of both scans, which then lasts for many batches.
    return panes, _Span(_sql_hour(oldest_us), _sql_hour(row.last_us + HOUR_US), row.newest_event_us // 1_000)


def _new_rows(
    panes: DataFrame,
    span: _Span,
    *,
    name: str,
    windows: RevenueWindows,
    updated_ms: int,
    final_before_ms: int,
    sign: int = 1,
) -> DataFrame:
    """Return the table's new rows, cut off from the tables: Spark 4.1 cannot plan a MERGE from an Iceberg source."""
    changes = sum_windows(
        panes,
        window_seconds=windows.window_seconds,
        slide_seconds=windows.slide_seconds,
        updated_ms=updated_ms,
        final_before_ms=final_before_ms,
        sign=sign,
    )
    bounds = between("window_start", span.first, span.last)
    present = panes.sparkSession.table(name).where(bounds)
    return apply_changes(changes, present).localCheckpoint()


def _sql_hour(instant_us: int) -> str:
    """Return the start of the instant's hour as Spark reads a timestamp."""
    hour = datetime.fromtimestamp(instant_us // HOUR_US * 3_600, tz=UTC)
    return f"{hour:%Y-%m-%d %H:%M:%S}Z"
