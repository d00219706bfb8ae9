"""Kafka records to bronze rows: decoded with the writer's schema, then judged by the contract's rules, raw bytes kept.

Pure column expressions, the same for a batch and for a stream; every Kafka record becomes exactly one row.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rtap_assets.transforms.decoding import Steps, decode_sales_events
from rtap_assets.transforms.judging import judge_sales_events


def bronze_rows(
    records: DataFrame, steps: Steps, *, future_seconds: int, past_seconds: int, topic_epoch: int = 0
) -> DataFrame:
    """Return one bronze row for each Kafka record; `steps` come from `decoding_steps` for the known writers.

    Shape: Spark's Kafka source columns with headers, to the columns of `contracts.tables.BRONZE`; grain: one Kafka record.
    Time: see `judge_sales_events`.
    Source: architecture overview, section 5; design, decisions 3, 5 and 8.
    """
    decoded = decode_sales_events(records, steps).select("*", F.lit(topic_epoch).alias("topic_epoch"))
    return judge_sales_events(decoded, future_seconds=future_seconds, past_seconds=past_seconds)
