"""Checkpoint folders as Spark writes them, and what is read of them: batches, positions, ids, and damage by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtap_assets.errors import StreamError
from rtap_assets.lake.history.stream_offsets import BEFORE_THE_FIRST_SNAPSHOT
from rtap_assets.streaming.checkpoints import files

TOPIC = "sales.events.v1"
OFFSETS = {TOPIC: {"0": 10, "1": 7}}
MARCH_MS = 1_772_366_400_000


def plan(checkpoint: Path, batch_id: int, source: object = OFFSETS, *, version: str = "v1") -> None:
    metadata = {"batchWatermarkMs": 1_000 * batch_id, "batchTimestampMs": MARCH_MS, "conf": {}}
    path = checkpoint / "offsets" / str(batch_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([version, json.dumps(metadata), json.dumps(source)]))


def commit(checkpoint: Path, batch_id: int) -> None:
    path = checkpoint / "commits" / str(batch_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('v1\n{"nextBatchWatermarkMs":0}')


def test_a_folder_that_is_not_there_has_no_batch(tmp_path: Path) -> None:
    assert files.newest_planned(tmp_path) is files.newest_committed(tmp_path) is None
    assert not files.has_unfinished_batch(tmp_path)
    assert files.planned_batches(tmp_path) == []
    assert files.committed_position(tmp_path) is None
    assert files.query_id(tmp_path) is None
    assert files.kafka_beginnings(tmp_path, TOPIC) == {}
    assert not files.begins_with_everything(tmp_path)


def test_batches_are_ordered_by_number_and_other_files_are_none(tmp_path: Path) -> None:
    for batch_id in (9, 10, 11):
        plan(tmp_path, batch_id)
    commit(tmp_path, 9)
    commit(tmp_path, 10)
    for name in ("offsets/.12.crc", "offsets/12.tmp", "commits/9.compact"):
        (tmp_path / name).write_text("")
    assert files.planned_batches(tmp_path) == [9, 10, 11]
    assert (files.newest_planned(tmp_path), files.newest_committed(tmp_path)) == (11, 10)
    assert files.has_unfinished_batch(tmp_path)
    commit(tmp_path, 11)
    assert not files.has_unfinished_batch(tmp_path)


def test_a_batch_has_its_end_in_the_source_its_watermark_and_its_time(tmp_path: Path) -> None:
    plan(tmp_path, 3)
    assert files.read_batch(tmp_path, 3) == files.LoggedBatch(3, OFFSETS, 3_000, MARCH_MS)


def test_a_batch_begins_where_the_one_before_ended_and_the_first_where_the_checkpoint_began(tmp_path: Path) -> None:
    plan(tmp_path, 0, {"snapshot_id": 7})
    plan(tmp_path, 1, {"snapshot_id": 8})
    assert files.source_range(tmp_path, 1) == ({"snapshot_id": 7}, {"snapshot_id": 8})
    with pytest.raises(StreamError, match="beginning of the checkpoint"):
        files.source_range(tmp_path, 0)
    beginning = files.initial_offset_file(tmp_path)
    beginning.parent.mkdir(parents=True)
    beginning.write_text('{"snapshot_id": 5}')
    assert files.source_range(tmp_path, 0) == ({"snapshot_id": 5}, {"snapshot_id": 7})


@pytest.mark.parametrize("text", ["", "v1\n{}", "v1\n{}\n{", 'v1\n{"batchWatermarkMs": 1}\n{}', "v1\n{}\n{}\n{}"])
def test_a_batch_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    plan(tmp_path, 3)
    (tmp_path / "offsets" / "3").write_text(text)
    with pytest.raises(StreamError, match="offsets/3 cannot be read") as caught:
        files.read_batch(tmp_path, 3)
    assert "rebuild the layer" in caught.value.remedy


def test_a_batch_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    plan(tmp_path, 3, version="v2")
    with pytest.raises(StreamError, match="version v2"):
        files.read_batch(tmp_path, 3)


def test_the_position_is_that_of_the_newest_committed_batch(tmp_path: Path) -> None:
    plan(tmp_path, 0, {"snapshot_id": BEFORE_THE_FIRST_SNAPSHOT, "position": 0})
    commit(tmp_path, 0)
    assert files.committed_position(tmp_path) is None  # the table had no snapshot yet
    plan(tmp_path, 1, {"snapshot_id": 5, "position": 2})
    assert files.committed_position(tmp_path) is None
    commit(tmp_path, 1)
    assert files.committed_position(tmp_path) == {"snapshot_id": 5, "position": 2}


def test_batches_without_a_query_id_are_refused(tmp_path: Path) -> None:
    plan(tmp_path, 0)
    with pytest.raises(StreamError, match="has batches and no `metadata` file"):
        files.query_id(tmp_path)
    (tmp_path / "metadata").write_text('{"id": "a-query"}')
    assert files.query_id(tmp_path) == "a-query"


def test_kafkas_beginnings_are_read_behind_the_marks_of_their_format(tmp_path: Path) -> None:
    path = tmp_path / "sources" / "0" / "0"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x00v1\n" + json.dumps(OFFSETS).encode())
    assert files.kafka_beginnings(tmp_path, TOPIC) == {0: 10, 1: 7}
    assert files.kafka_beginnings(tmp_path, "other") == {}


@pytest.mark.parametrize("everything", [True, False])
def test_a_rebuilt_layer_begins_with_all_files_of_a_snapshot(tmp_path: Path, everything: bool) -> None:
    path = files.initial_offset_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"version": 1, "snapshot_id": 5, "position": 0, "scan_all_files": everything}))
    assert files.begins_with_everything(tmp_path) is everything


def test_the_positions_of_all_streams_are_taken_together(tmp_path: Path) -> None:
    for batch_id in range(files.GOLD_BATCHES + 3):
        plan(tmp_path / "gold", batch_id, {"snapshot_id": batch_id})
    plan(tmp_path / "bronze", 0)
    commit(tmp_path / "bronze", 0)
    found = files.stream_positions(tmp_path, topic=TOPIC)
    assert (found.bronze, found.topic_epoch, found.topic_id, found.silver) == ({0: 10, 1: 7}, 0, None, None)
    assert list(found.gold_batches) == list(range(3, files.GOLD_BATCHES + 3))
    assert found.gold_batches[3] == {"snapshot_id": 3}
    assert files.stream_positions(tmp_path, topic="other").bronze == {}
