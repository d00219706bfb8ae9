"""The options of `rtap generate` that are times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from rtap_assets.commands.local.generate import Duration, Instant
from rtap_assets.config import load_settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.generator.preparation import require_acceptable_start
from rtap_assets.runtime.clock import utc_now


@pytest.mark.parametrize("text", ["2026-03-01T12:00Z", "2026-03-01T12:00", "2026-03-01 13:00+01:00"])
def test_an_instant_without_an_offset_is_utc(text: str) -> None:
    assert Instant().convert(text, None, None) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_wrong_time_says_what_to_write() -> None:
    with pytest.raises(click.BadParameter, match="is not a time such as 2026-03-01T12:00Z"):
        Instant().convert("yesterday", None, None)
    with pytest.raises(click.BadParameter, match="is not a time such as 90s"):
        Duration().convert("5 minutes", None, None)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=-31)])
def test_a_start_whose_events_would_be_quarantined_is_refused(tmp_path: Path, ahead: timedelta) -> None:
    with pytest.raises(ConfigurationError, match="too old or in the future"):
        require_acceptable_start(load_settings(state_dir=tmp_path), GeneratorOptions(start_time=utc_now() + ahead))


def test_a_start_in_the_recent_past_is_taken(tmp_path: Path) -> None:
    require_acceptable_start(load_settings(state_dir=tmp_path), GeneratorOptions(start_time=utc_now() - timedelta(days=2)))
