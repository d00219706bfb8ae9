"""Whether the broker still has the topic that a stream has read, and what comes next of it: asked before anything is read.

A name is not a topic: it may have been made again, truncated, or cut short by retention. Each is refused by name, and
goes on only by `rtap topics continue`, which writes down what is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import BRONZE_SPEC, StreamSpec
from rtap_assets.contracts.topics import Topic
from rtap_assets.errors import StreamError
from rtap_assets.kafka.clients import Admin
from rtap_assets.kafka.single_records import SingleRecord, records_at
from rtap_assets.kafka.topics import high_watermarks, topic_config, topic_identity
from rtap_assets.lake.history.newest_rows import RawRow, holds_raw_records, newest_rows
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.checkpoints.topic_binding import TopicBinding, plan_file, read_binding, write_binding
from rtap_assets.streaming.checkpoints.topic_facts import Lost, TopicFacts, topic_facts, topic_positions

TIMESTAMP_TYPE, BROKERS_TIME = "message.timestamp.type", "LogAppendTime"


def verify_topic(settings: Settings, stream: StreamSpec) -> None:
    """Make sure, before the stream starts, that the topic is the one it has read; bind it at the first start.

    Raises:
        StreamError: it is another one, or not all of it is there, or a continuation was begun and not finished.
        DependencyUnavailable, ConfigurationError: as `topic_facts`.
    """
    refuse_unfinished_continuation(settings, stream)
    _verify_timestamps(settings, stream)
    facts = topic_facts(settings, stream)
    verify_facts(facts)
    verify_records(settings, stream, facts)
    if facts.binding is None or (facts.binding.topic_id is None and facts.found.topic_id is not None):
        fresh = TopicBinding(facts.topic, facts.found.topic_id, 0, utc_now().isoformat())
        bound = fresh if facts.binding is None else replace(facts.binding, topic_id=facts.found.topic_id)
        write_binding(stream.checkpoint(settings), bound)


def verify_position(settings: Settings, stream: StreamSpec) -> None:
    """Make sure, while the stream runs, that the topic is the one it reads, and not shorter than what it has read.

    Records that retention takes now may be in the batch in flight; where they are not, the query itself fails, and the next
    start says which.

    Raises: as `verify_topic`.
    """
    binding, topic = read_binding(stream.checkpoint(settings)), stream.topic_in(settings)
    positions = topic_positions(settings, stream, binding)
    found = topic_identity(settings, topic)
    ends = high_watermarks(settings, topic)
    facts = TopicFacts(stream.name, topic, binding, found, positions, {}, ends)
    _verify_same_topic(facts)
    _verify_length(facts)


class TopicGuard:
    """Checks before each micro-batch that the topic still is the one that the query was started on: one request."""

    def __init__(self, settings: Settings, stream: StreamSpec) -> None:
        self._settings, self._stream, self._admin = settings, stream, Admin(settings)
        self._binding = read_binding(stream.checkpoint(settings))

    def verify(self) -> None:
        """Raise StreamError where the topic was made again. Raises otherwise as `topic_facts`."""
        topic = self._stream.topic_in(self._settings)
        found = topic_identity(self._settings, topic, admin=self._admin)
        positions = topic_positions(self._settings, self._stream, self._binding)
        _verify_same_topic(TopicFacts(self._stream.name, topic, self._binding, found, positions, {}, {}))


def refuse_unfinished_continuation(settings: Settings, stream: StreamSpec) -> None:
    """Raise StreamError while `rtap topics continue` was begun and not finished."""
    if plan_file(stream.checkpoint(settings)).exists():
        raise StreamError(
            f"A continuation of {stream.name} on {stream.topic_in(settings)} was begun and not finished.",
            remedy=f"Run `{topics_command(stream.name, 'continue')} --yes`: it takes up the same plan where it stopped.",
        )


def verify_facts(facts: TopicFacts) -> None:
    """Raise StreamError where the facts say that the stream must not read on."""
    _verify_same_topic(facts)
    _verify_length(facts)
    if facts.lost:
        raise StreamError(
            f"Records of {facts.topic} are gone before {facts.stream} has read them: {_listed(facts.lost)}. Retention or a "
            "deletion took them.",
            remedy=f"They cannot be read any more. `{topics_command(facts.stream, 'status')}` shows them; "
            f"`{topics_command(facts.stream, 'continue')} --accept-loss` writes them down as lost and goes on with what the "
            "broker has.",
        )


def _verify_same_topic(facts: TopicFacts) -> None:
    binding = facts.binding
    if binding is not None and binding.topic != facts.topic:
        raise StreamError(
            f"The checkpoint of {facts.stream} belongs to the topic {binding.topic}, not to {facts.topic}.",
            remedy="Put the topic's name back (bronze: RTAP_TOPIC_EVENTS), or use another state folder (RTAP_STATE_DIR) "
            "for the other topic.",
        )
    if facts.is_other_topic and binding is not None:
        raise StreamError(
            f"The topic {facts.topic} was created again under its name (id {binding.topic_id} -> {facts.found.topic_id}, "
            f"noticed at {utc_now():%Y-%m-%d %H:%M:%S}Z). "
            f"{facts.stream.capitalize()} has read the old one ({_places(facts.positions)}), and nothing of the new one.",
            remedy=_new_topic(facts),
        )


def _verify_length(facts: TopicFacts) -> None:
    if facts.truncated:
        ends = "; ".join(
            f"Kafka partition {partition} ends at offset {end}, {facts.stream} has read up to {facts.positions[partition]}"
            for partition, end in sorted(facts.truncated.items())
        )
        raise StreamError(
            f"The topic {facts.topic} ends before what {facts.stream} has read of it: {ends}. It was truncated or replaced.",
            remedy=_new_topic(facts),
        )


def verify_records(settings: Settings, stream: StreamSpec, facts: TopicFacts) -> None:
    """Make sure that the newest record which the stream's table holds of each Kafka partition is what the broker has there.

    Raises:
        StreamError: it is another record: the log was replaced under the same name and id.
    """
    changed = replaced_partitions(settings, stream, facts)
    if changed:
        row, record = changed[0]
        raise StreamError(
            f"The topic {facts.topic} was replaced: at offset {row.kafka_offset} of Kafka partition {row.kafka_partition} "
            f"it has a record of {record.appended_at:%Y-%m-%d %H:%M:%S}Z, and {facts.stream} read another one of "
            f"{row.kafka_timestamp:%Y-%m-%d %H:%M:%S}Z there ({len(changed)} Kafka partitions differ).",
            remedy=_new_topic(facts),
        )


def replaced_partitions(settings: Settings, stream: StreamSpec, facts: TopicFacts) -> Sequence[tuple[RawRow, SingleRecord]]:
    """Return the newest rows whose offset holds another record now, with that record. A table without raw ones has none."""
    if not facts.positions or stream.writes is None or not holds_raw_records(stream.writes):
        return []
    epoch = 0 if facts.binding is None else facts.binding.topic_epoch
    rows = {
        partition: row
        for partition, row in newest_rows(settings, stream.writes, facts.topic, facts.positions, topic_epoch=epoch).items()
        if facts.beginnings.get(partition, 0) <= row.kafka_offset < facts.ends.get(partition, 0)
    }
    asked = {partition: row.kafka_offset for partition, row in rows.items()}
    found = records_at(settings, facts.topic, asked) if asked else {}
    return [
        (rows[partition], record) for partition, record in sorted(found.items()) if not _is_same(rows[partition], record)
    ]


def _is_same(row: RawRow, record: SingleRecord) -> bool:
    return (row.kafka_timestamp, row.raw_key, row.raw_value) == (record.appended_at, record.key, record.value)


def _verify_timestamps(settings: Settings, stream: StreamSpec) -> None:
    assert isinstance(stream.reads, Topic)
    if stream.reads.config.get(TIMESTAMP_TYPE) != BROKERS_TIME:
        return
    topic = stream.topic_in(settings)
    found = topic_config(settings, topic).get(TIMESTAMP_TYPE)
    if found != BROKERS_TIME:
        raise StreamError(
            f"The topic {topic} has {TIMESTAMP_TYPE}={found}: its timestamps are the producers' claims, and "
            "event times are judged against the broker's.",
            remedy=f"Alter it: `kafka-configs.sh --bootstrap-server {settings.bootstrap_servers} --alter "
            f"--entity-type topics --entity-name {topic} "
            f"--add-config {TIMESTAMP_TYPE}={BROKERS_TIME}`, then start again.",
        )


def topics_command(stream: str, command: str) -> str:
    """Return how `rtap topics` is called for a stream; it is bronze's by default."""
    return f"rtap topics {command}" + ("" if stream == BRONZE_SPEC.name else f" --stream {stream}")


def _new_topic(facts: TopicFacts) -> str:
    return (
        f"`{topics_command(facts.stream, 'status')}` shows both; `{topics_command(facts.stream, 'continue')} --new-topic` "
        "goes on with it as a new epoch."
    )


def _places(positions: Mapping[int, int]) -> str:
    places = ", ".join(f"{partition} to offset {offset}" for partition, offset in sorted(positions.items()))
    return f"Kafka partition {places}" if places else "nothing of it"


def _listed(lost: Sequence[Lost]) -> str:
    total = sum(one.records for one in lost)
    return f"{'; '.join(str(one) for one in lost)}; {total:,} offsets in all"
