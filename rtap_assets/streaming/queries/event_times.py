"""Hands Spark the event times of a batch whose rows its plan never sees, so that its watermark moves as if it had read them.

Spark takes a watermark from what passes `withWatermark` while a batch runs. A sink that reads the batch's files itself has
the same times as a column, and puts the least and the greatest into the accumulator of that operator. The watermark then is
in the offset log, as of any query.

Source: Spark 4.1.1, `EventTimeWatermarkExec`, `WatermarkTracker`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

OPERATOR = "EventTimeWatermark"


def report_event_times(session: SparkSession, query_id: str, event_times_us: npt.NDArray[np.int64]) -> None:
    """Report event times, microseconds since the epoch, to the batch that the query runs; none moves nothing.

    `session` is the one that started the query.
    """
    if not len(event_times_us):
        return
    query = session._jsparkSession.streams().get(query_id).streamingQuery()
    statistics = _watermark_operator(query.lastExecution().executedPlan()).eventTimeStats()
    for time_us in (event_times_us.min(), event_times_us.max()):
        statistics.add(int(time_us) // 1_000)


def _watermark_operator(plan: Any) -> Any:
    while plan.nodeName() != OPERATOR:
        plan = plan.children().head()
    return plan
