"""Whether the broker still has the topic that bronze has read, and what comes next of it: asked before anything is read.

A name is not a topic: it may have been made again, truncated, or cut short by retention. Each is refused by name, and
goes on only by `rtap topics continue`, which writes down what is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rtap_assets.config import Settings
from rtap_assets.errors import StreamError
from rtap_assets.kafka.clients import Admin
from rtap_assets.kafka.single_records import SingleRecord, records_at
from rtap_assets.kafka.topics import high_watermarks, topic_config, topic_identity
from rtap_assets.lake.history.newest_rows import RawRow, newest_rows
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.checkpoints.topic_binding import (
    PLAN_FILE,
    TopicBinding,
    read_binding,
    write_binding,
)
from rtap_assets.streaming.checkpoints.topic_facts import Lost, TopicFacts, bronze_positions, topic_facts

TIMESTAMP_TYPE, BROKERS_TIME = "message.timestamp.type", "LogAppendTime"
NEW_TOPIC = "`rtap topics status` shows both; `rtap topics continue --new-topic` goes on with it as a new epoch."
ACCEPT_LOSS = (
    "They cannot be read any more. `rtap topics status` shows them; `rtap topics continue --accept-loss` writes them down "
    "as lost and goes on with what the broker has."
)


def verify_topic(settings: Settings) -> None:
    """Make sure, before bronze starts, that the topic is the one it has read; bind it at the first start.

    Raises:
        StreamError: it is another one, or not all of it is there, or a continuation was begun and not finished.
        DependencyUnavailable, ConfigurationError: as `topic_facts`.
    """
    refuse_unfinished_continuation(settings)
    _verify_timestamps(settings)
    facts = topic_facts(settings)
    verify_facts(facts)
    verify_records(settings, facts)
    if facts.binding is None or (facts.binding.topic_id is None and facts.found.topic_id is not None):
        fresh = TopicBinding(facts.topic, facts.found.topic_id, 0, utc_now().isoformat())
        bound = fresh if facts.binding is None else replace(facts.binding, topic_id=facts.found.topic_id)
        write_binding(settings.checkpoint_dir, bound)


def verify_position(settings: Settings) -> None:
    """Make sure, while bronze runs, that the topic is the one it reads, and not shorter than what it has read.

    Records that retention takes now may be in the batch in flight; where they are not, the query itself fails, and the next
    start says which.

    Raises: as `verify_topic`.
    """
    binding = read_binding(settings.checkpoint_dir)
    positions = bronze_positions(settings, binding)
    found = topic_identity(settings, settings.topic_events)
    ends = high_watermarks(settings, settings.topic_events)
    facts = TopicFacts(settings.topic_events, binding, found, positions, {}, ends)
    _verify_same_topic(facts)
    _verify_length(facts)


class TopicGuard:
    """Checks before each micro-batch that the topic still is the one that the query was started on: one request."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._admin = settings, Admin(settings)
        self._binding = read_binding(settings.checkpoint_dir)

    def verify(self) -> None:
        """Raise StreamError where the topic was made again. Raises otherwise as `topic_facts`."""
        settings = self._settings
        found = topic_identity(settings, settings.topic_events, admin=self._admin)
        positions = bronze_positions(settings, self._binding)
        _verify_same_topic(TopicFacts(settings.topic_events, self._binding, found, positions, {}, {}))


def refuse_unfinished_continuation(settings: Settings) -> None:
    """Raise StreamError while `rtap topics continue` was begun and not finished."""
    if (settings.checkpoint_dir / PLAN_FILE).exists():
        raise StreamError(
            f"A continuation of bronze on {settings.topic_events} was begun and not finished.",
            remedy="Run `rtap topics continue --yes`: it takes up the same plan where it stopped.",
        )


def verify_facts(facts: TopicFacts) -> None:
    """Raise StreamError where the facts say that bronze must not read on."""
    _verify_same_topic(facts)
    _verify_length(facts)
    if facts.lost:
        raise StreamError(
            f"Records of {facts.topic} are gone before bronze has read them: {_listed(facts.lost)}. Retention or a deletion "
            "took them.",
            remedy=ACCEPT_LOSS,
        )


def _verify_same_topic(facts: TopicFacts) -> None:
    binding = facts.binding
    if binding is not None and binding.topic != facts.topic:
        raise StreamError(
            f"The checkpoint of bronze belongs to the topic {binding.topic}, not to {facts.topic}.",
            remedy="Put RTAP_TOPIC_EVENTS back, or use another state folder (RTAP_STATE_DIR) for the other topic.",
        )
    if facts.is_other_topic and binding is not None:
        raise StreamError(
            f"The topic {facts.topic} was created again under its name (id {binding.topic_id} -> {facts.found.topic_id}, "
            f"noticed at {utc_now():%Y-%m-%d %H:%M:%S}Z). Bronze has read the old one ({_places(facts.positions)}), "
            "and nothing of the new one.",
            remedy=NEW_TOPIC,
        )


def _verify_length(facts: TopicFacts) -> None:
    if facts.truncated:
        ends = "; ".join(
            f"Kafka partition {partition} ends at offset {end}, bronze has read up to {facts.positions[partition]}"
            for partition, end in sorted(facts.truncated.items())
        )
        raise StreamError(
            f"The topic {facts.topic} ends before what bronze has read of it: {ends}. It was truncated or replaced.",
            remedy=NEW_TOPIC,
        )


def verify_records(settings: Settings, facts: TopicFacts) -> None:
    """Make sure that the newest record which bronze holds of each Kafka partition is what the broker has there.

    Raises:
        StreamError: it is another record: the log was replaced under the same name and id.
    """
    changed = replaced_partitions(settings, facts)
    if changed:
        row, record = changed[0]
        raise StreamError(
            f"The topic {facts.topic} was replaced: at offset {row.kafka_offset} of Kafka partition {row.kafka_partition} "
            f"it has a record of {record.appended_at:%Y-%m-%d %H:%M:%S}Z, and bronze read another one of "
            f"{row.kafka_timestamp:%Y-%m-%d %H:%M:%S}Z there ({len(changed)} Kafka partitions differ).",
            remedy=NEW_TOPIC,
        )


def replaced_partitions(settings: Settings, facts: TopicFacts) -> Sequence[tuple[RawRow, SingleRecord]]:
    """Return bronze's newest rows whose offset holds another record now, with that record."""
    if not facts.positions:
        return []
    epoch = 0 if facts.binding is None else facts.binding.topic_epoch
    rows = {
        partition: row
        for partition, row in newest_rows(settings, facts.topic, facts.positions, topic_epoch=epoch).items()
        if facts.beginnings.get(partition, 0) <= row.kafka_offset < facts.ends.get(partition, 0)
    }
    asked = {partition: row.kafka_offset for partition, row in rows.items()}
    found = records_at(settings, facts.topic, asked) if asked else {}
    return [
        (rows[partition], record) for partition, record in sorted(found.items()) if not _is_same(rows[partition], record)
    ]


def _is_same(row: RawRow, record: SingleRecord) -> bool:
    return (row.kafka_timestamp, row.raw_key, row.raw_value) == (record.appended_at, record.key, record.value)


def _verify_timestamps(settings: Settings) -> None:
    found = topic_config(settings, settings.topic_events).get(TIMESTAMP_TYPE)
    if found != BROKERS_TIME:
        raise StreamError(
            f"The topic {settings.topic_events} has {TIMESTAMP_TYPE}={found}: its timestamps are the producers' claims, and "
            "event times are judged against the broker's.",
            remedy=f"Alter it: `kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter "
            f"--entity-type topics --entity-name {settings.topic_events} "
            f"--add-config {TIMESTAMP_TYPE}={BROKERS_TIME}`, then start again.",
        )


def _places(positions: Mapping[int, int]) -> str:
    places = ", ".join(f"{partition} to offset {offset}" for partition, offset in sorted(positions.items()))
    return f"Kafka partition {places}" if places else "nothing of it"


def _listed(lost: Sequence[Lost]) -> str:
    total = sum(one.records for one in lost)
    return f"{'; '.join(str(one) for one in lost)}; {total:,} offsets in all"
