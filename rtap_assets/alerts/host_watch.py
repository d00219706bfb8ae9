"""The stream host's part in alerts: it notices that Dagster's daemon is dead, and then judges the streams in its place.

While the daemon lives, its sensor `alerts` looks at everything. Store and channels are the same.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Event, Thread

from rtap_assets.alerts.delivery import channels_of, deliver
from rtap_assets.alerts.heartbeat import DaemonWatch
from rtap_assets.alerts.model import DiskFact, Facts, TickFact
from rtap_assets.alerts.rooms import disk_facts
from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings
from rtap_assets.runtime.clock import utc_now
from rtap_assets.streaming.model.states import StreamStatus

WATCH_SECONDS = 15.0
SENSOR = "alerts"  # it notes each of its looks under this name
SENSOR_INTERVAL_SECONDS = 30

log = logging.getLogger(__name__)


class AlertWatch:
    """Looks every quarter of a minute, in a thread of its own that ends with the process."""

    def __init__(self, settings: Settings, statuses: Callable[[], Sequence[StreamStatus]]) -> None:
        self._settings, self._statuses = settings, statuses
        self._store, self._daemon = AlertStore(settings), DaemonWatch(settings)
        self._channels = channels_of(settings)

    def start(self, ended: Event) -> None:
        """Begin; `ended` ends it."""
        Thread(target=self._run, args=(ended,), name="alert-watch", daemon=True).start()

    def look(self, now: datetime) -> None:
        """Look once, and deliver what waits while the sensor does not."""
        facts = self._facts(now)
        if facts is None:
            return
        self._store.look(facts, channels=[channel.label for channel in self._channels])
        for failure in deliver(self._store, self._channels, clock=lambda: now):
            log.warning("an alert was not delivered and is tried again: %s", failure)

    def _facts(self, now: datetime) -> Facts | None:
        daemon = self._daemon.look(now)
        if daemon is None:
            return None
        bound = timedelta(seconds=self._settings.alert_daemon_seconds)
        looked_at = self._store.looked_at(SENSOR)
        is_dead = now - daemon.alive_at > bound
        sensor_rests = looked_at is not None and now - looked_at > bound
        if not is_dead and not sensor_rests:
            # The sensor's own look ends these alerts; this one ends that of a daemon that came back before its first tick.
            return Facts(now, daemon=daemon)
        ticks = (
            [TickFact(SENSOR, SENSOR_INTERVAL_SECONDS, looked_at)] if sensor_rests and looked_at and not is_dead else None
        )
        disks: list[DiskFact] = disk_facts(self._settings)
        return Facts(now, streams=list(self._statuses()), ticks=ticks, disks=disks, daemon=daemon)

    def _run(self, ended: Event) -> None:
        while not ended.wait(WATCH_SECONDS):
            try:
                self.look(utc_now())
            except (sqlite3.Error, OSError) as error:
                log.warning("alerts could not be looked at: %s", error)
