"""Whether the disks that a stream writes to have room."""

from __future__ import annotations

from pathlib import Path

from rtap_assets.config import load_settings
from rtap_assets.streaming.probes.disk_room import have_room, written_folders


def test_folders_with_room_have_it_and_one_that_cannot_be_looked_at_has_none(tmp_path: Path) -> None:
    assert have_room([])
    assert have_room([tmp_path])
    assert not have_room([tmp_path, tmp_path / "gone"])


def test_every_folder_that_may_be_a_disk_of_its_own_is_looked_at(tmp_path: Path) -> None:
    settings = load_settings(state_dir=tmp_path / ".rtap")
    assert {settings.state_dir, settings.checkpoint_dir, settings.lake_dir} < set(written_folders(settings))
