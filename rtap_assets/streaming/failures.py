"""What a failed query means: start again, wait for something that is away, or a fault that a person must see."""

from __future__ import annotations

from enum import Enum

from rtap_assets.transforms.bronze import UNLISTED_SCHEMA_ID

# SPARK-54027 / SPARK-55271: after finishing a batch left over by a crash, Kafka's source dies in its metrics. Nothing is
# lost or doubled; the next start goes on.
KAFKA_METRICS_FAULT = "KafkaMicroBatchStream.metrics"
AWAY = {
    "broker": (
        "org.apache.kafka.common.errors.TimeoutException",
        "org.apache.kafka.common.errors.DisconnectException",
        "No resolvable bootstrap urls",
        "Failed to construct kafka consumer",
    ),
    "catalog": ("SQLITE_BUSY", "database is locked", "UncheckedSQLException", "org.postgresql.util.PSQLException"),
    "registry": ("RTAP_REGISTRY_AWAY",),
}


class Verdict(Enum):
    """What to do with a query that ended with an error."""

    RESTART = "restart"
    WAIT = "wait"
    FAULT = "fault"


def judge(error: BaseException) -> tuple[Verdict, str]:
    """The verdict on a query's error, and the reason in a few words (for WAIT: what is away)."""
    text = f"{error}\n{getattr(error, 'stackTrace', None) or ''}\n{getattr(error, '_stackTrace', None) or ''}"
    if UNLISTED_SCHEMA_ID in text:
        return Verdict.RESTART, "a schema id was registered after the last listing"
    if KAFKA_METRICS_FAULT in text:
        return Verdict.RESTART, "Spark's Kafka source failed in its metrics after a recovered batch (SPARK-54027)"
    for dependency, marks in AWAY.items():
        if any(mark in text for mark in marks):
            return Verdict.WAIT, dependency
    return Verdict.FAULT, text.strip().splitlines()[0][:500]
