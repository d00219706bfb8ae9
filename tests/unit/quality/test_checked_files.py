"""A pass over the last hours reads the files of these hours, and judges as if it had read all."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lake_fixtures import NOON, gold_row, make_lake, silver_row, valid_bronze_row

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.quality.catalog import DqResult
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.serving.lake_files import plan_lake

NOW = NOON + timedelta(minutes=5)
LONG_AGO = NOON - timedelta(days=3)
LOOKBACK_HOURS = 24


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def records(first: int, at: datetime, count: int = 5, **columns: Any) -> list[dict[str, Any]]:
    """Return valid rows of bronze, a second apart, each with an event of its own."""
    times = [at + timedelta(seconds=second) for second in range(count)]
    return [
        valid_bronze_row(first + n, kafka_timestamp=time, event_time=time, topic_epoch=0) | columns
        for n, time in enumerate(times)
    ]


def kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of silver that these make."""
    same = ("event_id", "event_time", "kafka_timestamp", "topic_epoch", "kafka_partition", "kafka_offset")
    began = {"processed_at": rows[-1]["kafka_timestamp"] + timedelta(seconds=1)}
    return [silver_row("") | {name: row[name] for name in same} | began for row in rows]


def lake_of(settings: Settings, *batches: list[dict[str, Any]], lacking: list[dict[str, Any]] | None = None) -> None:
    """Make a lake of batches, all of whose rows are in silver, and one of rows that it lacks."""
    for rows in batches:
        start = rows[0]["event_time"]
        windows = [gold_row(start - timedelta(minutes=step), orders=5, gross_amount=50) for step in range(5)]
        make_lake(settings, bronze=rows, silver=kept(rows), gold=windows, watermark=NOON + timedelta(minutes=5))
    make_lake(settings, bronze=lacking or [])


def verdicts(settings: Settings, *, end: int, hours: float = LOOKBACK_HOURS) -> dict[str, DqResult]:
    with open_catalog(settings) as catalog:
        snapshot = load_table(catalog, BRONZE.identifier).current_snapshot()
    assert snapshot is not None
    read = {"snapshot_id": snapshot.snapshot_id, "position": 1_000}
    results = run_checks(settings, positions=StreamPositions(bronze={0: end}, silver=read), now=NOW, lookback_hours=hours)
    return {f"{result.table_name.split('.')[0]}/{result.check_name}": result for result in results}


def spoil(settings: Settings, *, before: datetime) -> None:
    """Make the files unreadable that have no newer record."""
    for view, column in (("bronze", "kafka_timestamp"), ("silver", "kafka_timestamp"), ("gold", "window_start")):
        for path, (_, greatest) in plan_lake(settings)[view].bounds[column].items():
            if greatest < before.timestamp() * 1_000_000:
                Path(path).write_bytes(b"not parquet")


def accounts(results: dict[str, DqResult]) -> dict[str, str]:
    return {name: results["silver/conservation"].detail[name] for name in ("kept", "copies", "late")}


def test_files_before_the_checked_time_are_not_read(settings: Settings) -> None:
    lake_of(settings, records(0, LONG_AGO), records(5, LONG_AGO + timedelta(hours=1)), records(10, NOON))
    before = verdicts(settings, end=15)
    spoil(settings, before=LONG_AGO + timedelta(minutes=30))
    after = verdicts(settings, end=15)
    assert {name: (one.observed, one.rows_checked, one.detail) for name, one in after.items()} == {
        name: (one.observed, one.rows_checked, one.detail) for name, one in before.items()
    }
    assert [name for name, one in after.items() if not one.passed] == []
    assert after["bronze/conservation"].rows_checked == after["silver/conservation"].rows_checked == 5
    assert after["gold/gold_equals_silver"].rows_checked > 0


@pytest.mark.parametrize("other_time", [False, True], ids=["of the same event time", "of another event time"])
def test_a_copy_of_an_event_from_before_the_checked_time_is_a_copy(settings: Settings, other_time: bool) -> None:
    old = records(0, LONG_AGO)
    copy = records(10, NOON, 1, event_id=old[0]["event_id"])
    if not other_time:
        copy[0]["event_time"] = old[0]["event_time"]
    lake_of(settings, old, records(5, NOON), lacking=copy)
    results = verdicts(settings, end=11)
    assert results["silver/conservation"].passed
    assert accounts(results) == {"kept": "5", "copies": "1", "late": "0"}


def test_the_watermark_from_before_the_checked_time_decides_what_is_late(settings: Settings) -> None:
    ahead = records(0, LONG_AGO, event_time=NOON + timedelta(hours=1))
    lake_of(settings, ahead, lacking=records(5, NOON, 2))
    results = verdicts(settings, end=7)
    assert results["silver/conservation"].passed
    assert accounts(results) == {"kept": "0", "copies": "0", "late": "2"}


def test_what_is_neither_kept_nor_explained_is_lost(settings: Settings) -> None:
    lake_of(settings, records(0, LONG_AGO), lacking=records(5, NOON, 2))
    assert verdicts(settings, end=7)["silver/conservation"].observed == 2


def test_offsets_of_the_checked_time_are_counted_where_a_timestamp_is_older(settings: Settings) -> None:
    rows = records(5, NOON)
    rows[2]["kafka_timestamp"] = LONG_AGO
    lake_of(settings, records(0, LONG_AGO), rows[:2], rows[2:3], rows[3:])
    assert verdicts(settings, end=10)["bronze/conservation"].detail == {"missing": "0", "repeated": "0"}
    assert verdicts(settings, end=12)["bronze/conservation"].detail == {"missing": "2", "repeated": "0"}


def test_layers_are_as_fresh_as_their_newest_rows_whenever_these_came(settings: Settings) -> None:
    lake_of(settings, records(0, LONG_AGO), records(5, LONG_AGO + timedelta(hours=1)))
    recent, whole = verdicts(settings, end=10), verdicts(settings, end=10, hours=0)
    for name in ("bronze/freshness", "silver/freshness", "gold/freshness"):
        assert (recent[name].observed, recent[name].rows_checked) == (whole[name].observed, whole[name].rows_checked)
