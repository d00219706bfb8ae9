"""Finds the watermark by which silver judged each file of bronze: the proof of lateness, for `rtap reconcile` and the demo.

A record's bronze file determines which silver batch read it (Iceberg's history and the batch's source offset), and the
offset log holds the watermark by which that batch judged late rows. Where the log no longer reaches back, `sql/silver.sql`
uses the newest possible watermark.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime

import duckdb

from rtap_assets.audit.state import LakeState
from rtap_assets.config import Settings
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.file_positions import FilePosition, end_of_batch, file_positions
from rtap_assets.runtime.clock import from_milliseconds
from rtap_assets.serving.lake_files import local_path
from rtap_assets.streaming.checkpoints.files import LoggedBatch, planned_batches, read_batch
from rtap_assets.streaming.queries.definitions import SILVER_STREAM

BEFORE_EVERYTHING = datetime(1, 1, 2, tzinfo=UTC)  # the first batch has no watermark: nothing is late in it


def load_watermarks(connection: duckdb.DuckDBPyConnection, settings: Settings, state: LakeState) -> None:
    """Fill `bronze_order` with each bronze file's position and its batch's watermark, if the offset log still has it.

    Time: Spark judges late rows by the watermark of the previous batch (the batch's own watermark only evicts state).
    """
    connection.execute("DELETE FROM bronze_order")
    spec = state.plans["bronze"].spec
    if state.plans["bronze"].snapshot_id is None:
        return
    with open_catalog(settings) as catalog:
        table = load_table(catalog, spec.identifier)
        batches: dict[int, LoggedBatch] = {}
        ends: list[tuple[FilePosition, int]] = []
        checkpoint = SILVER_STREAM.checkpoint(settings)
        for batch_id in planned_batches(checkpoint):
            batches[batch_id] = read_batch(checkpoint, batch_id)
            end = end_of_batch(table, batches[batch_id].source)
            if end is not None:
                ends.append((end, batch_id))
        rows = [
            [local_path(location), place.sequence_number, place.index, _watermark(place, ends, batches)]
            for location, place in file_positions(table).items()
        ]
    if rows:
        connection.executemany("INSERT INTO bronze_order VALUES (?, ?, ?, ?)", rows)


def _watermark(
    place: FilePosition, ends: list[tuple[FilePosition, int]], batches: dict[int, LoggedBatch]
) -> datetime | None:
    """Return the watermark by which the file's batch judged late rows; None if the log does not hold it."""
    found = bisect_right([end for end, _ in ends], place)
    if found == len(ends):
        return None
    batch_id = ends[found][1]
    if batch_id == 0:
        return BEFORE_EVERYTHING
    before = batches.get(batch_id - 1)
    # The log's oldest batch may also cover batches before it: a file is its own only after another batch's end.
    if before is None:
        return None
    return from_milliseconds(before.watermark_ms) if before.watermark_ms else BEFORE_EVERYTHING
