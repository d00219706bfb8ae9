"""UTC instants and UNIX times: the default clock, and conversions without a float in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return the current instant."""
    return datetime.now(UTC)


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the instant of a UNIX time in milliseconds."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def from_microseconds(microseconds: int) -> datetime:
    """Return the instant of a UNIX time in microseconds."""
    return EPOCH + timedelta(microseconds=microseconds)


def to_milliseconds(instant: datetime) -> int:
    """Return the UNIX time of an instant in milliseconds, rounded down."""
    return (instant - EPOCH) // timedelta(milliseconds=1)
