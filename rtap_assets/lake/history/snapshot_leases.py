"""Pins: a reader says which snapshots it reads, so that expiry spares their files until it is done.

A pin is an empty file named after table and snapshot; its modification time is when it was last pinned. Setting it is atomic
and costs one system call, pinning the same snapshot again renews it, and expiry removes what is older than a pin may be.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from rtap_assets.config import Settings

SEPARATOR = "@"


def pin_snapshots(settings: Settings, snapshots: Mapping[str, int], *, now: datetime) -> None:
    """Pin a snapshot per table identifier for `settings.reader_pin_seconds`.

    A reader that may not write here (another user, a full disk) reads without a pin: its snapshots are safe for
    `snapshot_retention_seconds` all the same, and it plans again when a file is gone.
    """
    try:
        settings.pins_dir.mkdir(parents=True, exist_ok=True)
        for identifier, snapshot_id in snapshots.items():
            path = settings.pins_dir / f"{identifier}{SEPARATOR}{snapshot_id}"
            path.touch()
            os.utime(path, (now.timestamp(), now.timestamp()))
    except OSError as error:
        logging.getLogger(__name__).warning("the snapshots that are read are not pinned: %s", error)


def pinned_snapshots(settings: Settings, identifier: str, *, now: datetime) -> set[int]:
    """The snapshots of a table that readers have pinned recently; removes the pins that are over."""
    pinned = set()
    for path in _pins_of(settings.pins_dir, identifier):
        try:
            if path.stat().st_mtime < now.timestamp() - settings.reader_pin_seconds:
                path.unlink()
            else:
                pinned.add(int(path.name.rpartition(SEPARATOR)[2]))
        except FileNotFoundError:
            continue  # removed by another expiry
    return pinned


def _pins_of(folder: Path, identifier: str) -> list[Path]:
    return list(folder.glob(f"{identifier}{SEPARATOR}*")) if folder.is_dir() else []
