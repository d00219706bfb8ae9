"""`rtap dq` on the command line, without a broker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from lake_fixtures import NOON, gold_row, make_lake, silver_row

from rtap_assets.commands import dq as command
from rtap_assets.config import Settings, load_settings
from rtap_assets.quality.catalog import CHECKS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state_dir=tmp_path)


def run(settings: Settings) -> Result:
    return CliRunner().invoke(command.dq, ["run", "--no-publish"], obj=settings)


def test_run_prints_each_verdict_and_ends_well(settings: Settings) -> None:
    make_lake(settings, silver=[silver_row("event-0")], gold=[gold_row(NOON)])
    result = run(settings)
    assert result.exit_code == 0, result.output
    assert (result.output.count(" pass "), result.output.count(" nothing to check ")) == (8, len(CHECKS) - 8)


def test_run_ends_with_one_when_a_blocking_check_fails_and_names_it(settings: Settings) -> None:
    make_lake(settings, silver=[silver_row("event-0"), silver_row("event-0", kafka_offset=1)])
    result = run(settings)
    assert result.exit_code == 1
    assert "FAIL, blocking" in result.output
    assert "blocking checks failed: silver.sales_events uniqueness" in result.output


def test_run_ends_well_when_only_a_warning_is_found(settings: Settings) -> None:
    late = NOON - timedelta(hours=5)
    make_lake(settings, silver=[silver_row("event-0", event_time=late, delivery_latency_ms=5 * 3_600_000)])
    result = run(settings)
    assert result.exit_code == 0
    assert " warn " in result.output


def test_list_shows_every_check(settings: Settings) -> None:
    result = CliRunner().invoke(command.dq, ["list"], terminal_width=200)
    assert result.exit_code == 0
    assert {check.name for check in CHECKS.values()} <= set(result.output.split())
