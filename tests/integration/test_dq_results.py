"""Quality results through the real broker and registry: published, read back, kept in the table; the asset checks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from lake_fixtures import NOON, gold_row, make_lake, silver_row, valid_bronze_row
from quality_fixtures import quality_result

from rtap_assets.assets.quality_checks import asset_key
from rtap_assets.config import Settings
from rtap_assets.definitions import build_definitions
from rtap_assets.quality.archive import archive_results
from rtap_assets.quality.catalog import PASS_CHECKS
from rtap_assets.quality.results_topic import DqPublisher, read_results
from rtap_assets.serving.connection import open_lake

NOW = NOON + timedelta(minutes=10)


def archived(settings: Settings) -> list[str]:
    with open_lake(settings) as connection:
        return [row[0] for row in connection.execute("SELECT result_id FROM quality ORDER BY ALL").fetchall()]


def test_results_are_published_read_back_by_offset_and_kept_once(settings: Settings) -> None:
    first = [quality_result("late_share", 1, 10), quality_result("delay", 0, 10, observed=2)]
    publisher = DqPublisher(settings)
    assert publisher.publish(first) == 2
    batch = read_results(settings, after={}, limit=100)
    assert sorted(batch.results, key=lambda one: one.check_name, reverse=True) == first
    assert sum(batch.offsets.values()) == 2
    assert read_results(settings, after=batch.offsets, limit=100).results == []
    assert archive_results(settings) == 2

    later = quality_result("late_share", 0, 10, minute=1)
    publisher.publish([later])
    assert read_results(settings, after=batch.offsets, limit=100).results == [later]
    assert archive_results(settings) == 1
    assert archive_results(settings) == 0
    assert archived(settings) == sorted(one.result_id for one in (*first, later))


def test_a_read_ends_near_its_limit_and_goes_on_from_there(settings: Settings) -> None:
    results = [quality_result("late_share", 0, 10, minute=minute) for minute in range(30)]
    DqPublisher(settings).publish(results)
    found: list[str] = []
    after: dict[int, int] = {}
    while batch := read_results(settings, after=after, limit=7):
        found += [one.result_id for one in batch.results]
        after = batch.offsets
        if not batch.results:
            break
    assert found == [one.result_id for one in results]


def test_an_offset_past_the_end_starts_over(settings: Settings) -> None:
    result = replace(quality_result("late_share", 0, 10), measured_at=datetime(2026, 3, 1, tzinfo=UTC))
    DqPublisher(settings).publish([result])
    assert read_results(settings, after=dict.fromkeys(range(settings.topic_partitions), 99), limit=9).results == [result]


# In a lake that no stream has filled there is no interval to compare and no row that silver's stream has read.
NOTHING_TO_CHECK = {"bronze/volume", "silver/conservation", "silver/duplicate_share", "silver/late_share"}


def evaluations(gold: list[dict[str, Any]], settings: Settings) -> tuple[bool, dict[str, bool]]:
    """Run the job over a small lake; whether it succeeded, and the verdict of each check."""
    now = datetime.now(UTC)
    event = {"event_time": now - timedelta(hours=1), "kafka_timestamp": now - timedelta(seconds=5)}
    start = event["event_time"].replace(second=0, microsecond=0)
    make_lake(
        settings,
        bronze=[valid_bronze_row(0, **event)],
        silver=[silver_row("event-0", processed_at=now, **event)],
        gold=[gold_row(start - timedelta(minutes=step), updated_at=now, **columns) for step, columns in enumerate(gold)],
        watermark=now - timedelta(minutes=20),
    )
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(settings).resolve_job_def("check_quality")
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        keys = [dg.AssetCheckKey(asset_key(check.spec.identifier), check.name) for check in PASS_CHECKS]
        newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {key: record.evaluation for key, record in newest.items() if record.evaluation is not None}
    return done.success, {f"{key.asset_key.path[0]}/{key.name}": one.passed for key, one in found.items()}


def test_the_scheduled_job_shows_every_check_and_publishes_the_results(settings: Settings) -> None:
    succeeded, verdicts = evaluations([{}] * 5, settings)
    assert succeeded, verdicts
    assert {name for name, passed in verdicts.items() if not passed} == NOTHING_TO_CHECK
    assert len(archived(settings)) == len(verdicts)


def test_the_scheduled_job_fails_when_a_blocking_check_does(settings: Settings) -> None:
    succeeded, verdicts = evaluations([{"orders": 2}] * 5, settings)
    assert not succeeded
    assert {name for name, passed in verdicts.items() if not passed} == {"gold/gold_equals_silver", *NOTHING_TO_CHECK}
    assert len(archived(settings)) == len(verdicts)
