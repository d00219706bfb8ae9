"""When the scheduled pass of checks runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.config import load_settings
from rtap_assets.jobs.quality import LONGEST_WITHOUT_A_PASS, is_pass_due

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SETTINGS = load_settings(_env_file=None, dq_max_freshness_seconds=600, dq_volume_minutes=4)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("passed", "changed", "due"),
    [
        (5 * MINUTE, MINUTE, True),  # a commit after the pass
        (5 * MINUTE, 12 * MINUTE, True),  # the data can have become stale since the pass
        (5 * MINUTE, 20 * MINUTE, False),  # the pass has seen them stale
        (LONGEST_WITHOUT_A_PASS, 200 * MINUTE, True),
        (LONGEST_WITHOUT_A_PASS - MINUTE, 200 * MINUTE, False),
    ],
)
def test_a_pass_is_due_while_it_could_find_something_else(passed: timedelta, changed: timedelta, due: bool) -> None:
    assert is_pass_due(NOON - passed, NOON - changed, SETTINGS, now=NOON) is due


def test_a_pass_is_due_after_one_that_failed_and_over_empty_tables() -> None:
    assert is_pass_due(None, NOON - 200 * MINUTE, SETTINGS, now=NOON)
    assert is_pass_due(NOON - MINUTE, None, SETTINGS, now=NOON)
