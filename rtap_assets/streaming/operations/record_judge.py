"""The verdict of the platform on records outside its stream: quarantined ones again, repaired ones before they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from rtap_assets.config import Settings
from rtap_assets.contracts.dead_letters import Headers
from rtap_assets.streaming.queries.registered_schemas import WriterMemory
from rtap_assets.transforms.bronze import Limits, bronze_steps
from rtap_assets.transforms.decoding import writer_keys
from rtap_assets.transforms.projections import apply_steps

KAFKA_SOURCE = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("timestampType", pa.int32()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)


def judge_records(records: DataFrame, settings: Settings, *, topic_epoch: int = 0) -> DataFrame:
    """Return one bronze row for each record, as bronze's stream judges it with the registry and settings of now.

    Shape: Spark's Kafka source columns with headers, to the columns of `contracts.tables.BRONZE`.
    Raises:
        DependencyUnavailable: the registry does not answer.
        ConfigurationError: nothing is registered under the topic's subject.
    """
    memory = WriterMemory(settings)
    memory.prime()
    memory.look_up({row["writer_key"]: row["count"] for row in writer_keys(records).collect()})
    return apply_steps(records, bronze_steps(memory.known, Limits.of(settings), settled=True, topic_epoch=topic_epoch))


def verdicts(
    session: SparkSession,
    settings: Settings,
    records: Sequence[tuple[bytes | None, bytes | None, Headers]],
    *,
    at: datetime,
) -> list[str | None]:
    """Return the reason for which each record (key, value, headers) would be quarantined; None for a valid one.

    Time: judged as if the broker appended them at `at`.
    Raises: like `judge_records`.
    """
    if not records:
        return []
    rows = [
        {
            "key": key, "value": value, "topic": settings.topic_events, "partition": 0, "offset": index, "timestamp": at,
            "timestampType": 1, "headers": [{"key": name, "value": content} for name, content in headers],
        }
        for index, (key, value, headers) in enumerate(records)
    ]  # fmt: skip
    frame = session.createDataFrame(pa.Table.from_pylist(rows, schema=KAFKA_SOURCE))
    judged = judge_records(frame, settings).select("kafka_offset", "error_reason").toArrow().to_pylist()
    reasons = {row["kafka_offset"]: row["error_reason"] for row in judged}
    return [reasons[index] for index in range(len(records))]
