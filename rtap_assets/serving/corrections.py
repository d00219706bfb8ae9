"""Loads the record of corrections for marts and checks: which figures are provisional, erased or restated.

A figure is provisional until a correction has examined all its records, and while a correction of it is pending.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Cause, Entry
from rtap_assets.lake.corrections import read_entries, read_rows, read_state
from rtap_assets.serving.connection import create_view
from rtap_assets.serving.lake_files import TableFiles

# The slides of the rows that no correction has examined, and of those that a pending one will change.
_UNCORRECTED = """
CREATE OR REPLACE TEMP TABLE uncorrected_slides AS
WITH instants AS (
    SELECT event_time FROM unexamined_bronze LEFT JOIN examined_offsets USING (topic_epoch, kafka_partition)
    WHERE error_reason IS NULL AND topic_epoch >= $epoch AND kafka_offset >= coalesce(next_offset, 0)
    UNION ALL
    FROM pending_rows
)
SELECT DISTINCT epoch_us(event_time) // 1_000_000 // $slide * $slide AS slide FROM instants
"""
# A window is provisional if any of its slides is.
_PROVISIONAL = """
CREATE OR REPLACE TEMP TABLE provisional_windows AS
SELECT DISTINCT to_timestamp(slide - step * $slide) AS window_start
FROM uncorrected_slides, (SELECT unnest(range($steps)) AS step)
"""
_ERASED = """
CREATE OR REPLACE TEMP TABLE erased_amounts AS
SELECT window_start AS slide_start, plan_tier, region, currency, from_gross_amount AS gross, from_refund_amount AS refund,
    from_orders AS orders, from_refunds AS refunds
FROM correction_entries WHERE entry = 'amount'
"""
_PENDING_WINDOWS = """
CREATE OR REPLACE TEMP TABLE pending_windows AS
SELECT DISTINCT to_timestamp((epoch_us(event_time) // 1_000_000 // $slide - step) * $slide) AS window_start
FROM pending_rows, (SELECT unnest(range($steps)) AS step) WHERE event_time IS NOT NULL
"""


def load_corrections(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Create the temporary tables that marts and checks read.

    `correction_entries` (all but the rows), `examined_offsets`, `pending_rows`, `pending_windows`, `withdrawn_rows` (removed
    for a reason other than being a copy) and `erased_amounts`.

    Raises:
        DependencyUnavailable: the catalog did not answer.
    """
    state = read_state(settings)
    entries = read_entries(settings, Entry.PLANNED, Entry.AMOUNT, Entry.WINDOW, Entry.DONE, Entry.ABANDONED)
    connection.register("entries_now", entries)
    connection.execute("CREATE OR REPLACE TEMP TABLE correction_entries AS FROM entries_now")
    connection.unregister("entries_now")
    pending = [header["correction_id"] for header in state.pending]
    connection.register("rows_now", read_rows(settings, pending))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE pending_rows AS SELECT event_time FROM rows_now WHERE list_contains(?, correction_id)",
        [pending],
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE withdrawn_rows AS SELECT topic_epoch, kafka_partition, kafka_offset FROM rows_now "
        "WHERE action = 'remove' AND cause <> ?",
        [str(Cause.LATER_COPY)],
    )
    connection.unregister("rows_now")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE examined_offsets (topic_epoch INTEGER, kafka_partition INTEGER, next_offset BIGINT)"
    )
    if state.position.topic == settings.topic_events:
        for partition, offset in state.position.offsets.items():
            values = [state.position.topic_epoch, partition, offset]
            connection.execute("INSERT INTO examined_offsets VALUES (?, ?, ?)", values)
    connection.execute(_ERASED)
    connection.execute(_PENDING_WINDOWS, _slides(settings))


def mark_provisional_windows(connection: duckdb.DuckDBPyConnection, settings: Settings, bronze: TableFiles) -> None:
    """Create the temporary table `provisional_windows` from bronze's rows and the tables of `load_corrections`.

    Reads those files of bronze alone that can hold a row past the examined offsets.
    """
    slides = _slides(settings)
    examined = connection.execute("SELECT topic_epoch, kafka_partition, next_offset FROM examined_offsets").fetchall()
    epoch = max((row[0] for row in examined), default=0)
    beyond = files_beyond(bronze, {row[1]: row[2] for row in examined}, topic_epoch=epoch)
    create_view(connection, "unexamined_bronze", beyond)
    connection.execute(_UNCORRECTED, {"slide": slides["slide"], "epoch": epoch})
    connection.execute(_PROVISIONAL, slides)


def files_beyond(
    files: TableFiles, offsets: Mapping[int, int], *, topic_epoch: int, otherwise: int | None = 0
) -> TableFiles:
    """Return the plan of bronze with those files alone that can hold a row at or past the offset of its Kafka partition.

    A Kafka partition without an offset counts from `otherwise` (None: not), and a newer epoch of the topic as a whole;
    epochs before `topic_epoch` are left out.
    """
    epochs, partitions, places = (files.bounds.get(name, {}) for name in ("topic_epoch", "kafka_partition", "kafka_offset"))

    def may_hold(path: str) -> bool:
        if path not in epochs or path not in partitions or path not in places or epochs[path][1] > topic_epoch:
            return True
        if epochs[path][1] < topic_epoch:
            return False
        least, greatest = partitions[path]
        firsts = (offsets.get(partition, otherwise) for partition in range(least, greatest + 1))
        return any(first is not None and places[path][1] >= first for first in firsts)

    return files.only(path for path in files.paths if may_hold(path))


def _slides(settings: Settings) -> dict[str, int]:
    return {"slide": settings.slide_seconds, "steps": settings.window_seconds // settings.slide_seconds}
