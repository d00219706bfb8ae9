"""A transactional producer: what one block sends becomes visible atomically.

A transactional id has one live producer: a second one that starts under the same id fences the first, whose next call
fails. So a killed command can safely be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Producer

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, RtapError, StreamError
from rtap_assets.kafka.clients import client_config, translate

Headers = Sequence[tuple[str, bytes | None]]
# The broker aborts a transaction that is open longer than this; until then it blocks every committed reader.
TRANSACTION_TIMEOUT_SECONDS = 60.0
FENCED_CODES = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})


class TransactionalProducer:
    """Produces records in transactions, under one transactional id. Not thread-safe.

    Use it as a context manager: entering fences an earlier producer of this id and waits until its transaction has ended.
    """

    def __init__(
        self,
        settings: Settings,
        transactional_id: str,
        *,
        timeout_seconds: float = TRANSACTION_TIMEOUT_SECONDS,
        max_message_bytes: int | None = None,
    ) -> None:
        self.transactional_id = transactional_id
        self._settings = settings
        self._refused: list[KafkaError] = []
        config = client_config(settings) | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(max(timeout_seconds, settings.request_timeout_seconds) * 1000),
            "compression.type": "lz4",
            "partitioner": "murmur2_random",  # as Java's clients do, so that a key stays in its Kafka partition
        }
        if max_message_bytes is not None:
            config["message.max.bytes"] = max_message_bytes
        self._producer = Producer(config)

    def __enter__(self) -> Self:
        with self._translated("begin"):
            self._producer.init_transactions(self._settings.request_timeout_seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._producer.purge()

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Commit what the block sends, atomically; abort it when the block raises.

        Raises:
            DependencyUnavailable: the broker did not answer in time; the transaction may or may not be committed, and the
                next producer of this id resolves it.
            StreamError: another producer has fenced this one, or the broker refused a record.
        """
        with self._translated("begin"):
            self._producer.begin_transaction()
        self._refused.clear()
        try:
            yield self
            with self._translated("commit"):
                self._commit()
        except BaseException:
            with suppress(KafkaException):  # the first error is reported; the broker's timeout also ends the transaction
                self._producer.abort_transaction(self._settings.request_timeout_seconds)
            raise

    def produce(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, headers: Headers = (), partition: int = -1
    ) -> None:
        """Send one record in the open transaction."""
        with self._translated("take a record of"):
            while True:
                try:
                    self._producer.produce(topic, value, key, partition, headers=list(headers), on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._refused.append(error)

    def _commit(self) -> None:
        """Deliver everything and commit. Of two errors the more specific is raised: a refused record, unless fenced."""
        try:
            self._producer.commit_transaction(self._settings.request_timeout_seconds)  # flushes, too
        except KafkaException as error:
            if self._refused and error.args[0].code() not in FENCED_CODES:
                raise KafkaException(self._refused[0]) from error
            raise

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._error(error, what) from error

    def _error(self, error: KafkaException, what: str) -> RtapError:
        code = error.args[0].code()
        if code in FENCED_CODES:
            return StreamError(
                f"Another producer has taken over the transactional id {self.transactional_id}.",
                remedy="Only one of these commands runs at a time: wait for the other one to end.",
                code=code,
            )
        found = translate(error, settings=self._settings, what=f"{what} the transaction of {self.transactional_id}")
        if isinstance(found, DependencyUnavailable):
            return found
        return StreamError(found.message, remedy="The transaction was aborted: nothing of it is visible.", code=code)
