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
from polling import wait_until

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import client_config
from rtap_assets.kafka.topics import end_offsets, high_watermarks
from rtap_assets.registry.client import Registry

CALL_SECONDS = 30
OPEN_MS = 300_000


def writer_of(settings: Settings) -> Writer:
    v1_id, v2_id = Registry(settings).versions(settings.events_subject)
    return Writer(v1_id, v2_id, at=datetime.now(UTC))


def purchases(writer: Writer, first: int, count: int, amount: str) -> list[Record]:
    """Return valid events with the numbers from `first` on."""
    return [Record(writer.v1(event_id=event_id(first + nth), amount=Decimal(amount))) for nth in range(count)]


@contextmanager
def transactional_producer(settings: Settings, *, name: str = "") -> Iterator[tuple[Producer, str]]:
    """Yield a plain transactional client and its transactional id; what it leaves open is the broker's to end.

    The broker aborts what an earlier client of that id has left open, or after five minutes: no test is as slow.
    """
    name = name or f"test-{uuid4().hex[:8]}"
    limits = {"transaction.timeout.ms": OPEN_MS, "socket.timeout.ms": 10_000}
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


def wait_until_ended(settings: Settings) -> None:
    """Return once committed readers reach the end: the broker writes it shortly after it has answered the producer."""
    topic = settings.topic_events
    wait_until(
        lambda: end_offsets(settings, topic) == high_watermarks(settings, topic),
        seconds=CALL_SECONDS,
        what="committed readers reach the end",
    )


def send_committed(settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    with transactional_producer(settings) as (producer, _):
        open_with(producer, settings, records, partition=partition)
        producer.commit_transaction(CALL_SECONDS)
    wait_until_ended(settings)


def send_aborted(settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    with transactional_producer(settings) as (producer, _):
        open_with(producer, settings, records, partition=partition)
        producer.abort_transaction(CALL_SECONDS)
    wait_until_ended(settings)


def send_plainly(settings: Settings, records: Sequence[Record], *, partition: int = 0) -> None:
    """Send records without a transaction, all to one Kafka partition."""
    producer = Producer(client_config(settings))
    for record in records:
        producer.produce(settings.topic_events, record.value, record.key, partition)
    assert producer.flush(CALL_SECONDS) == 0
