"""What is counted of each micro-batch while it passes: aggregate expressions for `DataFrame.observe`, no pass of their own.

Pure columns. `streaming/queries.py` attaches them, they arrive in the progress of the batch, `streaming/quality.py` reads
them there. Instants are milliseconds since the epoch, so that no time zone can come in between.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F

from rtap_assets.contracts.rules import Reason
from rtap_assets.quality.catalog import REQUIRED_COLUMNS


def bronze_counts(*, skew_seconds: int) -> list[Column]:
    """Of bronze rows: records, quarantined ones, valid ones with nulls or a skewed event time.

    Few on purpose: these cost one to two cpu-seconds per million rows, one count for each reason as well about nine. The
    reasons are counted in the DLQ query, which sees the quarantined rows alone.

    Time: a valid row is skewed when its event time is more than `skew_seconds` away from its Kafka timestamp.
    """
    reason = F.col("error_reason")
    valid = reason.isNull()
    delay_ms = F.unix_millis("kafka_timestamp") - F.unix_millis("event_time")
    return [
        F.count(F.lit(1)).alias("records"),
        F.count(reason).alias("invalid"),
        F.count_if(valid & _is_incomplete()).alias("incomplete"),
        F.count_if(valid & (F.abs(delay_ms) > skew_seconds * 1000)).alias("skewed"),
        F.min(F.when(valid, delay_ms)).alias("least_delay_ms"),
        F.max(F.when(valid, delay_ms)).alias("greatest_delay_ms"),
    ]


def dead_letter_counts() -> list[Column]:
    """Of quarantined bronze rows: how many for each reason."""
    return [F.count_if(F.col("error_reason") == code.value).alias(code.value) for code in Reason]


def silver_input_counts() -> list[Column]:
    """Of the valid rows that silver reads, before late ones and copies are dropped."""
    return [F.count(F.lit(1)).alias("events")]


def silver_counts() -> list[Column]:
    """Of the rows that silver keeps: how many, those with nulls, how new and how far apart."""
    return [
        F.count(F.lit(1)).alias("events"),
        F.count_if(_is_incomplete()).alias("incomplete"),
        F.min(F.unix_millis("event_time")).alias("oldest_event_ms"),
        F.max(F.unix_millis("event_time")).alias("newest_event_ms"),
        F.max(F.unix_millis("kafka_timestamp")).alias("newest_kafka_ms"),
    ]


def _is_incomplete() -> Column:
    return reduce(Column.__or__, [F.col(name).isNull() for name in REQUIRED_COLUMNS])
