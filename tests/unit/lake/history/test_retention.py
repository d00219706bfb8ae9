"""Expiry takes the oldest snapshots only, and stops at the first that a stream, a reader or a replay still needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from lake_fixtures import append_rows, bronze_row, make_lake
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.retention import Consumer, ExpiryPlan, history_is_whole, plan_expiry
from rtap_assets.lake.history.snapshot_leases import pin_snapshots, pinned_snapshots
from rtap_assets.lake.history.snapshots import NATIVE_EPOCH_ID, NATIVE_QUERY_ID, STAMP_CAUSE
from rtap_assets.lake.table_lock import table_lock
from rtap_assets.lake.table_metrics import breaches, table_metrics
from rtap_assets.serving.lake_files import plan_lake

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NEWEST = 8


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path, snapshot_retention_seconds=0, snapshots_to_keep=1, consumer_alert_seconds=600)


def snapshot(number: int, *, seconds: float, operation: Operation = Operation.APPEND, **summary: str) -> Snapshot:
    """Snapshot `number`, whose parent is the one before it; it appends a file unless it says otherwise."""
    added = {"added-data-files": "1"} if operation is Operation.APPEND else {}
    return Snapshot(
        snapshot_id=number,
        parent_snapshot_id=number - 1 or None,
        sequence_number=number,
        timestamp_ms=round((T0.timestamp() + seconds) * 1000),
        manifest_list="",
        summary=Summary(operation, **added, **summary),
    )


@dataclass(frozen=True)
class History:
    """As much of an Iceberg table as retention looks at: snapshots 1 to 8, a second apart."""

    all: list[Snapshot] = field(
        default_factory=lambda: [snapshot(number, seconds=number) for number in range(1, NEWEST + 1)]
    )

    def name(self) -> tuple[str, str]:
        return ("bronze", "sales_events")

    def snapshots(self) -> list[Snapshot]:
        return self.all

    def current_snapshot(self) -> Snapshot | None:
        return self.all[-1] if self.all else None

    def with_snapshot(self, changed: Snapshot) -> History:
        return replace(self, all=[changed if one.snapshot_id == changed.snapshot_id else one for one in self.all])


def plan(
    settings: Settings, *consumers: Consumer, history: History | None = None, minutes: float = 60, **update: Any
) -> ExpiryPlan:
    table = cast(Table, history or History())
    return plan_expiry(table, settings.model_copy(update=update), consumers, now=after(minutes))


def after(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def milliseconds(*, seconds: float) -> int:
    return round((T0.timestamp() + seconds) * 1000)


def test_a_table_without_snapshots_has_nothing_to_expire(settings: Settings) -> None:
    assert plan(settings, history=History([])) == ExpiryPlan(0, 0, 0, ())


def test_without_anybody_all_but_the_newest_may_go(settings: Settings) -> None:
    assert plan(settings) == ExpiryPlan(kept=1, expirable=7, cutoff_ms=milliseconds(seconds=8), alerts=())


@pytest.mark.parametrize("to_keep, kept", [(5, 5), (50, 8)])
def test_some_are_kept_whatever_their_age(settings: Settings, to_keep: int, kept: int) -> None:
    assert plan(settings, snapshots_to_keep=to_keep).kept == kept


@pytest.mark.parametrize("erasure, kept", [(8, 1), (7, 1), (5, 3), (2, 6)])
def test_snapshots_from_an_erasure_on_backwards_are_not_kept_for_their_number(
    settings: Settings, erasure: int, kept: int
) -> None:
    removed = snapshot(erasure, seconds=erasure, operation=Operation.OVERWRITE, **{STAMP_CAUSE: "erased"})
    planned = plan(settings, history=History().with_snapshot(removed), snapshots_to_keep=50)
    assert (planned.kept, planned.holds_erased) == (kept, True)


@pytest.mark.parametrize("minutes, kept", [(14, 8), (16, 1)])
def test_a_snapshot_is_kept_for_a_while_after_a_newer_one_took_its_place(
    settings: Settings, minutes: float, kept: int
) -> None:
    assert plan(settings, snapshot_retention_seconds=900, minutes=minutes).kept == kept


def test_a_snapshot_that_was_the_newest_until_just_now_is_kept_however_old_it_is(settings: Settings) -> None:
    history = History([*History().all, snapshot(9, seconds=3600)])
    assert plan(settings, history=history, snapshot_retention_seconds=900, minutes=61).kept == 2


@pytest.mark.parametrize("positions", [[(8,), (6, 4)], [(4,)], [(7, 4), (8,)]])
def test_the_position_of_the_slowest_consumer_and_all_above_it_stay(
    settings: Settings, positions: Sequence[tuple[int, ...]]
) -> None:
    consumers = [Consumer(f"consumer {index}", ids) for index, ids in enumerate(positions)]
    found = plan(settings, *consumers, minutes=5)
    assert found == ExpiryPlan(kept=5, expirable=3, cutoff_ms=milliseconds(seconds=4), alerts=())


def test_a_consumer_far_behind_is_reported_and_not_cut_off(settings: Settings) -> None:
    found = plan(settings, Consumer("dlq", (4,)))
    assert found.kept == 5
    assert found.alerts == (
        "dlq has not read 4 snapshots, the oldest of them 1.0 h old: they are kept for it and the table grows. "
        "Start or drain dlq.",
    )


def test_a_consumer_that_has_read_all_is_not_reported_however_long_ago_that_was(settings: Settings) -> None:
    assert plan(settings, Consumer("dlq", (8,)), minutes=60_000).alerts == ()


def test_compactions_above_the_position_are_nothing_unread(settings: Settings) -> None:
    """The source's position never moves onto them."""
    history = History([*History().all, snapshot(9, seconds=9, operation=Operation.REPLACE)])
    found = plan(settings, Consumer("dlq", (8,)), history=history)
    assert (found.kept, found.alerts) == (2, ())


def test_a_consumer_that_has_read_nothing_keeps_everything(settings: Settings) -> None:
    found = plan(settings, Consumer("dlq", ()))
    assert found.expirable == 0
    assert found.alerts[0].startswith("dlq has not read 8 snapshots")


def test_a_consumer_outside_the_history_keeps_everything_and_is_reported(settings: Settings) -> None:
    found = plan(settings, Consumer("dlq", (4711,)))
    assert found.expirable == 0
    assert found.alerts[0].startswith("dlq stands at snapshot 4711, which is not in the table's history")


def test_the_newest_commit_of_a_stream_stays_for_replays(settings: Settings) -> None:
    by_stream = {NATIVE_QUERY_ID: "q", NATIVE_EPOCH_ID: "1"}
    assert plan(settings, history=History().with_snapshot(snapshot(6, seconds=6, **by_stream))).kept == 3


def test_a_clock_that_stepped_back_costs_no_protected_snapshot(settings: Settings) -> None:
    """Iceberg expires by time, so the cutoff is the earliest time of all that is kept."""
    history = History().with_snapshot(snapshot(6, seconds=1.5))
    found = plan(settings, Consumer("dlq", (4,)), history=history)
    assert (found.kept, found.cutoff_ms) == (5, milliseconds(seconds=1.5))


@pytest.mark.parametrize("minutes, kept", [(14, 5), (16, 1)])
def test_a_pinned_snapshot_stays_until_its_pin_is_over(settings: Settings, minutes: float, kept: int) -> None:
    pin_snapshots(settings, {BRONZE.identifier: 4, "silver.sales_events": 1}, now=T0)
    assert plan(settings, minutes=minutes).kept == kept
    assert len(list(settings.pins_dir.iterdir())) == (2 if kept == 5 else 1)  # silver's is silver's expiry to remove


def test_a_pin_is_renewed_by_the_next_reader(settings: Settings) -> None:
    for minutes in (0, 10):
        pin_snapshots(settings, {BRONZE.identifier: 4}, now=after(minutes))
    assert pinned_snapshots(settings, BRONZE.identifier, now=after(20)) == {4}


def test_a_history_is_whole_until_its_first_snapshot_expires() -> None:
    assert history_is_whole(cast(Table, History([])))
    assert history_is_whole(cast(Table, History()))
    assert not history_is_whole(cast(Table, History(History().all[1:])))


def test_planning_a_read_pins_the_snapshots(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(1)])
    planned = plan_lake(settings)["bronze"].snapshot_id
    assert [path.name for path in settings.pins_dir.iterdir()] == [f"bronze.sales_events@{planned}"]
    assert pinned_snapshots(settings, BRONZE.identifier, now=datetime.now(UTC)) == {planned}


def test_a_reader_that_may_not_write_reads_without_a_pin(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    make_lake(settings, bronze=[bronze_row(1)])
    settings.pins_dir.parent.mkdir()
    settings.pins_dir.write_text("a file where the folder should be", encoding="utf-8")
    assert len(plan_lake(settings)["bronze"].paths) == 1
    assert "not pinned" in caplog.text


def test_one_maintenance_at_a_time_per_table(settings: Settings) -> None:
    with table_lock(settings, "bronze", seconds=0) as first, table_lock(settings, "bronze", seconds=0) as second:
        assert (first, second) == (True, False)
        with table_lock(settings, "silver", seconds=0) as other:
            assert other
    with table_lock(settings, "bronze", seconds=0) as again:
        assert again


def test_metrics_are_measured_and_a_breach_is_a_sentence(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(1)])
    table = load_table(open_catalog(settings), BRONZE.identifier)
    append_rows(table, [bronze_row(2)])
    bronze, silver, _ = table_metrics(settings)
    assert (bronze.snapshots, bronze.manifests, bronze.data_files) == (2, 2, 2)
    assert bronze.metadata_bytes == Path(table.metadata_location.removeprefix("file://")).stat().st_size
    assert (silver.snapshots, silver.manifests, silver.data_files, silver.data_bytes) == (0, 0, 0, 0)
    assert breaches(bronze, settings) == []
    assert breaches(bronze, settings.model_copy(update={"table_most_snapshots": 1})) == [
        "bronze.sales_events has 2 snapshots, its bound is 1 (RTAP_TABLE_MOST_SNAPSHOTS)."
    ]
