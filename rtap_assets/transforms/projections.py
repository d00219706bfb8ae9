"""Projections whose columns are built once and applied to any number of batches.

Building columns through py4j, and handing them over one by one, costs more than a small batch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column
from pyspark.sql.classic.dataframe import DataFrame

Steps = Sequence[Sequence[Column | str]]


class Projections:
    """Projections, one after the other, which the JVM keeps as lists of columns after their first use.

    Source: `pyspark.sql.classic.dataframe.DataFrame.select`, which makes the list at each call.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._lists: list[Any] | None = None

    def apply(self, frame: DataFrame) -> DataFrame:
        """Return the frame after all projections; nothing is computed."""
        if self._lists is None:
            self._lists = [frame._jcols(*step) for step in self._steps]
        for columns in self._lists:
            frame = DataFrame(frame._jdf.select(columns), frame.sparkSession)
        return frame


def apply_steps(frame: DataFrame, steps: Steps) -> DataFrame:
    """Apply projections that are used once."""
    return Projections(steps).apply(frame)
