"""Looks of the alerts and deliveries at chosen times, with every delay of theirs at zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rtap_assets.alerts.delivery import channels_of, deliver
from rtap_assets.alerts.model import DiskFact, Facts
from rtap_assets.alerts.store import AlertStore
from rtap_assets.config import Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUICK = {"alert_hold_seconds": 0, "alert_recovery_seconds": 0, "alert_group_seconds": 0}


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def look(settings: Settings, seconds: float, *full: str) -> None:
    """Look at disks of which these are full."""
    labels = [channel.label for channel in channels_of(settings)]
    AlertStore(settings).look(Facts(at(seconds), disks=[DiskFact(name, 1, 1_000) for name in full]), channels=labels)


def send(settings: Settings, seconds: float) -> list[str]:
    return deliver(AlertStore(settings), channels_of(settings), clock=lambda: at(seconds))
