"""Kafka records to bronze rows: decoded with the writer's schema, judged by the contract's rules, raw bytes kept.

Pure column work, the same as a batch and as a stream; every Kafka record becomes exactly one row.
"""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import functions as F

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.known_writers import KnownWriters
from rtap_assets.transforms.decoding import decoding_steps
from rtap_assets.transforms.decoding_faults import decoding_fault
from rtap_assets.transforms.judging import judging_steps
from rtap_assets.transforms.projections import Steps


class Limits(NamedTuple):
    """The settings that judge a record: the largest value in bytes, and how far its times may lie from Kafka's, seconds."""

    max_event_bytes: int
    future_seconds: int
    past_seconds: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.max_event_bytes, settings.event_time_future_seconds, settings.event_time_past_seconds)


def bronze_steps(
    known: KnownWriters,
    limits: Limits,
    *,
    settled: bool,
    absent: frozenset[str] = frozenset(),
    topic_epoch: int = 0,
) -> Steps:
    """Return the projections, one after the other, that make one bronze row of each Kafka record.

    Shape: Spark's Kafka source columns with headers, to the columns of `contracts.tables.BRONZE`; grain: one Kafka record.
    Time: see `judging_steps`. Raises: see `decoding_fault`.
    Source: architecture overview, section 5; design, decisions 3, 5 and 8.
    """
    fault = decoding_fault(known, max_event_bytes=limits.max_event_bytes, settled=settled, absent=absent)
    return (
        *decoding_steps(known, max_event_bytes=limits.max_event_bytes),
        ["*", F.lit(topic_epoch).alias("topic_epoch")],
        *judging_steps(fault, future_seconds=limits.future_seconds, past_seconds=limits.past_seconds),
    )
