"""Streams under test against the real broker and registry: records in, drains, messages out, questions to the lake."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from event_bytes import Record
from fastavro import parse_schema, schemaless_reader
from polling import wait_until
from pyspark.sql import SparkSession
from spark_fixtures import with_own_catalog

from rtap_assets.config import Settings
from rtap_assets.contracts.avro.wire import unframe
from rtap_assets.contracts.tables import GOLD, TABLES, TableSpec
from rtap_assets.generator.generate import generate
from rtap_assets.generator.options import GeneratorOptions
from rtap_assets.kafka.clients import client_config
from rtap_assets.kafka.topics import end_offsets
from rtap_assets.lake.catalog import load_table, open_catalog
from rtap_assets.lake.tables import ensure_tables
from rtap_assets.quality.catalog import CHECKS, DqResult
from rtap_assets.quality.full_pass import run_checks
from rtap_assets.registry.client import Registry
from rtap_assets.serving.connection import open_lake
from rtap_assets.streaming.checkpoints.files import stream_positions
from rtap_assets.streaming.lifecycle.engine import StreamEngine
from rtap_assets.streaming.model.operation import Operation
from rtap_assets.streaming.model.reports import DrainReport
from rtap_assets.streaming.operations.drain import drain_stream
from rtap_assets.streaming.queries.definitions import STREAMS, StreamDefinition

MESSAGE_SECONDS = 30
ORPHAN_SECONDS = 120


@pytest.fixture
def streams(spark: SparkSession, settings: Settings) -> Settings:
    """Return settings with topics, a catalog and tables of the test's own; 4,000 events take several batches."""
    small = {"bronze_max_offsets_per_batch": 2_000, "source_max_files_per_batch": 3}
    own = with_own_catalog(spark, settings.model_copy(update=small))
    ensure_tables(spark, own.catalog_name)
    return own


def send_events(settings: Settings, **options: Any) -> None:
    """Send generated events, recorded in the ledger."""
    generate(settings, GeneratorOptions(**options), echo=lambda _: None)


def send(settings: Settings, records: Iterable[Record], *, claimed_ms: int = 0) -> None:
    """Send the records, as they are, to the events topic; the producer claims the timestamp (0: now)."""
    producer = Producer(client_config(settings) | {"acks": "all", "message.max.bytes": settings.topic_max_message_bytes})
    for record in records:
        producer.produce(settings.topic_events, record.value, record.key, headers=record.headers, timestamp=claimed_ms)
    assert producer.flush(MESSAGE_SECONDS) == 0


def received(settings: Settings, topic: str) -> list[Message]:
    """Return every message of the topic, in the order of offsets within each Kafka partition."""
    ends = end_offsets(settings, topic)
    consumer = Consumer(client_config(settings) | {"group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    messages: list[Message] = []
    while len(messages) < sum(ends.values()):
        (message,) = consumer.consume(1, timeout=MESSAGE_SECONDS)
        assert message.error() is None
        messages.append(message)
    consumer.close()
    return messages


def drain(session: SparkSession, settings: Settings, *names: str) -> dict[str, DrainReport]:
    """Drain the named streams, all four by default."""
    return {name: drain_stream(session, settings, name) for name in names or STREAMS}


def ask(settings: Settings, question: str) -> list[tuple[Any, ...]]:
    """Return the answer over the newest snapshots of `bronze`, `silver` and `gold`."""
    with open_lake(settings) as connection:
        return connection.execute(question).fetchall()


def snapshots(settings: Settings) -> dict[str, list[int]]:
    """Return the snapshot ids of each table."""
    with open_catalog(settings) as catalog:
        tables = {spec.namespace: load_table(catalog, spec.identifier) for spec in TABLES}
    return {name: [snapshot.snapshot_id for snapshot in table.snapshots()] for name, table in tables.items()}


@contextmanager
def running(session: SparkSession, settings: Settings, *names: str) -> Iterator[list[str]]:
    """Run the named streams, all four by default, for the time of the block; yield the lines that they log.

    At the end each must have stopped between batches.
    """
    said: list[str] = []
    with open_engine(session, settings, say=said.append) as engine:
        for name in names or STREAMS:
            engine.submit(name, "start")
        yield said


@contextmanager
def open_engine(
    session: SparkSession,
    settings: Settings,
    *,
    definitions: Mapping[str, StreamDefinition] = STREAMS,
    say: Callable[[str], None] = lambda _: None,
    on_batch: Callable[[Mapping[str, Any]], object] = lambda _: None,
    clean: bool = True,
) -> Iterator[StreamEngine]:
    """Open an engine for the time of the block. At the end each stream must have stopped cleanly, unless not `clean`."""
    engine = StreamEngine(session, settings, streams=definitions, say=say, on_batch=on_batch)
    try:
        yield engine
    finally:
        stopped = engine.close(seconds=MESSAGE_SECONDS)
        # A hard stop ends when the query's own calls have timed out; the next test must not meet it.
        wait_until(lambda: not session.streams.active, seconds=ORPHAN_SECONDS, what="no query is left in the session")
    assert not clean or stopped == dict.fromkeys(STREAMS, True)


def ended(engine: StreamEngine, operation: Operation, *, seconds: float = 90) -> Operation:
    """Return the operation once it has ended, in whichever way."""

    def now() -> Operation:
        found = engine.operation(operation.id)
        assert found is not None
        return found

    wait_until(lambda: now().ended, seconds=seconds, what=lambda: f"the end of {now()}")
    return now()


def checked(settings: Settings) -> dict[str, DqResult]:
    """Run the full pass of checks; return the results by table and check."""
    positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
    results = run_checks(settings, positions=positions, now=datetime.now(UTC))
    return {f"{result.table_name}/{result.check_name}": result for result in results}


def check(settings: Settings, spec: TableSpec, name: str) -> DqResult:
    """Run one check of the full pass."""
    positions = stream_positions(settings.checkpoint_dir, topic=settings.topic_events)
    (result,) = run_checks(settings, positions=positions, now=datetime.now(UTC), checks=[CHECKS[spec.identifier, name]])
    return result


def assert_newest_messages_are_gold(settings: Settings) -> None:
    """Assert that the newest message of each key of the aggregate topic is gold's row."""
    newest = {message.key(): message for message in received(settings, settings.topic_revenue)}
    schemas = Registry(settings).versions(f"{settings.topic_revenue}-value")
    messages = [_window(message, schemas) for message in newest.values()]
    rows = ask(settings, f"SELECT {', '.join(GOLD.column_names)} FROM gold")
    assert sorted(messages) == sorted(tuple(_to_the_millisecond(value) for value in row) for row in rows)
    assert rows


def _window(message: Message, schemas: Mapping[int, str]) -> tuple[Any, ...]:
    schema_id, body = unframe(message.value() or b"")
    window: Any = schemaless_reader(io.BytesIO(body), parse_schema(json.loads(schemas[schema_id])), None)
    return tuple(window[name] for name in GOLD.column_names)


def _to_the_millisecond(value: Any) -> Any:
    return value - timedelta(microseconds=value.microsecond % 1000) if hasattr(value, "microsecond") else value
