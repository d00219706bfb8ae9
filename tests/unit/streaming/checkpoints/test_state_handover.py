"""The empty state in silver's checkpoint. That the release before continues from it is for tests/e2e/test_upgrade.py."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

from rtap_assets.streaming.checkpoints.state_handover import leave_empty_state, replace_state


def log(checkpoint: Path, batch_id: int, *, committed: bool = True) -> None:
    details = {"conf": {"spark.sql.shuffle.partitions": "2"}}
    for folder in ("offsets", "commits") if committed else ("offsets",):
        path = checkpoint / folder / str(batch_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"v1\n{json.dumps(details)}\n{{}}")


def states(checkpoint: Path) -> list[str]:
    return sorted(
        str(path.relative_to(checkpoint / "state")) for path in (checkpoint / "state").rglob("*") if path.is_file()
    )


def test_the_state_of_an_earlier_query_is_replaced_by_an_empty_one_of_the_version_that_is_read_next(tmp_path: Path) -> None:
    log(tmp_path, 4)
    log(tmp_path, 5, committed=False)
    for name in ("0/_metadata/metadata", "0/0/5.changelog", "0/1/5.changelog"):
        path = tmp_path / "state" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ids")
    replace_state(tmp_path)
    assert states(tmp_path) == ["0/0/5.zip", "0/1/5.zip"]
    with ZipFile(tmp_path / "state" / "0" / "0" / "5.zip") as state:
        version, description = state.read("metadata").decode().splitlines()
    assert (version, json.loads(description)) == ("v1", {"sstFiles": [], "numKeys": 0})


def test_the_states_before_and_after_the_newest_batch_are_kept(tmp_path: Path) -> None:
    for batch_id in range(4):
        log(tmp_path, batch_id)
        leave_empty_state(tmp_path, after_batch=batch_id)
    assert states(tmp_path) == ["0/0/3.zip", "0/0/4.zip", "0/1/3.zip", "0/1/4.zip"]


def test_a_checkpoint_without_a_batch_gets_no_state(tmp_path: Path) -> None:
    replace_state(tmp_path)
    log(tmp_path, 0, committed=False)
    replace_state(tmp_path)
    assert not (tmp_path / "state").exists()
