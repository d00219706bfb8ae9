"""Bounded retries while a dependency does not answer: capped backoff, a deadline, an error with the history."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rtap_assets.errors import DependencyUnavailable

T = TypeVar("T")

LOG = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0


def with_patience(
    call: Callable[[], T],
    *,
    what: str,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return the result of `call`, retrying while it raises `DependencyUnavailable`, for up to `seconds`.

    `what` completes "gave up …", for example "listing the topics". Any other error is raised immediately.

    Raises:
        DependencyUnavailable: the last one, with the elapsed time and the number of attempts.
    """
    started = clock()
    pause = FIRST_PAUSE_SECONDS
    attempts = 0
    while True:
        attempts += 1
        try:
            return call()
        except DependencyUnavailable as error:
            waited = clock() - started
            if waited + pause > seconds:
                raise DependencyUnavailable(
                    f"Gave up {what} after {waited:.0f} s ({attempts} attempts): {error.message}",
                    remedy=error.remedy,
                    **error.context,
                ) from error
            if attempts == 1:
                LOG.warning("%s Trying for up to %g s.", error.message, seconds)
            sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
