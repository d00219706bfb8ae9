"""The platform's topics: what they must look like, creating them, and their offsets.

A topic that exists is never altered: a difference is reported, since it may have been changed on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic, OffsetSpec, ResourceType, TopicDescription

from rtap_assets.config import Settings
from rtap_assets.contracts.topics import DLQ_HEADER_BYTES, TOPICS
from rtap_assets.errors import ConfigurationError, DependencyUnavailable
from rtap_assets.kafka.clients import Admin

POLL_SECONDS = 0.05

# What librdkafka reports of a broker that knows no topic ids.
ZERO_ID = "AAAAAAAAAAAAAAAAAAAAAA"

CREATED = "created"
EXISTS = "exists"


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it should be; settings that `config` does not name are the broker's business."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return the topics of the platform as they should be."""
    return [TopicSpec(one.name_in(settings), settings.topic_partitions, one.config_in(settings)) for one in TOPICS]


def redrive_topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return the two topics that a redrive creates: its ledger, and where letters are parked. Neither forgets."""
    partitions, largest = settings.topic_partitions, settings.topic_max_message_bytes
    return [
        TopicSpec(settings.topic_redrives, 1, {"cleanup.policy": "compact"}),
        TopicSpec(
            settings.topic_parked,
            partitions,
            {"max.message.bytes": str(largest + DLQ_HEADER_BYTES), "retention.ms": "-1"},
        ),
    ]


def ensure_topics(settings: Settings, specs: Sequence[TopicSpec] | None = None) -> dict[str, str]:
    """Create the missing topics, by default those of the platform.

    Returns topic -> "created", "exists", or "differs: …" for one that was left as it is.
    Returns only when each created topic has a leader for each Kafka partition, so that the next client finds it.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
    """
    admin = Admin(settings)
    specs = topic_specs(settings) if specs is None else specs
    present = _describe(admin, [spec.name for spec in specs])
    missing = [spec for spec in specs if spec.name not in present]
    created = [spec.name for spec in missing if _create(admin, spec, replication=settings.topic_replication)]
    present |= _wait_for_leaders(admin, [spec.name for spec in missing])
    found = _configs(admin, [spec.name for spec in specs])
    outcome = {}
    for spec in specs:
        differences = _differences(spec, len(present[spec.name].partitions), found[spec.name])
        state = CREATED if spec.name in created else EXISTS
        outcome[spec.name] = f"differs: {'; '.join(differences)}" if differences else state
    return outcome


def has_topic(settings: Settings, topic: str) -> bool:
    """Return whether the broker has the topic.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
    """
    return topic in _describe(Admin(settings), [topic])


def end_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Return, by Kafka partition, the last stable offset: where a consumer that reads committed records comes to the end.

    It is the offset that the next record will get, unless a transaction is open: then it is that transaction's first.

    Raises:
        DependencyUnavailable: the broker did not answer within its deadline.
        ConfigurationError: there is no such topic.
    """
    return _offsets(settings, topic, OffsetSpec.latest())


def high_watermarks(settings: Settings, topic: str) -> dict[int, int]:
    """Return, by Kafka partition, the offset that the next record will get. Raises like `end_offsets`."""
    return _offsets(settings, topic, OffsetSpec.latest(), isolation=IsolationLevel.READ_UNCOMMITTED)


def beginning_offsets(settings: Settings, topic: str) -> dict[int, int]:
    """Kafka partition -> the oldest offset that is still kept. Raises like `end_offsets`."""
    return _offsets(settings, topic, OffsetSpec.earliest())


@dataclass(frozen=True)
class TopicIdentity:
    """Which topic a name stands for. `topic_id` is None where the broker gives topics no id (before Kafka 2.8)."""

    name: str
    topic_id: str | None
    partitions: tuple[int, ...]


def topic_identity(settings: Settings, topic: str, *, admin: Admin | None = None) -> TopicIdentity:
    """Return the id that the broker gave the topic when it was created. Raises like `end_offsets`."""
    described = _described(admin or Admin(settings), settings, topic)
    topic_id = None if described.topic_id is None else str(described.topic_id)
    known = None if topic_id in {None, ZERO_ID} else topic_id
    return TopicIdentity(topic, known, tuple(sorted(partition.id for partition in described.partitions)))


def topic_config(settings: Settings, topic: str) -> dict[str, str]:
    """Return the topic's configuration as the broker applies it. Raises like `end_offsets`."""
    return _configs(Admin(settings), [topic])[topic]


def cleanup_policy(settings: Settings, topic: str) -> frozenset[str]:
    """Return what the broker does with old records: `delete`, `compact` or both. Raises like `end_offsets`."""
    return frozenset(part.strip() for part in topic_config(settings, topic)["cleanup.policy"].split(","))


def _offsets(
    settings: Settings, topic: str, spec: OffsetSpec, *, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
) -> dict[int, int]:
    admin = Admin(settings)
    described = _described(admin, settings, topic)
    asked = {TopicPartition(topic, partition.id): spec for partition in described.partitions}
    results = admin.results(admin.client.list_offsets, asked, what=f"tell the offsets of {topic}", isolation_level=isolation)
    return {
        partition.partition: result.offset
        for partition, result in sorted(results.items(), key=lambda item: item[0].partition)
    }


def _described(admin: Admin, settings: Settings, topic: str) -> TopicDescription:
    described = _describe(admin, [topic])
    if topic not in described:
        raise ConfigurationError(
            f"There is no topic {topic} on the broker at {settings.bootstrap_servers}.",
            remedy="Run `rtap up`, which creates the topics, or correct RTAP_TOPIC_….",
        )
    return described[topic]


def _describe(admin: Admin, names: list[str]) -> dict[str, TopicDescription]:
    """The topics among `names` that exist. (A metadata request by name could create them on a lenient broker.)"""
    found = {}
    with admin.translated("describe the topics"):
        futures = admin.client.describe_topics(TopicCollection(names), request_timeout=admin.timeout_seconds)
        for name, future in futures.items():
            try:
                found[name] = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
    return found


def _create(admin: Admin, spec: TopicSpec, *, replication: int) -> bool:
    """Create one topic; false when somebody else was faster."""
    topic = NewTopic(spec.name, num_partitions=spec.partitions, replication_factor=replication, config=spec.config)
    with admin.translated(f"create the topic {spec.name}"):
        future = admin.client.create_topics([topic], request_timeout=admin.timeout_seconds)[spec.name]
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False
    return True


def _wait_for_leaders(admin: Admin, names: list[str]) -> dict[str, TopicDescription]:
    if not names:
        return {}
    deadline = time.monotonic() + admin.timeout_seconds
    while True:
        described = _describe(admin, names)
        partitions = [partition for topic in described.values() for partition in topic.partitions]
        if len(described) == len(names) and all(partition.leader and partition.leader.id >= 0 for partition in partitions):
            return described
        if time.monotonic() > deadline:
            raise DependencyUnavailable(
                f"The new topics {', '.join(names)} have no leader after {admin.timeout_seconds:g} s.",
                remedy="Look at the broker's log.",
                dependency="kafka",
            )
        time.sleep(POLL_SECONDS)


def _configs(admin: Admin, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    results = admin.results(admin.client.describe_configs, resources, what="tell the topics' configuration")
    return {resource.name: {name: entry.value for name, entry in entries.items()} for resource, entries in results.items()}


def _differences(spec: TopicSpec, partitions: int, config: dict[str, str]) -> list[str]:
    counts = [f"{partitions} Kafka partitions, not {spec.partitions}"] if partitions != spec.partitions else []
    return counts + [
        f"{name} is {config.get(name)}, not {wanted}" for name, wanted in spec.config.items() if config.get(name) != wanted
    ]
