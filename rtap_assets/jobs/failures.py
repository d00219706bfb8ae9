"""The platform's errors as Dagster shows them: a step that failed, with the next step beside the cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from rtap_assets.errors import RtapError


@contextmanager
def failing_with_next_step() -> Iterator[None]:
    """Raise an error of the platform as a failure that shows its remedy; a retry by Dagster would meet the same cause."""
    try:
        yield
    except RtapError as error:
        raise dg.Failure(error.message, metadata={"next step": error.remedy}, allow_retries=False) from error
