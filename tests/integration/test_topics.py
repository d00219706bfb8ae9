"""Topics on the real broker."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Producer
from confluent_kafka.admin import ConfigResource, ResourceType
from stream_fixtures import received

from rtap_assets.config import Settings
from rtap_assets.errors import ConfigurationError
from rtap_assets.kafka.backlog import Backlog, backlog
from rtap_assets.kafka.clients import Admin, client_config
from rtap_assets.kafka.topics import beginning_offsets, end_offsets, ensure_topics
from rtap_assets.local.stack import up
from rtap_assets.local.status import status

FLUSH_SECONDS = 30


def topic_config(settings: Settings, topic: str) -> dict[str, str]:
    admin = Admin(settings)
    (entries,) = admin.results(
        admin.client.describe_configs, [ConfigResource(ResourceType.TOPIC, topic)], what="describe"
    ).values()
    return {name: entry.value for name, entry in entries.items()}


def test_topics_are_created_once_with_the_right_configuration(settings: Settings) -> None:
    assert set(ensure_topics(settings).values()) == {"exists"}  # the fixture created them
    events, dlq = topic_config(settings, settings.topic_events), topic_config(settings, settings.topic_dlq)
    assert events["message.timestamp.type"] == "LogAppendTime"
    assert int(events["max.message.bytes"]) == settings.topic_max_message_bytes
    assert int(dlq["max.message.bytes"]) - int(events["max.message.bytes"]) == 65_536
    assert (int(events["retention.ms"]), int(dlq["retention.ms"])) == (7 * 86_400_000, 30 * 86_400_000)
    assert topic_config(settings, settings.topic_revenue)["cleanup.policy"] == "compact"
    assert topic_config(settings, settings.topic_dq)["cleanup.policy"] == "delete"
    assert end_offsets(settings, settings.topic_events) == {0: 0, 1: 0, 2: 0}


def test_a_topic_that_differs_is_reported_and_left_as_it_is(settings: Settings) -> None:
    # The dead-letter topic is asked to be what the plain one is.
    other = settings.model_copy(
        update={"topic_dlq": settings.topic_dq, "topic_partitions": 5, "topic_dq": settings.topic_dlq}
    )
    before = topic_config(settings, settings.topic_dq)
    outcome = ensure_topics(other)
    assert outcome[settings.topic_dq] == ("differs: 3 Kafka partitions, not 5; retention.ms is 604800000, not 2592000000")
    assert outcome[settings.topic_events] == "differs: 3 Kafka partitions, not 5"
    assert topic_config(settings, settings.topic_dq) == before


def test_the_broker_sets_the_timestamp_of_an_event_whatever_the_producer_claims(settings: Settings) -> None:
    year_2099_ms = 4_070_908_800_000
    producer = Producer({**client_config(settings), "acks": "all"})
    producer.produce(settings.topic_events, key=b"acc-1", value=b"x", partition=1, timestamp=year_2099_ms)
    assert producer.flush(FLUSH_SECONDS) == 0
    assert end_offsets(settings, settings.topic_events) == {0: 0, 1: 1, 2: 0}
    assert beginning_offsets(settings, settings.topic_events) == {0: 0, 1: 0, 2: 0}
    (message,) = received(settings, settings.topic_events)
    kind, timestamp_ms = message.timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert abs(timestamp_ms / 1000 - time.time()) < 300


def test_what_waits_in_a_topic_is_not_known_where_a_position_is_beyond_its_end(settings: Settings) -> None:
    assert backlog(settings, settings.topic_events, dict.fromkeys(range(3), 0)) == Backlog(0, None)
    assert backlog(settings, settings.topic_events, {0: 5}) is None, "truncated, or made again with fewer records"
    assert backlog(settings, settings.topic_events, {7: 0}) is None, "made again with fewer Kafka partitions"


def test_a_topic_that_does_not_exist_is_an_error_that_names_it_and_is_not_created(settings: Settings) -> None:
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"There is no topic {settings.topic_events}-not"):
            end_offsets(settings, f"{settings.topic_events}-not")


def test_up_with_an_external_broker_and_registry_starts_nothing_and_ensures_topics_and_schemas(settings: Settings) -> None:
    fresh = settings.model_copy(update={"topic_dq": f"{settings.topic_dq}.new"})
    said: list[str] = []
    up(fresh, echo=said.append)
    assert status(fresh) == []
    assert said[0] == f"asking the broker at {fresh.bootstrap_servers} and the registry"
    assert said[1] == f"topic {fresh.topic_dq} created"
    assert [line.split()[1] for line in said[2:]] == [
        fresh.events_subject,
        f"{fresh.topic_revenue}-value",
        f"{fresh.topic_dq}-value",
    ]
