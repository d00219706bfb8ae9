"""Results of checks: read from a batch's progress, judged by thresholds, written as Avro, rolled up."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema
from lake_fixtures import NOON
from quality_fixtures import QUERY_ID, silver_progress, stream_result

from rtap_assets.assets.keys import SILVER
from rtap_assets.assets.quality_checks import check_result
from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.contracts.avro.schemas import DQ_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.tables import DQ_RESULTS
from rtap_assets.errors import StreamError
from rtap_assets.kafka.dlq_review import DlqLag, UnseenLetter
from rtap_assets.quality.batch_results import results_of
from rtap_assets.quality.catalog import CHECKS, DqResult, Outcome, Severity
from rtap_assets.quality.results_table import append_results, archived_offsets, remove_old_results
from rtap_assets.quality.results_topic import ResultBatch, decode, encode
from rtap_assets.quality.rollup import RollUp, Told, due, roll_up, to_json
from rtap_assets.sensors.dlq_lag import is_due, lag_observation
from rtap_assets.sensors.dq_results import advance
from rtap_assets.serving.connection import open_lake

FIVE_MINUTES = timedelta(minutes=5)
SCHEMA = parse_schema(json.loads(load_subject(PROJECT_ROOT / "schemas", DQ_SUBJECT_FOLDER)[-1].text))


def by_name(results: list[DqResult]) -> dict[str, DqResult]:
    return {result.check_name: result for result in results}


# ---- the list


def test_every_check_has_a_sentence_and_a_threshold_and_only_errors_block() -> None:
    settings = load_settings()
    for check in CHECKS.values():
        assert check.sentence.endswith(".")
        assert check.threshold(settings) >= 0
        assert check.severity is Severity.ERROR or not check.blocking


def test_record_schema_and_table_have_the_same_fields() -> None:
    names = [field.name for field in fields(DqResult)]
    assert [field["name"] for field in SCHEMA["fields"]] == names == list(DQ_RESULTS.column_names)


# ---- what looked at nothing


def test_an_evaluation_that_looked_at_nothing_has_not_passed_and_blocks_nothing() -> None:
    empty = stream_result("stream_null_share", 0, 0)
    assert empty.outcome is Outcome.NOTHING_TO_CHECK
    shown = check_result(empty)
    assert (shown.passed, shown.severity.value) == (False, "WARN")
    assert "nothing to check" in (shown.description or "")
    assert shown.metadata["outcome"].value == "nothing to check"
    assert replace(empty, rows_checked=1).outcome is Outcome.PASSED
    assert replace(empty, passed=False).outcome is Outcome.FAILED


def test_a_batch_without_a_valid_row_says_nothing_of_valid_rows() -> None:
    names = by_name(results_of(silver_progress(read=5, kept=0, copies=5, late=0), load_settings()))
    assert "stream_null_share" not in names
    assert names["stream_duplicate_share"].rows_checked == 5


# ---- measured inside the streams


def test_a_batch_of_silver_is_read_exactly() -> None:
    results = by_name(results_of(silver_progress(read=100, kept=93, copies=5, late=2), load_settings()))
    assert results["stream_duplicate_share"].observed == 0.05
    assert results["stream_late_share"].observed == 0.02
    assert results["stream_conservation"].passed
    assert results["stream_delay"].observed == 3.5
    assert results["stream_delay"].detail == {"event time span (s)": "60.0"}
    late = results["stream_late_share"]
    assert (late.passed, late.batch_id, late.result_id) == (
        False, 7, f"{QUERY_ID}/7/silver.sales_events/stream_late_share",
    )  # fmt: skip
    assert late.measured_at - (late.measured_from or NOON) == timedelta(seconds=1.25)


def test_a_row_that_vanished_inside_a_batch_is_a_failure() -> None:
    results = by_name(results_of(silver_progress(read=100, kept=92, copies=5, late=2), load_settings()))
    assert (results["stream_conservation"].passed, results["stream_conservation"].observed) == (False, 1)


def test_a_batch_in_which_nothing_is_kept_has_no_delay() -> None:
    results = by_name(results_of(silver_progress(read=3, kept=0, copies=3, late=0), load_settings()))
    assert not {"stream_delay", "stream_null_share"} & results.keys()


@pytest.mark.parametrize(
    "changes",
    [{"observedMetrics": {}}, {"name": "gold"}, {"observedMetrics": {"silver_input": {"events": 0}, "silver": {}}}],
)
def test_a_batch_that_read_nothing_says_nothing(changes: dict[str, Any]) -> None:
    assert results_of(silver_progress(read=1, kept=1, copies=0, late=0, **changes), load_settings()) == []


def test_a_count_that_is_missing_is_named() -> None:
    progress = silver_progress(read=1, kept=1, copies=0, late=0, observedMetrics={"silver_input": {"events": 1}})
    with pytest.raises(StreamError, match="batch 7 of silver lacks a measurement") as raised:
        results_of(progress, load_settings())
    assert raised.value.remedy


@pytest.mark.parametrize(("threshold", "passed"), [(0.05, True), (0.049, False)])
def test_a_check_passes_up_to_its_threshold(threshold: float, passed: bool) -> None:
    settings = load_settings(dq_max_duplicate_share=threshold)
    results = by_name(results_of(silver_progress(read=100, kept=95, copies=5, late=0), settings))
    assert results["stream_duplicate_share"].passed is passed
    assert results["stream_duplicate_share"].threshold == threshold


def test_a_result_survives_avro() -> None:
    result = replace(stream_result("stream_late_share", 1, 3), snapshot_id=2**62 + 1, measured_from=NOON)
    assert decode(encode(result, schema_id=7, schema=SCHEMA), {7: SCHEMA}) == result
    bare = replace(result, batch_id=None, snapshot_id=None, measured_from=None, detail={})
    assert decode(encode(bare, schema_id=7, schema=SCHEMA), {7: SCHEMA}) == bare


# ---- rolled up


def one(*results: DqResult) -> RollUp:
    (rolled,) = roll_up({}, results).values()
    return rolled


def test_shares_roll_up_by_rows_counts_by_sum_and_the_rest_by_the_largest() -> None:
    shares = one(stream_result("stream_late_share", 1, 10), stream_result("stream_late_share", 0, 90, minute=1))
    assert (shares.observed, shares.passed, shares.evaluations, shares.failed_evaluations) == (0.01, True, 2, 1)
    assert shares.detail == {"failed": "1"}
    counts = [stream_result("stream_conservation", 2, 9, observed=2), stream_result("stream_conservation", 1, 9, observed=1)]
    assert one(*counts).observed == 3
    delays = [stream_result("stream_delay", 0, 9, observed=8), stream_result("stream_delay", 0, 9, observed=3, minute=1)]
    assert (one(*delays).observed, one(*delays).last_at) == (8, (NOON + timedelta(minutes=1)).isoformat())


def test_a_result_of_an_unknown_check_is_left_out() -> None:
    assert roll_up({}, [replace(stream_result("stream_delay", 0, 1), check_name="of a later version")]) == {}


@pytest.mark.parametrize(
    ("told", "failed", "minutes", "said"),
    [
        (None, 0, 0, True),
        (Told(passed=True, at=NOON.isoformat()), 0, 1, False),
        (Told(passed=True, at=NOON.isoformat()), 9, 1, True),
        (Told(passed=False, at=NOON.isoformat()), 9, 1, False),
        (Told(passed=False, at=NOON.isoformat()), 0, 1, False),
        (Told(passed=False, at=NOON.isoformat()), 0, 5, True),
    ],
    ids=["the first", "still well", "a new failure", "still failing", "well again, soon", "well again, later"],
)
def test_a_new_failure_is_told_at_once_and_the_rest_once_per_interval(
    told: Told | None, failed: int, minutes: int, said: bool
) -> None:
    rolled = one(stream_result("stream_late_share", failed, 10))
    before = {} if told is None else {rolled.key: told}
    assert bool(due({rolled.key: rolled}, before, now=NOON + timedelta(minutes=minutes), interval=FIVE_MINUTES)) is said


def test_a_single_result_as_dagster_shows_it_names_its_snapshot_as_text() -> None:
    result = replace(stream_result("stream_late_share", 1, 10), snapshot_id=2**60 + 1)
    shown = check_result(result)
    assert (shown.check_name, shown.passed, shown.asset_key) == ("stream_late_share", result.passed, SILVER)
    assert shown.metadata["snapshot id"].value == str(2**60 + 1)
    assert "snapshot id" not in check_result(replace(result, snapshot_id=None)).metadata


# ---- the sensors' cursors


def tick(cursor: dict[str, Any], *results: DqResult, minute: float, offset: int) -> tuple[list[RollUp], dict[str, Any]]:
    said, advanced = advance(
        cursor, ResultBatch(list(results), {0: offset}), now=NOON + timedelta(minutes=minute), interval=FIVE_MINUTES
    )
    return said, json.loads(json.dumps(advanced))  # as Dagster keeps it


def test_the_cursor_keeps_what_is_not_said_yet_and_says_it_once() -> None:
    said, cursor = tick({}, stream_result("stream_late_share", 0, 10), minute=0, offset=1)
    assert [(rolled.check_name, rolled.rows_checked) for rolled in said] == [("stream_late_share", 10)]
    for minute in (1, 2, 3):
        said, cursor = tick(
            cursor, stream_result("stream_late_share", 0, 10, minute=minute), minute=minute, offset=minute + 1
        )
        assert said == []
    said, cursor = tick(cursor, minute=5, offset=4)
    assert [(rolled.evaluations, rolled.rows_checked) for rolled in said] == [(3, 30)]
    assert tick(cursor, minute=10, offset=4)[0] == []
    assert cursor["offsets"] == {"0": 4}


def test_results_of_the_pass_are_left_to_the_run_that_measured_them() -> None:
    said, cursor = tick({}, replace(stream_result("stream_late_share", 0, 10), source="pass"), minute=0, offset=1)
    assert (said, cursor["pending"]) == ([], {})


def test_an_hour_of_results_is_told_as_one() -> None:
    told, cursor = tick({}, stream_result("stream_late_share", 0, 10), minute=0, offset=1)
    results = [stream_result("stream_late_share", 0, 10, minute=minute) for minute in range(1, 61)]
    said, _ = tick(cursor, *results, minute=61, offset=61)
    assert [rolled.evaluations for rolled in said] == [60]
    assert to_json(told[0]).keys() == to_json(said[0]).keys()


@pytest.mark.parametrize(
    ("last", "records", "minutes", "due_now"),
    [({}, 0, 0, True), (0, 3, 1, True), (3, 5, 1, False), (3, 5, 5, True), (5, 5, 60, False), (5, 0, 1, True)],
    ids=["first look", "the first records", "more, soon", "more, later", "no change", "all looked at"],
)
def test_the_dlq_lag_is_observed_when_it_changes(last: Any, records: int, minutes: int, due_now: bool) -> None:
    cursor = {} if last == {} else {"records": last, "at": NOON.isoformat()}
    assert is_due(cursor, DlqLag(records, records), now=NOON + timedelta(minutes=minutes), interval=FIVE_MINUTES) is due_now


def test_an_observation_of_the_lag_says_reasons_and_age() -> None:
    lag = DlqLag(9, 2, {"bad_magic": 2}, oldest=NOON)
    metadata = lag_observation(lag, now=NOON + timedelta(seconds=90)).metadata
    assert metadata["by reason"].value == {"bad_magic": 2}
    assert metadata["age of the oldest (s)"].value == 90
    assert metadata["reasons are of the oldest"].value == 2


def test_an_observation_shows_the_newest_letters_of_each_reason_as_text_without_effect() -> None:
    letter = UnseenLetter(0, 7, NOON, "bad_magic", "<b>|\x1b[2J", "sales/0/3")
    lag = DlqLag(9, 2, {"bad_magic": 2, "too_short": 1}, oldest=NOON, samples={"bad_magic": [letter]})
    table = lag_observation(lag, now=NOON).metadata["newest of each reason"].value
    assert table.splitlines()[2:] == [
        "| bad&#95;magic | 2 | sales/0/3 | &#60;b&#62;&#124;&#92;x1b&#91;2J | 2026-03-01 12:00:00 |"
    ]


# ---- kept in a table


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def kept(settings: Settings) -> list[tuple[Any, ...]]:
    with open_lake(settings) as connection:
        return connection.execute("SELECT check_name, observed, detail FROM quality ORDER BY measured_at").fetchall()


def test_the_table_takes_each_stretch_of_the_topic_once(settings: Settings) -> None:
    assert archived_offsets(settings) == {}
    assert kept(settings) == []
    first, second = stream_result("stream_late_share", 1, 10), stream_result("stream_delay", 0, 9, observed=2, minute=1)
    assert append_results(settings, [first], before={}, after={0: 1})
    assert not append_results(settings, [first], before={}, after={0: 1})
    assert append_results(settings, [second], before={0: 1}, after={0: 2})
    assert archived_offsets(settings) == {0: 2}
    assert kept(settings) == [("stream_late_share", 0.1, '{"failed": "1"}'), ("stream_delay", 2.0, '{"failed": "0"}')]


def test_old_results_leave_the_table_and_the_position_stays(settings: Settings) -> None:
    append_results(settings, [stream_result("stream_late_share", 1, 10)], before={}, after={0: 1})
    append_results(settings, [stream_result("stream_delay", 0, 9, minute=60)], before={0: 1}, after={0: 2})
    remove_old_results(settings, now=NOON + timedelta(days=settings.dq_results_retention_days, minutes=30))
    assert [row[0] for row in kept(settings)] == ["stream_delay"]
    assert archived_offsets(settings) == {0: 2}


def test_the_quality_page_lists_every_check() -> None:
    page = (PROJECT_ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    for check in CHECKS.values():
        severity = f"{check.severity}, blocking" if check.blocking else str(check.severity)
        name, setting = " ".join(check.key), f"RTAP_{check.threshold_setting.upper()}"
        assert f"| `{name}` | {check.sentence} | {severity} | `{setting}` |" in page
    assert page.count("\n| `") == len(CHECKS)
