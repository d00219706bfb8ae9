"""The steps of a continuation: interrupted between any two of them, the same plan is finished. Without a broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import BRONZE_SPEC
from rtap_assets.errors import StreamError
from rtap_assets.lake.offset_gaps import read_gaps
from rtap_assets.streaming.checkpoints.topic_binding import TopicBinding, plan_file, read_binding, write_binding
from rtap_assets.streaming.checkpoints.topic_continuation import (
    ARCHIVE_FOLDER,
    Continuation,
    continue_with,
    plan_continuation,
    steps_of,
)

TOPIC = "sales.events.v1"
PLANNED_AT = "2026-03-02T12:00:00+00:00"
PLAN = Continuation(
    topic=TOPIC,
    old_topic_id="id-a",
    new_topic_id="id-b",
    old_epoch=0,
    new_epoch=1,
    query_id="query-1",
    batch_id=7,
    positions={0: 50, 1: 7},
    starting_offsets={0: 3, 1: 0},
    lost={0: (0, 2)},
    archive="bronze-20260302T120000Z",
    planned_at=PLANNED_AT,
)
STEPS = 5


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a state folder in which bronze has read the topic `id-a` in the query `query-1`."""
    own = load_settings(state_dir=tmp_path / ".rtap")
    own.lake_dir.mkdir(parents=True)
    checkpoint = own.checkpoint_dir / "bronze"
    checkpoint.mkdir(parents=True)
    (checkpoint / "metadata").write_text(json.dumps({"id": "query-1"}))
    write_binding(checkpoint, TopicBinding(TOPIC, "id-a", 0, "2026-03-01T12:00:00+00:00"))
    return own


def assert_continued(settings: Settings) -> None:
    assert not plan_file(settings.checkpoint_dir / "bronze").exists()
    assert not (settings.checkpoint_dir / "bronze").exists()
    assert (settings.checkpoint_dir / ARCHIVE_FOLDER / PLAN.archive / "metadata").exists()
    binding = read_binding(settings.checkpoint_dir / "bronze")
    assert binding is not None
    assert (binding.topic_id, binding.topic_epoch, binding.starting_offsets) == ("id-b", 1, {0: 3, 1: 0})
    assert [(one.query_id, one.batch_id, one.topic_id, one.positions) for one in binding.closed] == [
        ("query-1", 7, "id-a", {0: 50, 1: 7})
    ]
    assert [
        (gap.kafka_partition, gap.first_offset, gap.last_offset, gap.kind, gap.topic_epoch) for gap in read_gaps(settings)
    ] == [(0, 0, 2, "lost", 1)]


def test_the_steps_are_said_in_their_order(settings: Settings) -> None:
    said: list[str] = []
    continue_with(settings, PLAN, echo=said.append)
    assert said == [
        "the plan is written down",
        "3 offsets are recorded as lost",
        "the checkpoint is put aside",
        "the topic is bound",
        "done",
    ]
    assert_continued(settings)


@pytest.mark.parametrize("done", range(1, STEPS))
def test_a_continuation_that_was_interrupted_is_finished_by_the_plan_on_disk(settings: Settings, done: int) -> None:
    steps = steps_of(settings, PLAN)
    assert len(steps) == STEPS
    for _, step in steps[:done]:
        step()
    begun = plan_continuation(settings, BRONZE_SPEC, accept_loss=False, new_topic=False)
    assert begun == PLAN
    continue_with(settings, begun)
    assert_continued(settings)


def test_the_checkpoint_of_another_query_is_not_put_aside(settings: Settings) -> None:
    (settings.checkpoint_dir / "bronze" / "metadata").write_text(json.dumps({"id": "query-2"}))
    with pytest.raises(StreamError, match="belongs to another query than the plan was made for"):
        continue_with(settings, PLAN)
    assert (settings.checkpoint_dir / "bronze").exists()


def test_what_will_be_done_is_said_with_what_is_lost_and_what_cannot_be_counted() -> None:
    sentences = PLAN.sentences()
    assert PLAN.lost_records == 3
    assert "up to 0: 50, 1: 7 (Kafka partition: next offset), in epoch 0" in sentences[0]
    assert "Kafka partition 0, offsets 0 to 2 (3)" in sentences[1]
    assert "(id id-a -> id-b)" in sentences[2]
    assert PLAN.archive in sentences[3]
    assert "at 0: 3, 1: 0 (Kafka partition: offset)" in sentences[4]
