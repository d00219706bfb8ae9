"""Loads recorded offset gaps and corrections as tables of the audit."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from rtap_assets.config import Settings
from rtap_assets.contracts.corrections import Entry
from rtap_assets.lake.corrections import read_entries, read_state
from rtap_assets.lake.offset_gaps import read_gaps

CORRECTED = """
INSERT INTO corrected
SELECT cause, sum(coalesce(rows_added, 0))::BIGINT, sum(coalesce(rows_removed, 0))::BIGINT
FROM done WHERE entry = 'done' GROUP BY ALL
"""
PENDING = """
INSERT INTO pending_rows
SELECT topic, coalesce(topic_epoch, 0), kafka_partition, kafka_offset, event_time, plan_tier, region, currency
FROM planned WHERE entry = 'row' AND correction_id IN (SELECT unnest($pending))
"""


def load_gaps(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Fill `gaps` with the recorded gaps of the events topic.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    connection.execute("DELETE FROM gaps")
    for gap in read_gaps(settings):
        if gap.topic == settings.topic_events:
            place = [gap.topic_epoch, gap.kafka_partition, gap.first_offset, gap.last_offset]
            connection.execute("INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?)", [*place, gap.records, gap.kind])


def load_corrections(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Fill `corrected` with the effects of finished corrections, `pending_rows` with the rows of pending ones.

    Raises:
        DependencyUnavailable: the catalog does not answer.
    """
    connection.execute("DELETE FROM corrected; DELETE FROM pending_rows")
    pending = [header["correction_id"] for header in read_state(settings).pending]
    with_rows = read_entries(settings, Entry.ROW) if pending else None
    for name, entries, statement, bound in (
        ("done", read_entries(settings, Entry.DONE), CORRECTED, {}),
        ("planned", with_rows, PENDING, {"pending": pending}),
    ):
        if isinstance(entries, pa.Table):
            connection.register(name, _with_epoch(entries))
            connection.execute(statement, bound)
            connection.unregister(name)


def _with_epoch(entries: pa.Table) -> pa.Table:
    """Return the entries with `topic_epoch`, also of a table that predates the column."""
    if "topic_epoch" in entries.column_names:
        return entries
    return entries.append_column("topic_epoch", pa.nulls(len(entries), pa.int32()))
