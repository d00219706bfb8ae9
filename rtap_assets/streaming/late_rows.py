"""Late rows: valid events that silver's stream dropped because they were older than its watermark, added afterwards.

Only what silver's committed batches have read is looked at, so a row that the stream may still take is never taken here.
One commit adds all rows: repeated or interrupted, it adds none twice. Gold's stream reads the commit like any other, and
raises the revision of the windows that were final.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.tables import BRONZE, SILVER, TableSpec
from rtap_assets.errors import StreamError
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.snapshots import newest_read
from rtap_assets.lake.table_lock import table_lock
from rtap_assets.streaming.checkpoints import committed_position
from rtap_assets.streaming.maintenance import utc_now
from rtap_assets.streaming.queries import SILVER_STREAM
from rtap_assets.transforms.silver import late_sales_events, stamp_processing

# In the summary of the snapshot that adds late rows: how many.
LATE_ROWS_PROPERTY = "rtap.late-rows"


def add_late_rows(
    session: SparkSession,
    settings: Settings,
    *,
    echo: Callable[[str], None] = lambda _: None,
    clock: Callable[[], datetime] = utc_now,
) -> dict[str, Any]:
    """Append to silver, marked `is_late`, each event of bronze that silver has read and does not hold; returns `{"added"}`.

    Works beside running streams. The caller owns the checkpoints (`open_layers`).

    Time: looks at records that the broker appended within the last `late_rows_lookback_days`.
    Raises:
        StreamError: a maintenance has held silver's table for long.
        DependencyUnavailable: the catalog did not answer.
    """
    with table_lock(settings, SILVER.identifier, seconds=settings.table_lock_seconds) as held:
        if not held:
            raise StreamError(
                f"A maintenance has held {SILVER.identifier} for over {settings.table_lock_seconds:.0f} s.",
                remedy="Wait for it to end, then try again; or raise RTAP_TABLE_LOCK_SECONDS.",
            )
        added = _add(session, settings, since=clock() - timedelta(days=settings.late_rows_lookback_days))
    echo(f"{added:,} late rows added to {SILVER.identifier}" if added else f"{SILVER.identifier} lacks no late row")
    return {"added": added}


def _add(session: SparkSession, settings: Settings, *, since: datetime) -> int:
    # The position first: silver, read after it, holds all that the batches up to there have kept.
    position = committed_position(SILVER_STREAM.checkpoint(settings))
    with open_catalog(settings) as catalog:
        read = newest_read(load_table(catalog, BRONZE.identifier), position)
        silver = load_table(catalog, SILVER.identifier).current_snapshot()
    if read is None or silver is None:
        return 0
    late = late_sales_events(
        _as_of(session, settings, BRONZE, read.snapshot_id),
        _as_of(session, settings, SILVER, silver.snapshot_id),
        since=since,
    )
    rows = stamp_processing(late).persist()
    try:
        count = int(rows.count())
        if count:
            target = rows.writeTo(f"{settings.catalog_name}.{SILVER.identifier}")
            target.option(f"snapshot-property.{LATE_ROWS_PROPERTY}", str(count)).append()
        return count
    finally:
        rows.unpersist()


def _as_of(session: SparkSession, settings: Settings, spec: TableSpec, snapshot_id: int) -> DataFrame:
    return session.sql(f"SELECT * FROM {settings.catalog_name}.{spec.identifier} VERSION AS OF {snapshot_id}")
