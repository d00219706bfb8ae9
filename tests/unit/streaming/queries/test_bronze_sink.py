"""A small batch of bronze is written as one file."""

from __future__ import annotations

import json
from pathlib import Path

from rtap_assets.streaming.queries.bronze_sink import SMALL_BATCH_RECORDS, is_small


def plan(checkpoint: Path, batch_id: int, ends: dict[str, int]) -> None:
    (checkpoint / "offsets").mkdir(exist_ok=True)
    entry = ["v1", json.dumps({"batchWatermarkMs": 0, "batchTimestampMs": 0}), json.dumps({"events": ends})]
    (checkpoint / "offsets" / str(batch_id)).write_text("\n".join(entry))


def test_a_batch_is_small_by_the_records_of_all_its_kafka_partitions(tmp_path: Path) -> None:
    plan(tmp_path, 0, {"0": 10, "1": 1_000_000})
    plan(tmp_path, 1, {"0": 10 + SMALL_BATCH_RECORDS - 1, "1": 1_000_001})
    plan(tmp_path, 2, {"0": 10 + 2 * SMALL_BATCH_RECORDS, "1": 1_000_001})
    assert [is_small(tmp_path, batch) for batch in range(3)] == [False, True, False]
