"""Offsets without a row: written down once, looked for once, and counted by conservation as what they are."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from lake_fixtures import NOON, bronze_row, make_lake

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.offset_gaps import OffsetGap
from rtap_assets.contracts.tables import BRONZE
from rtap_assets.kafka.readable_offsets import Explanation, GapKind
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.lake.offset_gaps import looked_at, read_gaps, record_gaps, record_pass
from rtap_assets.quality import offset_gaps
from rtap_assets.quality.catalog import CHECKS, DqResult
from rtap_assets.quality.full_pass import run_checks

TOPIC = "sales.events.v1"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def gap(first: int, last: int, kind: str = "control", *, records: int | None = None, partition: int = 0) -> OffsetGap:
    return OffsetGap(TOPIC, partition, first, last, last - first + 1 if records is None else records, kind)


def conservation(settings: Settings, end: int, *, hours: float = 0) -> DqResult:
    (result,) = run_checks(
        settings,
        positions=StreamPositions(bronze={0: end}),
        now=NOON + timedelta(hours=1),
        lookback_hours=hours,
        checks=[CHECKS[BRONZE.identifier, "conservation"]],
    )
    return result


def test_a_gap_is_recorded_once_whoever_reports_it_again(settings: Settings) -> None:
    assert read_gaps(settings) == []
    assert record_gaps(settings, [gap(1, 2), gap(4, 4, "aborted")]) == 2
    assert record_gaps(settings, [gap(1, 2), gap(7, 7)]) == 1
    found = read_gaps(settings)
    assert [(one.first_offset, one.last_offset, one.kind) for one in found] == [
        (1, 2, "control"),
        (4, 4, "aborted"),
        (7, 7, "control"),
    ]
    assert all(one.recorded_at is not None for one in found)


def test_of_two_passes_over_the_same_offsets_one_is_recorded(settings: Settings) -> None:
    first, second = [gap(1, 1)], [gap(1, 1), gap(3, 3)]
    where = {"topic": TOPIC, "topic_epoch": 0}
    assert record_pass(settings, first, before={}, after={0: 5}, **where)  # type: ignore[arg-type]
    assert not record_pass(settings, second, before={}, after={0: 6}, **where)  # type: ignore[arg-type]
    assert looked_at(settings, TOPIC, 0) == {0: 5}
    assert looked_at(settings, TOPIC, 1) == {}
    assert [one.first_offset for one in read_gaps(settings)] == [1]


def test_conservation_counts_recorded_gaps_by_kind_and_the_rest_as_missing(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(0), bronze_row(3), bronze_row(7)])
    assert conservation(settings, 9).detail == {"missing": "6", "repeated": "0"}
    record_gaps(settings, [gap(1, 2, "aborted"), gap(4, 4), gap(5, 6, "lost"), gap(20, 30)])
    result = conservation(settings, 9)
    assert result.detail == {"missing": "1", "repeated": "0", "aborted": "2", "control": "1", "lost": "2"}
    assert not result.passed
    record_gaps(settings, [gap(8, 8)])
    assert conservation(settings, 9).passed
    assert conservation(settings, 8).detail["missing"] == "0"  # the newest gap is past this position


def test_what_is_explained_twice_fails_too(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(0), bronze_row(2)])
    record_gaps(settings, [gap(1, 1), gap(1, 2, "aborted")])
    result = conservation(settings, 3)
    assert (result.passed, result.rows_failed, result.detail["missing"]) == (False, 2, "-2")


def test_a_range_with_rows_between_that_reaches_into_the_time_looked_at_is_counted_as_a_whole(settings: Settings) -> None:
    long_ago = NOON - timedelta(hours=5)
    make_lake(
        settings,
        bronze=[
            bronze_row(0, kafka_timestamp=long_ago),
            bronze_row(2, kafka_timestamp=long_ago),
            bronze_row(4),
            bronze_row(6),
        ],
    )
    record_gaps(settings, [gap(1, 5, records=3)])
    result = conservation(settings, 7, hours=2)
    assert (result.passed, result.rows_checked, result.detail) == (
        True,
        3,
        {"missing": "0", "repeated": "0", "control": "3"},
    )


def test_rows_past_the_position_that_was_looked_at_are_judged_by_the_next_pass(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(0), bronze_row(1), bronze_row(5)])
    assert conservation(settings, 2).passed
    assert not conservation(settings, 6).passed


def test_gaps_are_looked_for_from_the_last_look_on_and_without_what_is_recorded(settings: Settings) -> None:
    make_lake(settings, bronze=[bronze_row(2), bronze_row(3), bronze_row(6), bronze_row(9)])
    find = offset_gaps._gaps_in_bronze
    assert find(settings, before={}, ends={0: 12}, topic_epoch=0) == {0: [(4, 5), (7, 8), (10, 11)]}
    assert find(settings, before={0: 0}, ends={0: 4}, topic_epoch=0) == {0: [(0, 1)]}
    assert find(settings, before={0: 6}, ends={0: 10, 1: 3}, topic_epoch=0) == {0: [(7, 8)]}
    assert find(settings, before={0: 2}, ends={0: 4}, topic_epoch=0) == {}
    recorded = [gap(5, 7, "lost"), gap(0, 100, records=4), gap(10, 10, partition=1)]
    assert offset_gaps._without_recorded({0: [(4, 5), (7, 8)]}, recorded) == {0: [(4, 4), (8, 8)]}


def test_very_many_markers_are_written_down_as_one_range_with_their_number() -> None:
    markers = [Explanation(0, 2 * nth, 2 * nth, GapKind.CONTROL) for nth in range(1_001)]
    aborted = Explanation(0, 5_000, 5_009, GapKind.ABORTED)
    found = offset_gaps._as_gaps([*markers, aborted], topic=TOPIC, topic_epoch=0)
    assert [(one.first_offset, one.last_offset, one.records, one.kind) for one in found] == [
        (5_000, 5_009, 10, "aborted"),
        (0, 2_000, 1_001, "control"),
    ]
