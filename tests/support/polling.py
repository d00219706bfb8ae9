"""Wait in tests for a condition, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_SECONDS = 0.05


def wait_until(
    condition: Callable[[], bool], *, seconds: float, what: str | Callable[[], str], poll_seconds: float = POLL_SECONDS
) -> None:
    """Return as soon as `condition` holds; fail the test when it does not within `seconds`.

    Pass a function as `what` where the text depends on the state at the time of the failure.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what() if callable(what) else what}"
        time.sleep(poll_seconds)
