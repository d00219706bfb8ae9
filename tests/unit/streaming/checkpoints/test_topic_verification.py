"""What is said of a topic that is not, or not all of, what bronze has read. Without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtap_assets.errors import StreamError
from rtap_assets.kafka.topics import TopicIdentity
from rtap_assets.streaming.checkpoints.files import stream_positions
from rtap_assets.streaming.checkpoints.topic_binding import (
    ClosedQuery,
    TopicBinding,
    binding_file,
    read_binding,
    write_binding,
)
from rtap_assets.streaming.checkpoints.topic_facts import Lost, TopicFacts
from rtap_assets.streaming.checkpoints.topic_verification import verify_facts

TOPIC = "sales.events.v1"
BOUND = TopicBinding(TOPIC, "id-a", 0, "2026-03-01T12:00:00+00:00")


def facts(**changes: Any) -> TopicFacts:
    """A topic of two Kafka partitions, of which bronze has read a part."""
    plain: dict[str, Any] = {
        "stream": "bronze",
        "topic": TOPIC,
        "binding": BOUND,
        "found": TopicIdentity(TOPIC, "id-a", (0, 1)),
        "positions": {0: 50, 1: 7},
        "beginnings": {0: 0, 1: 7},
        "ends": {0: 80, 1: 7},
    }
    return TopicFacts(**plain | changes)


def test_the_topic_that_bronze_has_read_passes() -> None:
    verify_facts(facts())
    verify_facts(facts(binding=None, positions={}))
    verify_facts(facts(ends={0: 80, 1: 7, 2: 40}, beginnings={0: 0, 1: 7, 2: 10}))  # an added Kafka partition


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"found": TopicIdentity(TOPIC, "id-b", (0, 1))}, r"created again under its name \(id id-a -> id-b, noticed at 20"),
        ({"topic": "other"}, f"belongs to the topic {TOPIC}, not to other"),
        ({"ends": {0: 49, 1: 7}}, "Kafka partition 0 ends at offset 49, bronze has read up to 50"),
        ({"ends": {0: 80}}, "Kafka partition 1 ends at offset 0, bronze has read up to 7"),
        (
            {"beginnings": {0: 53, 1: 8}, "ends": {0: 80, 1: 9}},
            r"Kafka partition 0, offsets 50 to 52 \(3\); Kafka partition 1, offsets 7 to 7 \(1\); 4 offsets in all",
        ),
    ],
    ids=["created again", "another name", "truncated", "a partition less", "aged out"],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StreamError, match=message) as caught:
        verify_facts(facts(**changes))
    assert caught.value.remedy


def test_a_broker_without_topic_ids_is_judged_by_offsets_alone() -> None:
    without = TopicIdentity(TOPIC, None, (0, 1))
    verify_facts(facts(found=without))
    with pytest.raises(StreamError, match="ends before"):
        verify_facts(facts(found=without, ends={0: 1, 1: 7}))


def test_lost_offsets_are_counted_with_both_ends() -> None:
    assert facts(beginnings={0: 60, 1: 7}).lost == [Lost(0, 50, 59)]
    assert [one.records for one in facts(beginnings={0: 51, 1: 7}).lost] == [1]


def test_the_binding_is_kept_with_what_was_closed_and_says_where_a_fresh_checkpoint_begins(tmp_path: Path) -> None:
    assert read_binding(tmp_path / "bronze") is None
    closed = ClosedQuery("query-1", 7, "id-a", 0, {0: 50}, "2026-03-01T12:00:00+00:00")
    binding = TopicBinding(TOPIC, "id-b", 1, "2026-03-02T12:00:00+00:00", {0: 3, 1: 0}, (closed,))
    write_binding(tmp_path / "bronze", binding)
    assert read_binding(tmp_path / "bronze") == binding
    positions = stream_positions(tmp_path, topic=TOPIC)
    assert (positions.bronze, positions.topic_epoch, positions.topic_id) == ({0: 3, 1: 0}, 1, "id-b")
    binding_file(tmp_path / "bronze").write_text("{", encoding="utf-8")
    with pytest.raises(StreamError, match="cannot be read"):
        read_binding(tmp_path / "bronze")
