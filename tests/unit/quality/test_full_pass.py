"""The full pass of checks over small lakes: each check passing and failing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lake_fixtures import NOON, bronze_row, gold_row, make_lake, silver_row, valid_bronze_row

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.history.stream_offsets import StreamPositions
from rtap_assets.quality.catalog import CHECKS, DqResult
from rtap_assets.quality.full_pass import run_checks

NOW = NOON + timedelta(minutes=5)
WINDOW, SLIDE = 300, 60


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def valid_row(offset: int, event_id: str = "", **columns: Any) -> dict[str, Any]:
    """Return a valid bronze row."""
    return valid_bronze_row(offset, **({"event_id": event_id} if event_id else {}) | columns)


def end_of(settings: Settings, identifier: str) -> dict[str, int]:
    """The position of a stream that has read all of a table."""
    with open_catalog(settings) as catalog:
        snapshot = load_table(catalog, identifier).current_snapshot()
    assert snapshot is not None
    return {"snapshot_id": snapshot.snapshot_id, "position": 1_000}


def verdicts(settings: Settings, *, offsets: dict[int, int] | None = None, **options: Any) -> dict[str, DqResult]:
    """The results by table's namespace and check, with silver having read all of bronze."""
    silver = options.pop("silver", None) or (end_of(settings, BRONZE.identifier) if offsets is not None else None)
    positions = StreamPositions(bronze=offsets or {}, silver=silver)
    results = run_checks(settings, positions=positions, now=NOW, **options)
    return {f"{result.table_name.split('.')[0]}/{result.check_name}": result for result in results}


def failing(results: dict[str, DqResult]) -> list[str]:
    return [name for name, result in results.items() if not result.passed]


def five_windows() -> list[dict[str, Any]]:
    """Gold as one silver row at noon makes it: the five sliding windows that hold it."""
    return [gold_row(NOON - timedelta(seconds=SLIDE * step)) for step in range(WINDOW // SLIDE)]


def sound_lake(settings: Settings, **more: Sequence[dict[str, Any]]) -> None:
    make_lake(
        settings,
        bronze=[valid_row(0), *more.get("bronze", ())],
        silver=[silver_row("event-0", kafka_offset=0), *more.get("silver", ())],
        gold=more.get("gold", five_windows()),
        watermark=NOON + timedelta(minutes=10),
    )


def test_a_lake_without_tables_passes_every_check_and_says_that_it_looked_at_nothing(settings: Settings) -> None:
    results = verdicts(settings)
    assert len(results) == len(CHECKS)
    assert failing(results) == []
    assert {result.rows_checked for result in results.values()} == {0}


def test_a_sound_lake_passes_every_check(settings: Settings) -> None:
    sound_lake(settings)
    results = verdicts(settings, offsets={0: 1})
    assert failing(results) == []
    assert results["silver/conservation"].rows_checked == 1
    detail = {"kept": "1", "copies": "0", "removed": "0", "late": "0", "example": "none"}
    assert results["silver/conservation"].detail == detail
    assert results["gold/gold_equals_silver"].rows_checked == WINDOW // SLIDE


def test_a_second_pass_differs_in_its_identity_alone(settings: Settings) -> None:
    sound_lake(settings)
    first, second = verdicts(settings, offsets={0: 1}), verdicts(settings, offsets={0: 1})
    assert {result.result_id for result in first.values()}.isdisjoint(result.result_id for result in second.values())
    assert [result.observed for result in first.values()] == [result.observed for result in second.values()]


@pytest.mark.parametrize(
    "bronze, offsets, detail",
    [
        ([valid_row(2)], {0: 3}, {"missing": "1", "repeated": "0"}),
        ([valid_row(0)], {0: 1}, {"missing": "0", "repeated": "1"}),
        ([], {0: 3}, {"missing": "2", "repeated": "0"}),
    ],
    ids=["a gap", "a record twice", "consumed and not written"],
)
def test_bronze_conservation_fails(
    settings: Settings, bronze: list[dict[str, Any]], offsets: dict[int, int], detail: dict[str, str]
) -> None:
    sound_lake(settings, bronze=bronze)
    result = verdicts(settings, offsets=offsets)["bronze/conservation"]
    assert not result.passed
    assert result.blocking
    assert result.detail == detail


def test_redriven_records_are_counted_as_such(settings: Settings) -> None:
    redriven = valid_row(1, kafka_headers=[{"key": "rtap.redrive.attempt", "value": b"1"}])
    sound_lake(settings, bronze=[redriven])
    result = verdicts(settings, offsets={0: 2})["bronze/conservation"]
    assert (result.passed, result.detail) == (True, {"missing": "0", "repeated": "0", "redriven": "1"})


def test_amounts_above_the_plausible_one_of_their_currency_are_counted_with_examples(settings: Settings) -> None:
    amounts = {"EUR": "1000.0001", "JPY": "1000000", "CHF": "1000.0000", "KWD": "99999999999999.9999"}
    silver = [silver_row(f"of {code}", currency=code, amount=Decimal(amount)) for code, amount in amounts.items()]
    sound_lake(settings, silver=silver)
    bounded = settings.model_copy(update={"dq_max_amount": '{"*": 1000, "JPY": 1e6}'})
    result = verdicts(bounded)["silver/implausible_amount"]
    assert (result.passed, result.severity, result.observed, result.rows_checked) == (False, "warn", 2, 5)
    assert result.detail == {
        "currencies": "EUR 1, KWD 1",
        "largest": "of KWD 99999999999999.9999 KWD, of EUR 1000.0001 EUR",
    }
    assert verdicts(settings.model_copy(update={"dq_max_amount": '{"CHF": 2000}'}))["silver/implausible_amount"].passed


def test_quarantined_records_are_counted_by_reason(settings: Settings) -> None:
    bad = [bronze_row(1, error_reason="bad_magic"), bronze_row(2, error_reason="bad_magic")]
    sound_lake(settings, bronze=[*bad, bronze_row(3, error_reason="too_short")])
    results = verdicts(settings, offsets={0: 4})
    assert failing(results) == ["bronze/invalid_share", "bronze/invalid_reason_share"]
    invalid, reason, batch = (results[f"bronze/{name}"] for name in ("invalid_share", "invalid_reason_share", "quarantined"))
    assert (invalid.observed, invalid.rows_failed, invalid.detail) == (0.75, 3, {"bad_magic": "2", "too_short": "1"})
    assert (reason.observed, reason.detail) == (0.5, {"reason": "bad_magic"})
    assert (batch.observed, batch.rows_failed, batch.rows_checked) == (2, 2, 4)
    assert batch.detail == {"bad_magic": "2", "too_short": "1"}


def test_the_worst_of_the_recent_batches_is_judged_by_its_most_frequent_reason(settings: Settings) -> None:
    strict = settings.model_copy(update={"dq_max_quarantined_per_batch": 2})
    before = NOON - timedelta(minutes=2 * settings.dq_interval_minutes, seconds=1)
    older = [bronze_row(number, error_reason="bad_magic", kafka_timestamp=before) for number in range(4)]
    make_lake(strict, bronze=older)
    assert verdicts(strict)["bronze/quarantined"].observed == 4
    make_lake(strict, bronze=[bronze_row(number, error_reason="too_short") for number in range(4, 7)])
    make_lake(strict, bronze=[bronze_row(7, error_reason="too_short"), bronze_row(8, error_reason="bad_magic")])
    result = verdicts(strict)["bronze/quarantined"]
    assert (result.passed, result.severity, result.observed, result.rows_checked) == (False, "warn", 3, 5)
    assert result.detail == {"too_short": "3"}


def test_silvers_slowest_recent_batch_is_judged_by_its_newest_record(settings: Settings) -> None:
    def batch(minute: float, delay_seconds: float, **columns: Any) -> list[dict[str, Any]]:
        began = NOON + timedelta(minutes=minute)
        times = {"processed_at": began, "kafka_timestamp": began - timedelta(seconds=delay_seconds)}
        older = {"kafka_timestamp": began - timedelta(hours=1), "event_time": NOON - timedelta(seconds=60)}
        first, second = silver_row(f"{minute}-a"), silver_row(f"{minute}-b")
        return [first | times | columns, second | times | older | columns]

    long_ago = -2 * settings.dq_interval_minutes
    late = batch(0.5, 900, is_late=True)
    make_lake(settings, silver=[*batch(long_ago, 500), *batch(0, 3.5), *batch(1, 2), *late])
    result = verdicts(settings)["silver/delay"]
    assert (result.passed, result.observed, result.rows_checked) == (True, 3.5, 4)
    assert result.detail == {"batch of": "2026-03-01 12:00:00+00", "event time span (s)": "60.0"}
    slow = verdicts(settings.model_copy(update={"dq_max_delay_seconds": 3}))["silver/delay"]
    assert (slow.passed, slow.severity) == (False, "warn")


def test_a_null_or_a_skewed_time_in_bronze_is_found_among_its_valid_rows(settings: Settings) -> None:
    quarantined = bronze_row(4, error_reason="too_short", event_time=NOON - timedelta(days=400))
    rows = [valid_row(1, region=None), valid_row(2, event_time=NOON - timedelta(hours=2)), valid_row(3, promo_code=None)]
    sound_lake(settings, bronze=[*rows, quarantined])
    results = verdicts(settings)
    nulls, skewed = results["bronze/null_share"], results["bronze/event_time_skew"]
    assert (nulls.passed, nulls.blocking, nulls.rows_failed, nulls.rows_checked) == (False, False, 1, 4)
    assert nulls.detail == {"region": "1"}
    assert (skewed.passed, skewed.rows_failed, skewed.rows_checked) == (False, 1, 4)
    assert skewed.detail == {"least delay (ms)": "0", "greatest delay (ms)": "7200000"}


def test_a_layer_that_stands_still_is_not_fresh(settings: Settings) -> None:
    short = settings.model_copy(update={"dq_max_freshness_seconds": 60})
    newer = NOON + timedelta(minutes=2)
    sound_lake(short, bronze=[valid_row(1, kafka_timestamp=newer)], silver=[silver_row("other", processed_at=newer)])
    results = verdicts(short)
    freshness = {name: result.observed for name, result in results.items() if name.endswith("freshness")}
    assert freshness == {"bronze/freshness": 180, "silver/freshness": 120, "gold/freshness": 120}
    assert {name for name in failing(results) if name.endswith("freshness")} == freshness.keys()


def rows_of_intervals(counts: Sequence[int]) -> list[dict[str, Any]]:
    """So many records in each of the one-minute intervals before `NOW`; the first has only just begun."""
    offsets = iter(range(1, 1_000))
    return [
        valid_row(next(offsets), kafka_timestamp=NOW - timedelta(seconds=60 * age))
        for age, count in enumerate(counts)
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    "counts, observed",
    [([9, 2, 2, 2, 2, 2], 1.0), ([0, 0, 20, 20, 20, 20], 20.0), ([0, 40, 2, 2, 2, 2], 20.0), ([0, 40, 2, 2], 1.0)],
    ids=["as usual", "nothing came", "a flood", "too little past"],
)
def test_volume_is_compared_with_the_recent_past(settings: Settings, counts: list[int], observed: float) -> None:
    short = settings.model_copy(update={"dq_volume_minutes": 1})
    make_lake(short, bronze=rows_of_intervals(counts))
    result = verdicts(short)["bronze/volume"]
    assert result.observed == observed
    assert result.passed == (observed < short.dq_max_volume_factor)


def test_an_event_twice_in_silver_is_found_and_named(settings: Settings) -> None:
    two_intervals_ago = NOW - timedelta(minutes=2 * settings.corrections_interval_minutes, seconds=1)
    old = {"kafka_timestamp": two_intervals_ago}
    make_lake(settings, silver=[silver_row("event-0", **old), silver_row("event-0", kafka_offset=1, **old)])
    result = verdicts(settings)["silver/uniqueness"]
    assert (result.passed, result.blocking, result.observed) == (False, True, 1)
    assert result.detail == {"example": "event-0", "later copies awaiting correction": "0", "status": "provisional"}


def test_a_later_copy_that_awaits_its_correction_makes_silver_provisional(settings: Settings) -> None:
    sound_lake(settings, silver=[silver_row("event-0", kafka_offset=1)])
    result = verdicts(settings)["silver/uniqueness"]
    assert (result.passed, result.observed) == (True, 0)
    assert result.detail == {"example": "event-0", "later copies awaiting correction": "1", "status": "provisional"}


def test_a_null_in_a_required_column_is_found_and_one_elsewhere_is_not(settings: Settings) -> None:
    sound_lake(settings, silver=[silver_row("a", currency=None, region=None), silver_row("b", promo_code=None)])
    result = verdicts(settings)["silver/null_share"]
    assert (result.passed, result.blocking, result.rows_failed, result.rows_checked) == (False, True, 1, 3)
    assert result.detail == {"currency": "1", "region": "1"}


def test_a_skewed_event_time_is_counted_whether_early_or_late(settings: Settings) -> None:
    hours = 2 * 3_600_000
    sound_lake(settings, silver=[silver_row("a", delivery_latency_ms=hours), silver_row("b", delivery_latency_ms=-hours)])
    result = verdicts(settings)["silver/event_time_skew"]
    assert (result.passed, result.rows_failed, result.rows_checked) == (False, 2, 3)


def test_a_copy_of_a_kept_event_is_a_duplicate_and_not_lost(settings: Settings) -> None:
    sound_lake(settings, bronze=[valid_row(1, "EVENT-0")])
    results = verdicts(settings, offsets={0: 2})
    assert failing(results) == ["silver/duplicate_share"]
    assert results["silver/duplicate_share"].observed == 0.5
    assert results["silver/conservation"].detail["copies"] == "1"


def test_a_row_behind_the_watermark_is_late_and_one_before_it_is_lost(settings: Settings) -> None:
    sound_lake(settings)
    delay = timedelta(seconds=settings.watermark_delay_seconds)
    make_lake(settings, bronze=[valid_row(1, event_time=NOON - delay), valid_row(2, event_time=NOON - delay / 2)])
    results = verdicts(settings, offsets={0: 3})
    assert failing(results) == ["silver/conservation", "silver/late_share"]
    assert results["silver/conservation"].observed == 1
    detail = {"kept": "1", "copies": "0", "removed": "0", "late": "1", "example": "0/2"}
    assert results["silver/conservation"].detail == detail
    assert results["silver/late_share"].rows_failed == 1


def test_a_row_that_silver_has_not_read_yet_is_nothing(settings: Settings) -> None:
    sound_lake(settings)
    read = end_of(settings, BRONZE.identifier)
    make_lake(settings, bronze=[valid_row(1)])
    results = verdicts(settings, silver=read)
    assert failing(results) == []
    assert results["silver/conservation"].rows_checked == 1


@pytest.mark.parametrize(
    "gold",
    [five_windows()[1:], [*five_windows()[1:], gold_row(NOON, orders=2)], [*five_windows(), gold_row(NOON, region="na")]],
    ids=["a window is missing", "a measure differs", "a window of no event"],
)
def test_gold_that_differs_from_silver_in_a_closed_window_is_found(settings: Settings, gold: list[dict[str, Any]]) -> None:
    sound_lake(settings, gold=gold)
    result = verdicts(settings)["gold/gold_equals_silver"]
    assert (result.passed, result.blocking, result.observed) == (False, True, 1)
    assert result.detail["example"].startswith("2026-03-01 12:00:00+00/pro/")


@pytest.mark.parametrize(("net", "passes"), [("0", True), ("0.0001", False)])
def test_a_window_whose_events_were_all_taken_back_equals_none_at_all(settings: Settings, net: str, passes: bool) -> None:
    empty = gold_row(NOON, region="latam", gross_amount=Decimal(net), orders=0, refunds=0, revision=1)
    make_lake(settings, silver=[], gold=[empty], watermark=NOON + timedelta(hours=1))
    result = verdicts(settings)["gold/gold_equals_silver"]
    assert (result.rows_checked, result.passed) == (1, passes)


def test_an_open_window_may_differ(settings: Settings) -> None:
    make_lake(settings, silver=[silver_row("event-0")], gold=[gold_row(NOON, orders=7)], watermark=NOON)
    assert verdicts(settings)["gold/gold_equals_silver"].passed


def test_what_is_older_than_the_lookback_is_left_out(settings: Settings) -> None:
    sound_lake(settings, bronze=[bronze_row(1, error_reason="bad_magic")], gold=[])
    results = verdicts(settings, offsets={0: 2}, lookback_hours=0.01)
    assert "gold/gold_equals_silver" not in failing(results)
    assert results["bronze/invalid_share"].rows_checked == 0
    assert results["bronze/invalid_share"].measured_from == NOW - timedelta(seconds=36)


def test_every_result_carries_the_snapshot_that_was_read(settings: Settings) -> None:
    sound_lake(settings)
    results = verdicts(settings)
    assert {result.snapshot_id is None for result in results.values()} == {False}
    assert results["gold/freshness"].snapshot_id == end_of(settings, GOLD.identifier)["snapshot_id"]
    assert results["silver/freshness"].snapshot_id == end_of(settings, SILVER.identifier)["snapshot_id"]
