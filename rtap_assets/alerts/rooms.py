"""The room on the disks that streams write to, as facts."""

from __future__ import annotations

import shutil

from rtap_assets.alerts.model import DiskFact
from rtap_assets.config import Settings
from rtap_assets.streaming.probes.disk_room import written_folders


def disk_facts(settings: Settings) -> list[DiskFact]:
    """Return the room of each disk, once; folders on the same disk are one. A folder that is not there yet is left out."""
    found: dict[int, DiskFact] = {}
    for folder in written_folders(settings):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            found.setdefault(folder.stat().st_dev, DiskFact(str(folder), usage.free, usage.total))
    return list(found.values())
