"""What the audit takes from the record of corrections: what they have done, and which rows those under way are about."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
from lake_fixtures import NOON

from rtap_assets.audit.gaps import load_corrections, load_gaps
from rtap_assets.audit.workspace import sql
from rtap_assets.config import load_settings
from rtap_assets.contracts.corrections import Cause, Entry
from rtap_assets.contracts.offset_gaps import GapKind, OffsetGap
from rtap_assets.lake.corrections import append_entries, ensure_corrections
from rtap_assets.lake.offset_gaps import record_gaps


def entry(correction_id: str, kind: Entry, cause: Cause, **columns: Any) -> dict[str, Any]:
    return {"correction_id": correction_id, "entry": str(kind), "cause": str(cause), "recorded_at": NOON} | columns


def test_ended_corrections_are_counted_and_rows_of_pending_ones_are_known(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    ensure_corrections(settings)
    place = {"topic": settings.topic_events, "kafka_partition": 1, "kafka_offset": 7, "event_time": NOON}
    append_entries(
        settings,
        [
            entry("a", Entry.PLANNED, Cause.LATE, rows_added=3, rows_removed=0),
            entry("a", Entry.DONE, Cause.LATE, rows_added=3, rows_removed=0),
            entry("b", Entry.PLANNED, Cause.LATER_COPY, rows_added=0, rows_removed=1),
            entry("b", Entry.ROW, Cause.LATER_COPY, plan_tier="pro", region="emea", currency="EUR", **place),
        ],
    )
    record_gaps(
        settings, [OffsetGap(settings.topic_events, 0, 5, 9, 2, GapKind.ABORTED), OffsetGap("other", 0, 1, 1, 1, "lost")]
    )
    with closing(duckdb.connect(":memory:")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(sql("schema"))
        load_corrections(connection, settings)
        load_gaps(connection, settings)
        assert connection.execute("FROM corrected").fetchall() == [("late", 3, 0)]
        pending = connection.execute(
            "SELECT topic_epoch, kafka_partition, kafka_offset, currency FROM pending_rows"
        ).fetchall()
        assert pending == [(0, 1, 7, "EUR")]
        assert connection.execute("FROM gaps").fetchall() == [(0, 0, 5, 9, 2, "aborted")]


def test_where_nothing_was_recorded_there_is_nothing(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path)
    with closing(duckdb.connect(":memory:")) as connection:
        connection.execute(sql("schema"))
        load_corrections(connection, settings)
        load_gaps(connection, settings)
        for table in ("corrected", "pending_rows", "gaps"):
            assert connection.execute(f"FROM {table}").fetchall() == []
