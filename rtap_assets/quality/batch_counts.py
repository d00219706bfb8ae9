"""What the streams count of each micro-batch while it passes: aggregates for `DataFrame.observe`, no pass of their own.

Pure columns. The counts arrive in the progress of the batch and become metrics (`batch_totals`); none is judged here.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

BRONZE_METRICS, DLQ_METRICS = "bronze", "dlq"


def bronze_counts() -> list[Column]:
    """Return the counts of bronze rows: records, and how many of them are quarantined.

    Few on purpose: one count for each reason as well would cost about nine cpu-seconds per million rows. The reasons are
    counted by the dlq stream, which reads quarantined files alone.
    """
    return [F.count(F.lit(1)).alias("records"), F.count("error_reason").alias("invalid")]
