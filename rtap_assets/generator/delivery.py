"""Sending chunks to Kafka and learning what became of each record.

A record is acknowledged only with its Kafka partition and offset. When it is not certain that the broker lacks it, its
outcome is unknown; only an error that proves it was never appended makes it failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer

from rtap_assets.config import Settings
from rtap_assets.generator.chunks import Chunk
from rtap_assets.generator.events import objects
from rtap_assets.generator.ledger import ACKNOWLEDGED, FAILED, ROLLED_BACK, UNKNOWN, Outcomes
from rtap_assets.kafka.clients import client_config

SLICE_RECORDS = 2_000
POLL_SECONDS = 0.05
# The shortest wait of a steady run: records that come due within it are sent together.
ROUND_SECONDS = 0.02
QUEUE_RECORDS = 200_000
# These are raised before a record leaves the producer, or by a broker that refused to append it.
NEVER_APPENDED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._PURGE_QUEUE,
        KafkaError._QUEUE_FULL,
    }
)


def producer_config(settings: Settings, *, patience_seconds: float) -> dict[str, Any]:
    """An idempotent producer that gives up on a record after `patience_seconds`."""
    return client_config(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 20,
        "batch.num.messages": 20_000,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": QUEUE_RECORDS,
        "queue.buffering.max.kbytes": 512 * 1024,
        "message.max.bytes": settings.topic_max_message_bytes,
        # The same Kafka partition for a key as the Java clients choose.
        "partitioner": "murmur2_random",
        "message.timeout.ms": int(patience_seconds * 1000),
    }


class Delivery:
    """One chunk on its way: slots for its outcomes, filled by the delivery callbacks."""

    def __init__(self, chunk: Chunk) -> None:
        size = len(chunk)
        self.chunk = chunk
        self.open = size
        self._outcome = objects([UNKNOWN] * size)
        self._partition = np.full(size, -1, dtype=np.int32)
        self._offset = np.full(size, -1, dtype=np.int64)

    def report(self, row: int, error: KafkaError | None, message: Any) -> None:
        """The delivery callback of one record."""
        self.open -= 1
        if error is not None:
            self._outcome[row] = FAILED if error.code() in NEVER_APPENDED else UNKNOWN
            return
        offset = message.offset()
        # A retry that the broker recognised as one is confirmed without an offset: it is there, but we cannot say where.
        if offset is not None and offset >= 0:
            self._outcome[row], self._partition[row], self._offset[row] = ACKNOWLEDGED, message.partition(), offset

    def fail(self, row: int) -> None:
        """The record was never handed over."""
        self.open -= 1
        self._outcome[row] = FAILED

    def roll_back(self) -> None:
        """Note that the transaction of the chunk does not end in a commit: what the broker has of it counts for nothing."""
        self._outcome[:] = ROLLED_BACK

    def outcomes(self) -> Outcomes:
        """What is known now; records still open count as unknown."""
        return Outcomes(self._outcome, self._partition, self._offset)


class Sender:
    """Hands chunks to the producer, at a steady pace or at once."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    def send(
        self, chunk: Chunk, *, due_seconds: Callable[[int], float] | None = None, hurried: Callable[[], bool]
    ) -> Delivery:
        """Queue the whole chunk. `due_seconds(row)` says how long to wait for a row's turn; `hurried` ends the waiting."""
        delivery = Delivery(chunk)
        for rows in self._slices(len(chunk), due_seconds, hurried):
            self._queue(delivery, rows)
            self._producer.poll(0)
        return delivery

    def await_result(self, delivery: Delivery, *, deadline: float, hurried: Callable[[], bool]) -> None:
        """Wait until each record has an outcome, until `deadline` (on the monotonic clock), or until `hurried`."""
        while delivery.open and time.monotonic() < deadline and not hurried():
            self._producer.poll(POLL_SECONDS)

    def give_up(self) -> None:
        """Drop what is still queued; what may already be with the broker stays unknown."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=True)
        self._producer.poll(0)

    def _slices(self, size: int, due_seconds: Callable[[int], float] | None, hurried: Callable[[], bool]) -> Iterator[range]:
        if due_seconds is None:
            yield from (range(start, min(start + SLICE_RECORDS, size)) for start in range(0, size, SLICE_RECORDS))
            return
        start = 0
        while start < size:
            stop = start
            while stop < size and (hurried() or due_seconds(stop) <= 0):
                stop += 1
            if stop > start:
                yield range(start, stop)
                start = stop
            else:
                # In rounds: librdkafka takes less than a millisecond as zero, and a loop of such waits burns a core.
                self._producer.poll(min(max(ROUND_SECONDS, due_seconds(start)), POLL_SECONDS))

    def _queue(self, delivery: Delivery, rows: range) -> None:
        columns, timestamps = delivery.chunk.columns, delivery.chunk.timestamps_ms
        keys, values = columns["key"][rows.start : rows.stop].tolist(), columns["value"][rows.start : rows.stop].tolist()
        batch = [
            {"key": key, "value": value, "callback": partial(delivery.report, row)}
            for row, key, value in zip(rows, keys, values, strict=True)
            if row not in timestamps
        ]
        self._queue_batch(delivery, batch)
        for row in sorted(timestamps.keys() & set(rows)):  # the batch call takes no timestamps
            self._queue_single(delivery, row, timestamp_ms=timestamps[row])

    def _queue_batch(self, delivery: Delivery, batch: list[dict[str, Any]]) -> None:
        while batch:
            queued = self._producer.produce_batch(self._topic, batch)
            if queued == len(batch):
                return
            refused = [message for message in batch if "_error" in message]
            batch = [message for message in refused if message.pop("_error").code() == KafkaError._QUEUE_FULL]
            again = {id(message) for message in batch}
            for message in refused:
                if id(message) not in again:
                    delivery.fail(message["callback"].args[0])
            self._producer.poll(POLL_SECONDS)

    def _queue_single(self, delivery: Delivery, row: int, *, timestamp_ms: int) -> None:
        columns = delivery.chunk.columns
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=columns["key"][row],
                    value=columns["value"][row],
                    timestamp=timestamp_ms,
                    on_delivery=partial(delivery.report, row),
                )
                return
            except BufferError:
                self._producer.poll(POLL_SECONDS)
            except KafkaException:
                delivery.fail(row)
                return
