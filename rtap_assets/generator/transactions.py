"""Sends chunks in their own transaction: committed, aborted, or left open until the broker aborts it."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaException, Producer

from rtap_assets.config import Settings
from rtap_assets.generator.chunks import Chunk
from rtap_assets.generator.delivery import Delivery, Sender, producer_config
from rtap_assets.generator.options import ABORTED, COMMITTED
from rtap_assets.kafka.clients import translate

# A transaction left open blocks every committed reader for about this long.
TRANSACTION_SECONDS = 10.0


def send_in_transaction(settings: Settings, chunk: Chunk, *, name: str, hurried: Callable[[], bool]) -> Delivery:
    """Send the chunk in a transaction and end it as `chunk.transaction` specifies; return its delivery.

    Args:
        name: the transactional id; reusing one fences its previous producer.

    Raises:
        DependencyUnavailable: the broker did not answer. The commit may or may not have happened, so the outcome of each
            record stays unknown in the ledger.
    """
    timeout_ms = int(TRANSACTION_SECONDS * 1000)
    producer = Producer(
        producer_config(settings, patience_seconds=TRANSACTION_SECONDS)
        | {"transactional.id": name, "transaction.timeout.ms": timeout_ms}
    )
    sender = Sender(producer, settings.topic_events)
    try:
        producer.init_transactions(settings.request_timeout_seconds)
        producer.begin_transaction()
        delivery = sender.send(chunk, hurried=hurried)
        sender.await_result(delivery, deadline=time.monotonic() + TRANSACTION_SECONDS, hurried=hurried)
        if chunk.transaction == COMMITTED:
            producer.commit_transaction(settings.request_timeout_seconds)
        elif chunk.transaction == ABORTED:
            producer.abort_transaction(settings.request_timeout_seconds)
    except KafkaException as error:
        raise translate(error, settings=settings, what=f"end the transaction {name}") from error
    if chunk.transaction != COMMITTED:
        delivery.roll_back()
    return delivery
