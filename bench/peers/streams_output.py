"""Reads the topics of the Kafka Streams peer back into the tables that are compared; no part of its measured run."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

IDLE_SECONDS = 5.0
EVENT_ID_BYTES = slice(6, 42)  # behind the frame and the length of the first field


def save_output(brokers: str, prefix: str, output: Path) -> None:
    """Write bronze, silver and gold of the application `prefix` as one Parquet file each."""
    errors = [dict(message.headers())["error"].decode() or None for message in _messages(brokers, f"{prefix}-bronze")]
    _save(output, "bronze", {"error": pa.array(errors, pa.string())})
    ids = [message.value()[EVENT_ID_BYTES].decode() for message in _messages(brokers, f"{prefix}-silver")]
    _save(output, "silver", {"event_id": pa.array(ids)})
    newest = {message.key().decode(): message.value().decode() for message in _messages(brokers, f"{prefix}-gold")}
    windows, tiers, regions, currencies = zip(*(key.split("|") for key in newest), strict=True)
    sums = [value.split("|") for value in newest.values()]
    _save(
        output,
        "gold",
        {
            "window_start": pa.array([int(window) for window in windows]),
            "plan_tier": pa.array(tiers),
            "region": pa.array(regions),
            "currency": pa.array(currencies),
            "revenue": pa.array([Decimal(revenue).scaleb(-4) for revenue, _ in sums], pa.decimal128(38, 4)),
            "events": pa.array([int(events) for _, events in sums]),
        },
    )


def _messages(brokers: str, topic: str) -> Iterator[Message]:
    consumer = Consumer({
        "bootstrap.servers": brokers, "group.id": "peers-output", "enable.auto.commit": False, "enable.partition.eof": False,
    })  # fmt: skip
    try:
        left = {}
        for number in consumer.list_topics(topic).topics[topic].partitions:
            partition = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(partition)
            if end:
                left[number] = end
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        while left:
            for message in consumer.consume(50_000, IDLE_SECONDS):
                if message.error():
                    raise KafkaException(message.error())
                if message.offset() < left.get(message.partition(), 0):
                    yield message
            for partition in consumer.position([TopicPartition(topic, number) for number in left]):
                if partition.offset >= left[partition.partition]:
                    del left[partition.partition]
    finally:
        consumer.close()


def _save(output: Path, layer: str, columns: dict[str, pa.Array]) -> None:
    (output / layer).mkdir(parents=True)
    pq.write_table(pa.table(columns), output / layer / "all.parquet")
