"""Notices a transaction that stays open: bronze waits for it, and people see for which one, since when, and whose it is.

Who the producer is only Kafka's Java client can ask, which Spark's connector brings into the session's JVM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from rtap_assets.config import Settings
from rtap_assets.kafka.clients import java_client_config
from rtap_assets.kafka.single_records import SingleRecord, records_at
from rtap_assets.kafka.topics import end_offsets, high_watermarks
from rtap_assets.streaming.model.states import FailureNote

OPEN_TRANSACTION = "open_transaction"
REMEDY = (
    "Nothing, if the producer is about to commit: its records come then, and after an abort, or the broker's timeout of the "
    "transaction, they are passed over. Else end the producer; as a last resort `kafka-transactions.sh abort`."
)


@dataclass(frozen=True)
class HeldPartition:
    """A transaction that began at `first_offset` holds back `records` offsets."""

    kafka_partition: int
    first_offset: int
    records: int


def held_partitions(settings: Settings, topic: str) -> list[HeldPartition]:
    """Return the Kafka partitions whose last stable offset is behind the high watermark: there committed readers wait.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
        ConfigurationError: the topic does not exist.
    """
    stable, ends = end_offsets(settings, topic), high_watermarks(settings, topic)
    return [
        HeldPartition(partition, offset, ends[partition] - offset)
        for partition, offset in stable.items()
        if ends.get(partition, 0) > offset
    ]


Describe = Callable[[str, int], str]
Held = Callable[[Settings, str], list[HeldPartition]]
RecordsAt = Callable[[Settings, str, Mapping[int, int]], dict[int, SingleRecord]]


class TransactionWatch:
    """Looks at one topic, again and again; remembers what it has found of a transaction while that stays open."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        describe: Describe,
        held: Held = held_partitions,
        first_records: RecordsAt = records_at,
    ) -> None:
        self._settings, self._topic, self._describe = settings, topic, describe
        self._held, self._first_records = held, first_records
        self._seen: dict[int, int] = {}  # Kafka partition -> the last stable offset at the last look, where it was held
        self._since: dict[tuple[int, int], datetime] = {}
        self._producers: dict[tuple[int, int], str] = {}

    def look(self, now: datetime) -> FailureNote | None:
        """Return what to say of the oldest transaction that is open for longer than the setting allows; None without one.

        Raises:
            DependencyUnavailable: the broker did not answer.
        """
        held = self._held(self._settings, self._topic)
        # A last stable offset that has moved since the last look belongs to transactions that come and go.
        still = [one for one in held if self._seen.get(one.kafka_partition) == one.first_offset]
        self._seen = {one.kafka_partition: one.first_offset for one in held}
        kept = {_key(one) for one in still}
        self._since = {key: since for key, since in self._since.items() if key in kept}
        self._producers = {key: who for key, who in self._producers.items() if key in kept}
        self._find_ages(still, now)
        patience = timedelta(seconds=self._settings.open_transaction_alert_seconds)
        old = [one for one in still if now - self._since[_key(one)] > patience]
        return self._note(old) if old else None

    def _find_ages(self, held: list[HeldPartition], now: datetime) -> None:
        """Note since when each transaction is open: the broker's timestamp of its first record."""
        unknown = {one.kafka_partition: one.first_offset for one in held if _key(one) not in self._since}
        found = self._first_records(self._settings, self._topic, unknown) if unknown else {}
        for partition, offset in unknown.items():
            self._since[partition, offset] = min(found[partition].appended_at, now) if partition in found else now

    def _note(self, old: list[HeldPartition]) -> FailureNote:
        first = min(old, key=lambda one: self._since[_key(one)])
        key = _key(first)
        if key not in self._producers:
            self._producers[key] = self._describe(self._topic, first.kafka_partition)
        since, others = self._since[key], len(old) - 1
        more = f" {others} more Kafka partitions wait in the same way." if others else ""
        message = (
            f"Kafka partition {first.kafka_partition} of {self._topic} has an open transaction since "
            f"{since:%Y-%m-%d %H:%M:%S}Z: offset {first.first_offset} and {first.records - 1} behind it wait for it. "
            f"{self._producers[key]}{more}"
        )
        return FailureNote(OPEN_TRANSACTION, message, since, REMEDY)


def producer_finder(session: SparkSession, settings: Settings) -> Describe:
    """Return a function that names the producers with an open transaction on a Kafka partition, in one sentence."""

    def describe(topic: str, partition: int) -> str:
        try:
            return _producers_of(session, settings, topic, partition)
        except Py4JError as error:
            return f"The broker does not say whose it is ({str(error).splitlines()[-1][:200]})."

    return describe


def _producers_of(session: SparkSession, settings: Settings, topic: str, partition: int) -> str:
    jvm: Any = session.sparkContext._jvm
    properties = jvm.java.util.Properties()
    for name, value in java_client_config(settings).items():
        properties.setProperty(name, value)
    admin = jvm.org.apache.kafka.clients.admin.AdminClient.create(properties)
    try:
        where = jvm.org.apache.kafka.common.TopicPartition(topic, partition)
        asked = jvm.java.util.Collections.singletonList(where)
        states = _answer(jvm, settings, admin.describeProducers(asked).partitionResult(where)).activeProducers()
        open_ones = [state for state in states if state.currentTransactionStartOffset().isPresent()]
        names = _transactional_ids(jvm, settings, admin)
        described = [_sentence(state, names.get(int(state.producerId()))) for state in open_ones]
        return " ".join(described) or "The broker names no producer that has one open."
    finally:
        admin.close(jvm.java.time.Duration.ofSeconds(1))


def _transactional_ids(jvm: Any, settings: Settings, admin: Any) -> dict[int, str]:
    """Return the transactional ids that the broker lists, by producer id; some clusters allow no one to list them."""
    try:
        listed = _answer(jvm, settings, admin.listTransactions().all())
    except Py4JError:
        return {}
    return {int(one.producerId()): str(one.transactionalId()) for one in listed}


def _sentence(state: Any, transactional_id: str | None) -> str:
    name = "" if transactional_id is None else f", transactional id {transactional_id}"
    return f"Producer {state.producerId()}, epoch {state.producerEpoch()}{name}."


def _answer(jvm: Any, settings: Settings, future: Any) -> Any:
    return future.get(int(settings.request_timeout_seconds), jvm.java.util.concurrent.TimeUnit.SECONDS)


def _key(held: HeldPartition) -> tuple[int, int]:
    return held.kafka_partition, held.first_offset
