"""Where in the state folder things are; a part of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING


class StatePaths:
    """Folders and files below `state_dir`."""

    if TYPE_CHECKING:  # a field of the settings
        state_dir: Path

    @property
    def lake_dir(self) -> Path:
        return self.state_dir / "lake"

    @property
    def checkpoint_dir(self) -> Path:
        return self.state_dir / "checkpoints"

    @property
    def streams_dir(self) -> Path:
        """What the stream host keeps: token, lock, desired states, breakers, progress."""
        return self.state_dir / "streams"

    @property
    def pins_dir(self) -> Path:
        """Snapshots that readers use just now, one small file each."""
        return self.streams_dir / "pins"

    @property
    def table_locks_dir(self) -> Path:
        return self.streams_dir / "locks"

    @property
    def marts_path(self) -> Path:
        return self.state_dir / "marts" / "marts.duckdb"

    @property
    def export_dir(self) -> Path:
        return self.state_dir / "export" / "revenue_5m"

    @property
    def ledger_dir(self) -> Path:
        return self.state_dir / "ledger"

    @property
    def run_dir(self) -> Path:
        """Pid files and addresses of the embedded processes."""
        return self.state_dir / "run"

    @property
    def alerts_dir(self) -> Path:
        """Alerts and the messages that are to be delivered."""
        return self.state_dir / "alerts"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def dagster_home(self) -> Path:
        return self.state_dir / "dagster"
