"""The sink of revenue windows: what a micro-batch of silver adds to them is published, then put into the table. Repeatable.

The values are absolute: gold's present rows plus the batch's changes. The aggregate topic comes first and is flushed, so
that a crash in between repeats a message and loses none: gold has not changed, so the repeated batch computes the same. A
batch that gold's newest stamp names is skipped. Every batch makes one stamped snapshot, also one without rows.

The rows of a batch are read from silver's files by the batch's offsets, not from the frame that Spark passes: its streaming
source decodes every column of every row, one by one.
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
from rtap_assets.contracts.tables import SILVER
from rtap_assets.errors import StreamError
from rtap_assets.lake.history.commits import append_nothing
from rtap_assets.lake.history.snapshots import (
    STAMP_CAUSE,
    STAMP_CORRECTION_ID,
    STAMP_EPOCH_ID,
    STAMP_QUERY_ID,
    STAMP_WATERMARK_MS,
)
from rtap_assets.lake.staged_files import StagedFiles, StagedTable
from rtap_assets.streaming.checkpoints.files import query_id, read_batch, source_range
from rtap_assets.streaming.model.batch_metrics import BatchMetrics
from rtap_assets.streaming.queries.revenue_windows import RevenueWindows, publisher
from rtap_assets.transforms.gold import MEASURES, PANE_INPUT, TWO_ROWS_OF_A_KEY, apply_changes, sum_panes, sum_windows

HOUR_US = 3_600 * 1_000_000
EVER_MS = 253_402_300_799_000  # 9999-12-31: a correction restates whatever it touches


@dataclass(frozen=True)
class _Span:
    """The oldest and newest event time of some events, microseconds since the epoch."""

    oldest_us: int
    newest_us: int


def gold_sink(
    settings: Settings, checkpoint: Path, windows: RevenueWindows, *, upsert: Callable[..., None] | None = None
) -> Callable[[DataFrame, int], None]:
    """Return the function that `foreachBatch` calls with each micro-batch of silver; `upsert` stands in for `replace_rows`.

    Raises:
        ConfigurationError: the windows have a topic, and no schema is registered for it.
        DependencyUnavailable: the registry does not answer.
    """
    publish = publisher(settings, windows)

    def add(batch: DataFrame, batch_id: int) -> None:
        session, query = batch.sparkSession, str(query_id(checkpoint))
        table = StagedTable(session, windows.name_in(settings))
        if is_merged(table, query=query, batch_id=batch_id):
            return
        watermark_ms = _newest_watermark_ms(table)
        stamp = {STAMP_QUERY_ID: query, STAMP_EPOCH_ID: str(batch_id)}
        silver = StagedTable(session, f"{settings.catalog_name}.{SILVER.identifier}")
        tasks = silver.appended(*source_range(checkpoint, batch_id))
        rows = sum(task.file().recordCount() for task in tasks)
        if rows:
            with silver.staged(tasks) as files:
                stated = silver.bounds(tasks, "event_time")
                span = _span_of(files.rows()) if stated is None else _Span(*stated)
                assert span is not None, "silver's rows have an event time"
                reached_ms = span.newest_us // 1_000 - 2 * settings.watermark_delay_seconds * 1_000
                watermark_ms, final_before_ms = max(reached_ms, watermark_ms or reached_ms), watermark_ms or 0
                _change_windows(
                    table,
                    files.rows().select(*PANE_INPUT),
                    span,
                    windows=windows,
                    updated_ms=read_batch(checkpoint, batch_id).timestamp_ms,
                    final_before_ms=final_before_ms,
                    publish=publish,
                    replace=upsert or replace_rows,
                    stamp=stamp | {STAMP_WATERMARK_MS: str(watermark_ms)},
                )
        else:
            watermark = {} if watermark_ms is None else {STAMP_WATERMARK_MS: str(watermark_ms)}
            append_nothing(session, settings, windows.table, stamp | watermark)
        BatchMetrics.put_read(query, batch_id, rows=rows, watermark_ms=watermark_ms)

    return add


def subtract_rows(
    session: SparkSession, settings: Settings, windows: RevenueWindows, rows: DataFrame, *, correction_id: str, cause: str
) -> list[dict[str, Any]]:
    """Subtract silver rows that were removed from the windows; publish and write what is left, with a higher revision.

    A window that loses its last event stays, with zeros. Does nothing when a retained snapshot of the table carries the
    correction's id. The caller pauses the table's stream meanwhile: it has one writer.

    Returns one dictionary per changed row: the key, each measure and the revision as `<name>` and, before the correction,
    `old_<name>` (None for a row that the table lacked). Instants are in UTC.
    """
    table = StagedTable(session, windows.name_in(settings))
    if any(snapshot.summary().get(STAMP_CORRECTION_ID) == correction_id for snapshot in table.snapshots()):
        return []
    span = _span_of(rows)
    if span is None:
        return []
    changed = _change_windows(
        table,
        rows,
        span,
        windows=windows,
        updated_ms=int(datetime.now(UTC).timestamp() * 1_000),
        final_before_ms=EVER_MS,
        publish=publisher(settings, windows),
        replace=replace_rows,
        stamp={STAMP_CORRECTION_ID: correction_id, STAMP_CAUSE: cause},
        sign=-1,
    )
    names = [*windows.table.key, *(prefix + name for name in (*MEASURES, "revision") for prefix in ("old_", ""))]
    found: list[dict[str, Any]] = changed.select(*names).toArrow().to_pylist()
    return found


def is_merged(table: StagedTable, *, query: str, batch_id: int) -> bool:
    """Return whether the newest snapshot stamped by this query holds this batch or a later one."""
    for snapshot in table.snapshots():
        if snapshot.summary().get(STAMP_QUERY_ID) == query:
            return int(snapshot.summary().get(STAMP_EPOCH_ID) or -1) >= batch_id
    return False


def _newest_watermark_ms(table: StagedTable) -> int | None:
    stamps = (snapshot.summary().get(STAMP_WATERMARK_MS) for snapshot in table.snapshots())
    return next((int(stamp) for stamp in stamps if stamp is not None), None)


def _change_windows(
    table: StagedTable,
    events: DataFrame,
    span: _Span,
    *,
    windows: RevenueWindows,
    updated_ms: int,
    final_before_ms: int,
    publish: Callable[[DataFrame], None],
    replace: Callable[..., None],
    stamp: Mapping[str, str],
    sign: int = 1,
) -> DataFrame:
    """Add the events to their windows (subtract them: `sign` -1), publish what changed and commit it; return what changed.

    Raises:
        StreamError: the table holds a key twice.
    """
    slide, length = windows.slide_seconds, windows.window_seconds
    oldest_us = span.oldest_us - (length - slide) * 1_000_000
    first_us = oldest_us - oldest_us % (slide * 1_000_000)
    changes = sum_windows(
        sum_panes(events, slide_seconds=slide),
        window_seconds=length,
        slide_seconds=slide,
        updated_ms=updated_ms,
        final_before_ms=final_before_ms,
        sign=sign,
    )
    with table.staged(table.overlapping("window_start", first_us, span.newest_us)) as files:
        try:
            # Computed once: what is published is what is written.
            rows = apply_changes(changes, files.rows(), early_before_us=first_us - first_us % HOUR_US).localCheckpoint()
        except PySparkException as error:
            if TWO_ROWS_OF_A_KEY not in str(error):
                raise
            raise StreamError(
                f"{windows.table.identifier} holds a window twice, so another program has added to it.",
                remedy="`rtap tables changes` lists what other programs did; rebuild the table: "
                f"`rtap rebuild {stream_filling(windows.table).name}`.",
            ) from error
        changed = rows.where("is_changed")
        publish(changed)
        replace(files, rows, stamp)
    return changed


def replace_rows(files: StagedFiles, rows: DataFrame, stamp: Mapping[str, str]) -> None:
    """Write the rows in place of the files that held them.

    Windows of hours before the changed ones get a file of their own, so that the next batch does not rewrite them again: a
    file would grow all day otherwise.
    """
    columns = rows.columns[: rows.columns.index(f"old_{MEASURES[0]}")]
    early, late = rows.where("is_early").select(*columns), rows.where("NOT is_early").select(*columns)
    files.replace(early.union(late), stamp=stamp)


def _span_of(events: DataFrame) -> _Span | None:
    row = events.agg(F.unix_micros(F.min("event_time")), F.unix_micros(F.max("event_time"))).first()
    return None if row is None or row[0] is None else _Span(row[0], row[1])
