"""Wait in tests for a condition, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_SECONDS = 0.05
# A look that takes long is repeated after a pause of three times as long: what is waited for needs the machine, too.
PAUSE_FACTOR, LONGEST_PAUSE_SECONDS = 3, 0.5


def wait_until(
    condition: Callable[[], bool], *, seconds: float, what: str | Callable[[], str], poll_seconds: float = POLL_SECONDS
) -> None:
    """Return as soon as `condition` holds; fail the test when it does not within `seconds`.

    Pass a function as `what` where the text depends on the state at the time of the failure.
    """
    began = looked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < began + seconds, f"not within {seconds:g} s: {what() if callable(what) else what}"
        time.sleep(max(poll_seconds, min(PAUSE_FACTOR * (now - looked), LONGEST_PAUSE_SECONDS)))
        looked = time.monotonic()
