from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rtap_assets.runtime.clock import from_microseconds, from_milliseconds, to_milliseconds


@pytest.mark.parametrize("milliseconds", [0, 1, -1, 1_700_000_000_123, 253_402_300_799_999])
def test_milliseconds_survive_the_way_there_and_back(milliseconds: int) -> None:
    assert to_milliseconds(from_milliseconds(milliseconds)) == milliseconds


def test_an_instant_within_a_millisecond_is_rounded_down() -> None:
    assert to_milliseconds(datetime(1970, 1, 1, 0, 0, 0, 1_999, UTC)) == 1
    assert from_microseconds(1_999) == datetime(1970, 1, 1, 0, 0, 0, 1_999, UTC)
