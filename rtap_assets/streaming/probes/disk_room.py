"""Whether the disks that a stream writes to have room again after one was full."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rtap_assets.config import Settings

ROOM_BYTES = 256 * 1024 * 1024
ROOM_SHARE = 0.1  # of a disk too small for that


def written_folders(settings: Settings) -> list[Path]:
    """Return the folders that may be on disks of their own: state, checkpoints, lake, temporary files."""
    return [settings.state_dir, settings.checkpoint_dir, settings.lake_dir, Path(tempfile.gettempdir())]


def have_room(folders: Iterable[Path]) -> bool:
    """Return whether there is room for some batches in each folder; one that cannot be inspected at has none."""
    return all(_has_room(folder) for folder in folders)


def _has_room(folder: Path) -> bool:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return False
    return usage.free >= min(ROOM_BYTES, ROOM_SHARE * usage.total)
