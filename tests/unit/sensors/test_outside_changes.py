"""The sensor `outside_changes`: a refresh from the shell is reported once, one by a run never; topics that moved."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from lake_fixtures import NOON, gold_row, make_lake

from rtap_assets.assets.keys import REVENUE_PARQUET, mart_key
from rtap_assets.assets.marts import MART_KEYS, mart_metadata
from rtap_assets.config import Settings, load_settings
from rtap_assets.resources.marts import Marts
from rtap_assets.sensors.outside_changes import RUN_REPORTS, marts_due
from rtap_assets.serving.export import export_gold
from rtap_assets.serving.marts import refresh_marts


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    own = load_settings(_env_file=None, state_dir=tmp_path_factory.mktemp("outside") / ".rtap")
    make_lake(own, gold=[gold_row(NOON)], watermark=NOON)
    return own


def refreshed(settings: Settings, at: datetime) -> datetime:
    """Refresh marts and folder as the shell does, and return when the sensor may look."""
    refresh_marts(settings, refreshed_at=at)
    export_gold(settings, now=at)
    os.utime(settings.marts_path, (at.timestamp(), at.timestamp()))
    return at + RUN_REPORTS


def test_a_refresh_from_the_shell_appears_once_with_rows_columns_and_lineage(settings: Settings) -> None:
    later = refreshed(settings, datetime.now(UTC))
    marts = Marts(database=str(settings.marts_path))
    with dg.DagsterInstance.ephemeral() as instance:
        events, mark = marts_due(instance, settings, marts, None, now=later)
        assert {event.asset_key for event in events} == set(MART_KEYS)
        shown = next(event for event in events if event.asset_key == mart_key("rolling_revenue"))
        assert shown.metadata["dagster/row_count"].value == 1
        assert "dagster/column_lineage" in shown.metadata
        assert "| 2026-03-01 12:00:00 |" in str(shown.metadata["preview"].value)
        for event in events:
            instance.report_runless_asset_event(event)
        assert marts_due(instance, settings, marts, mark, now=later) == ([], mark)
        assert marts_due(instance, settings, marts, None, now=later) == ([], mark), "known without the cursor, too"


def test_a_refresh_by_a_run_is_not_reported_again(settings: Settings) -> None:
    at = datetime.now(UTC) + timedelta(minutes=5)
    report = refresh_marts(settings, refreshed_at=at)
    os.utime(settings.marts_path, (at.timestamp(), at.timestamp()))
    marts = Marts(database=str(settings.marts_path))
    with dg.DagsterInstance.ephemeral() as instance:
        assert marts_due(instance, settings, marts, "old", now=at + RUN_REPORTS / 2) == ([], "old"), (
            "its run may report it yet"
        )
        metadata = mart_metadata(report, "rolling_revenue")
        instance.report_runless_asset_event(dg.AssetMaterialization(mart_key("rolling_revenue"), metadata=metadata))
        events, _ = marts_due(instance, settings, marts, "old", now=at + RUN_REPORTS)
    assert events == []


def test_without_marts_there_is_nothing_to_report(tmp_path: Path) -> None:
    empty = load_settings(_env_file=None, state_dir=tmp_path / ".rtap")
    with dg.DagsterInstance.ephemeral() as instance:
        assert marts_due(instance, empty, Marts(database=str(empty.marts_path)), None, now=NOON) == ([], None)
    assert REVENUE_PARQUET in MART_KEYS
