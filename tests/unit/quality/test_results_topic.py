"""Results of checks: judged by thresholds, written as Avro, shown in Dagster, kept in a table."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema
from lake_fixtures import NOON
from quality_fixtures import quality_result

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.assets.quality_checks import check_result
from rtap_assets.config import PROJECT_ROOT, Settings, load_settings
from rtap_assets.contracts.avro.schemas import DQ_SUBJECT_FOLDER, load_subject
from rtap_assets.contracts.tables import DQ_RESULTS
from rtap_assets.kafka.dlq_review import DlqLag, UnseenRecord
from rtap_assets.quality.catalog import CHECKS, DqResult, Outcome, Severity
from rtap_assets.quality.results_table import append_results, archived_offsets, remove_old_results
from rtap_assets.quality.results_topic import decode, encode
from rtap_assets.sensors.dlq_lag import is_due, lag_observation
from rtap_assets.serving.connection import open_lake

FIVE_MINUTES = timedelta(minutes=5)
SCHEMA = parse_schema(json.loads(load_subject(PROJECT_ROOT / "rtap_assets" / "schemas", DQ_SUBJECT_FOLDER)[-1].text))


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
    empty = quality_result("null_share", 0, 0)
    assert empty.outcome is Outcome.NOTHING_TO_CHECK
    shown = check_result(empty)
    assert (shown.passed, shown.severity.value) == (False, "WARN")
    assert "nothing to check" in (shown.description or "")
    assert shown.metadata["outcome"].value == "nothing to check"
    assert replace(empty, rows_checked=1).outcome is Outcome.PASSED
    assert replace(empty, passed=False).outcome is Outcome.FAILED


@pytest.mark.parametrize(("threshold", "passed"), [(0.05, True), (0.049, False)])
def test_a_check_passes_up_to_its_threshold(threshold: float, passed: bool) -> None:
    result = quality_result("duplicate_share", 5, 100, settings=load_settings(dq_max_duplicate_share=threshold))
    assert (result.passed, result.threshold) == (passed, threshold)


def test_a_result_survives_avro() -> None:
    result = replace(quality_result("late_share", 1, 3), snapshot_id=2**62 + 1, measured_from=NOON)
    assert decode(encode(result, schema_id=7, schema=SCHEMA), {7: SCHEMA}) == result
    earlier = replace(result, source="stream", batch_id=7)
    assert decode(encode(earlier, schema_id=7, schema=SCHEMA), {7: SCHEMA}) == earlier
    bare = replace(result, batch_id=None, snapshot_id=None, measured_from=None, detail={})
    assert decode(encode(bare, schema_id=7, schema=SCHEMA), {7: SCHEMA}) == bare


def test_a_single_result_as_dagster_shows_it_names_its_snapshot_as_text() -> None:
    result = replace(quality_result("late_share", 1, 10), snapshot_id=2**60 + 1)
    shown = check_result(result)
    assert (shown.check_name, shown.passed, shown.asset_key) == (
        "late_share",
        result.passed,
        ASSET_OF_STREAM["silver"],
    )
    assert shown.metadata["snapshot id"].value == str(2**60 + 1)
    assert "snapshot id" not in check_result(replace(result, snapshot_id=None)).metadata


# ---- the sensor of dead letters


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
    letter = UnseenRecord(0, 7, NOON, "bad_magic", "<b>|\x1b[2J", "sales/0/3")
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
    first, second = quality_result("late_share", 1, 10), quality_result("delay", 0, 9, observed=2, minute=1)
    assert append_results(settings, [first], before={}, after={0: 1})
    assert not append_results(settings, [first], before={}, after={0: 1})
    assert append_results(settings, [second], before={0: 1}, after={0: 2})
    assert archived_offsets(settings) == {0: 2}
    assert kept(settings) == [("late_share", 0.1, '{"failed": "1"}'), ("delay", 2.0, '{"failed": "0"}')]


def test_old_results_leave_the_table_and_the_position_stays(settings: Settings) -> None:
    append_results(settings, [quality_result("late_share", 1, 10)], before={}, after={0: 1})
    append_results(settings, [quality_result("delay", 0, 9, minute=60)], before={0: 1}, after={0: 2})
    remove_old_results(settings, now=NOON + timedelta(days=settings.dq_results_retention_days, minutes=30))
    assert [row[0] for row in kept(settings)] == ["delay"]
    assert archived_offsets(settings) == {0: 2}


def test_the_quality_page_lists_every_check() -> None:
    page = (PROJECT_ROOT / "docs" / "quality.md").read_text(encoding="utf-8")
    for check in CHECKS.values():
        severity = f"{check.severity}, blocking" if check.blocking else str(check.severity)
        name, setting = " ".join(check.key), f"RTAP_{check.threshold_setting.upper()}"
        assert f"| `{name}` | {check.sentence} | {severity} | `{setting}` |" in page
    assert page.count("\n| `") == len(CHECKS)
