"""Transactional producers for tests: plain clients that commit, abort, or leave a transaction open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from confluent_kafka import Producer
from event_bytes import Record, event_id
from poison import Writer

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import client_config
from rtap_assets.registry.client import Registry

CALL_SECONDS = 30


def writer_of(settings: Settings) -> Writer:
    v1_id, v2_id = Registry(settings).versions(settings.events_subject)
    return Writer(v1_id, v2_id, at=datetime.now(UTC))


def purchases(writer: Writer, first: int, count: int, amount: str) -> list[Record]:
    """Return valid events with the numbers from `first` on."""
    return [Record(writer.v1(event_id=event_id(first + nth), amount=Decimal(amount))) for nth in range(count)]


@contextmanager
def transactional_producer(settings: Settings, *, timeout_ms: int = 60_000) -> Iterator[tuple[Producer, str]]:
    """Yield a plain transactional client and its transactional id; what it leaves open is the broker's to end."""
    name = f"test-{uuid4().hex[:8]}"
    limits = {"transaction.timeout.ms": timeout_ms, "socket.timeout.ms": min(timeout_ms, 10_000)}
    producer = Producer(client_config(settings) | {"transactional.id": name} | limits)
    producer.init_transactions(CALL_SECONDS)
    yield producer, name
    producer.purge()


def open_with(producer: Producer, settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    """Begin a transaction and send the records in it."""
    producer.begin_transaction()
    for record in records:
        producer.produce(settings.topic_events, record.value, record.key, partition)
    assert producer.flush(CALL_SECONDS) == 0


def send_committed(settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    with transactional_producer(settings) as (producer, _):
        open_with(producer, settings, records, partition=partition)
        producer.commit_transaction(CALL_SECONDS)


def send_aborted(settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    with transactional_producer(settings) as (producer, _):
        open_with(producer, settings, records, partition=partition)
        producer.abort_transaction(CALL_SECONDS)


def send_plainly(settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    """Send records without a transaction, all to one Kafka partition."""
    producer = Producer(client_config(settings))
    for record in records:
        producer.produce(settings.topic_events, record.value, record.key, partition)
    assert producer.flush(CALL_SECONDS) == 0
