"""Projections whose columns are built once and applied to any number of batches.

Building columns through py4j, and handing them over one by one, costs more than a small batch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column
from pyspark.sql.classic.dataframe import DataFrame

from rtap_assets.transforms.interpreted import Interpreted

Steps = Sequence[Sequence[Column | str | Interpreted]]


class Projections:
    """Projections, one after the other, which the JVM keeps as lists of columns from the first frame on.

    Source: `pyspark.sql.classic.dataframe.DataFrame.select`, which makes the list at each call.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = list(steps)
        self._lists: list[Any] = []

    def apply(self, frame: DataFrame) -> DataFrame:
        """Return the frame after all projections; nothing is computed."""
        for place, step in enumerate(self._steps):
            if place == len(self._lists):
                columns = [one.over(frame) if isinstance(one, Interpreted) else one for one in step]
                self._lists.append(frame._jcols(*columns))
            frame = DataFrame(frame._jdf.select(self._lists[place]), frame.sparkSession)
        return frame


def apply_steps(frame: DataFrame, steps: Steps) -> DataFrame:
    """Apply projections that are used once."""
    return Projections(steps).apply(frame)
