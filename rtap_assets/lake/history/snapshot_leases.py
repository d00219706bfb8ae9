"""Leases: a reader registers the snapshots it reads, so that expiry keeps their files until it is done.

A lease is an empty file named after table and snapshot; its modification time is when it was last renewed. Creating it is
atomic and costs one system call; leasing the same snapshot again renews it; expiry removes leases that have run out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from rtap_assets.config import Settings

SEPARATOR = "@"


def lease_snapshots(settings: Settings, snapshots: Mapping[str, int], *, now: datetime) -> None:
    """Lease a snapshot per table identifier for `settings.reader_pin_seconds`.

    A reader that cannot write here (another user, a full disk) reads without a lease: its snapshots are still safe for
    `snapshot_retention_seconds`, and it plans again when a file is gone.
    """
    try:
        settings.pins_dir.mkdir(parents=True, exist_ok=True)
        for identifier, snapshot_id in snapshots.items():
            path = settings.pins_dir / f"{identifier}{SEPARATOR}{snapshot_id}"
            path.touch()
            os.utime(path, (now.timestamp(), now.timestamp()))
    except OSError as error:
        logging.getLogger(__name__).warning("the snapshots that are read are not leased: %s", error)


def leased_snapshots(settings: Settings, identifier: str, *, now: datetime) -> set[int]:
    """Return the snapshots of a table with a current lease; removes expired leases."""
    leased = set()
    for path in _leases_of(settings.pins_dir, identifier):
        try:
            if path.stat().st_mtime < now.timestamp() - settings.reader_pin_seconds:
                path.unlink()
            else:
                leased.add(int(path.name.rpartition(SEPARATOR)[2]))
        except FileNotFoundError:
            continue  # removed by another expiry
    return leased


def _leases_of(folder: Path, identifier: str) -> list[Path]:
    return list(folder.glob(f"{identifier}{SEPARATOR}*")) if folder.is_dir() else []
