"""Whether Dagster's daemon lives, for a process that is not Dagster's: its heartbeats in Dagster's SQLite storage.

An instance with another storage (PostgreSQL) is not watched: `daemon_fact` knows nothing of it then and says so by None.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rtap_assets.alerts.model import DaemonFact
from rtap_assets.config import Settings

DAEMON_RECORD = "dagster-daemon.json"  # in the run folder while the daemon is meant to run
READ_SECONDS = 2.0


@dataclass
class DaemonWatch:
    """Follows the heartbeat of one state folder.

    A daemon is meant to run while its record is in the run folder (`rtap down` removes it), or, where something else starts
    it (a container, `dagster dev`), once it was seen alive. One that is not meant to run is not dead.
    """

    settings: Settings
    was_seen: bool = False

    def look(self, now: datetime) -> DaemonFact | None:
        """Return the newest sign of life; None where no daemon is meant to run, or its storage cannot be read."""
        heartbeat = newest_heartbeat(self.settings)
        started_at = self._recorded_at()
        if heartbeat is not None and now - heartbeat <= timedelta(seconds=self.settings.alert_daemon_seconds):
            self.was_seen = True
        if heartbeat is None or (started_at is None and not self.was_seen):
            return None
        return DaemonFact(heartbeat if started_at is None else max(heartbeat, started_at))

    def _recorded_at(self) -> datetime | None:
        try:
            written = (self.settings.run_dir / DAEMON_RECORD).stat().st_mtime
        except FileNotFoundError:
            return None
        return datetime.fromtimestamp(written, UTC)


def newest_heartbeat(settings: Settings) -> datetime | None:
    """Return the newest heartbeat of any of the daemon's threads; None where there is none or no such storage."""
    path = settings.dagster_home / "history" / "runs.db"
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=READ_SECONDS)) as database:
            row = database.execute("SELECT max(timestamp) FROM daemon_heartbeats").fetchone()
    except sqlite3.OperationalError:
        return None  # being created, or of a version of Dagster that keeps no heartbeats there
    return None if row is None or row[0] is None else datetime.fromisoformat(row[0]).replace(tzinfo=UTC)
