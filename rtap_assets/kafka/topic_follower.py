"""Follows the committed records of a topic from a point in time on, as long as wanted: for live views, not for streams.

No group is joined and nothing is committed. The follower belongs to one topic id: a topic that was created again under its
name is another topic, and is reported as such.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.kafka.bounded_read import is_end
from rtap_assets.kafka.clients import Admin, consumer_config, translate
from rtap_assets.kafka.topics import end_offsets, topic_identity
from rtap_assets.runtime.clock import to_milliseconds

GROUP = "rtap-topic-follower"
BATCH = 5_000
GATHER_SECONDS = 0.02  # what arrives this soon after a first record is returned with it
PROBE_SECONDS = 5.0  # how often the broker is asked whether it is there and has the same topic
OPTIONS: dict[str, Any] = {
    "auto.offset.reset": "error",  # an offset that is gone is an answer, not a reason to begin elsewhere
    "enable.partition.eof": False,
    "fetch.wait.max.ms": 2_000,  # a record ends the wait at once; without one this is the number of requests
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 10_000,
}


@dataclass(frozen=True)
class FollowedRecord:
    """One committed record: where it is, when the topic got it (milliseconds since the epoch), and its value."""

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes | None


class TopicReplaced(DependencyUnavailable):
    """The topic under this name is no longer the one that was followed."""


class TopicFollower:
    """One consumer on all Kafka partitions of a topic, from the records of `since` on. One thread uses it."""

    def __init__(self, settings: Settings, topic: str, *, since: datetime) -> None:
        """Look the topic up and stand at its first records of `since`.

        Raises:
            DependencyUnavailable: the broker did not answer.
            ConfigurationError: the topic does not exist.
        """
        self._settings, self._topic = settings, topic
        self._admin = Admin(settings)
        identity = topic_identity(settings, topic, admin=self._admin)
        self.topic_id = identity.topic_id or "none"
        self.ends = end_offsets(settings, topic)
        self._consumer = Consumer(consumer_config(settings, GROUP) | OPTIONS)
        self._probed_at = time.monotonic()
        wanted = [TopicPartition(topic, partition, to_milliseconds(since)) for partition in identity.partitions]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=settings.request_timeout_seconds)
            self.position = {one.partition: self._start(one) for one in found}
            self._consumer.assign([TopicPartition(topic, *start) for start in self.position.items()])
        except KafkaException as error:
            self._consumer.close()
            raise translate(error, settings=settings, what=f"read {topic}") from error

    def read(self, *, seconds: float) -> list[FollowedRecord]:
        """Return the next records, at most `BATCH`; [] when none came within `seconds`. Moves `position` past them.

        Raises:
            DependencyUnavailable: the broker does not answer; a later call may go on where this one stood.
            TopicReplaced: another topic has the name now, or the records to go on with were removed.
        """
        self._probe()
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(BATCH - 1, timeout=GATHER_SECONDS)]
        records = []
        for message in messages:
            error = message.error()
            if error is not None and not is_end(message):
                if error.code() in {error._AUTO_OFFSET_RESET, error.OFFSET_OUT_OF_RANGE}:
                    raise TopicReplaced(f"Records of {self._topic} that were to be read next are gone.", dependency="kafka")
                raise translate(KafkaException(error), settings=self._settings, what=f"read {self._topic}")
            if error is None:
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                records.append(FollowedRecord(partition, offset, message.timestamp()[1], message.value()))
                self.position[partition] = offset + 1
        return records

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _start(self, found: TopicPartition) -> int:
        return int(found.offset) if found.offset >= 0 else self.ends[found.partition]

    def _probe(self) -> None:
        now = time.monotonic()
        if now - self._probed_at < PROBE_SECONDS:
            return
        identity = topic_identity(self._settings, self._topic, admin=self._admin)
        if (identity.topic_id or "none") != self.topic_id or set(identity.partitions) != set(self.position):
            raise TopicReplaced(
                f"The topic {self._topic} was created again or has other Kafka partitions.", dependency="kafka"
            )
        self._probed_at = now
