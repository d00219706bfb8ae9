"""From conditions to events: an alert is raised once, gets worse, is reminded of, and recovers. Pure; time is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rtap_assets.alerts.model import AlertEvent, Condition, Kind, Severity
from rtap_assets.config import Settings
from rtap_assets.settings.quiet_hours import QuietHours


@dataclass(frozen=True)
class Tracked:
    """A condition that holds or held a moment ago.

    `since`: first seen. `raised_at`: None until it is an alert; `sent_severity` is the worst that was sent, `sent_at` when.
    `clear_since`: from when it no longer held.
    """

    rule: str
    subject: str
    severity: Severity
    summary: str
    since: datetime
    raised_at: datetime | None = None
    sent_severity: Severity = Severity.WARNING
    sent_at: datetime | None = None
    clear_since: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.rule}/{self.subject}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Tracked:
        """Return what `to_json` was made from."""
        values: dict[str, Any] = dict(document)
        for name in ("since", "raised_at", "sent_at", "clear_since"):
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        return cls(**values | {name: Severity(values[name]) for name in ("severity", "sent_severity")})

    def event(self, kind: Kind, now: datetime) -> AlertEvent:
        return AlertEvent(kind, self.rule, self.subject, self.severity, self.summary, self.since, now)


@dataclass(frozen=True)
class Policy:
    """How long a condition must hold to be raised, be over to be a recovery, be open to be reminded of (None: never)."""

    hold: timedelta
    recovery: timedelta
    reminder: timedelta | None

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        reminder = timedelta(hours=settings.alert_reminder_hours) if settings.alert_reminder_hours else None
        return cls(
            timedelta(seconds=settings.alert_hold_seconds), timedelta(seconds=settings.alert_recovery_seconds), reminder
        )


def track(
    before: Mapping[str, Tracked], conditions: Iterable[Condition], judged: frozenset[str], *, policy: Policy, now: datetime
) -> tuple[dict[str, Tracked], list[AlertEvent]]:
    """Return what is tracked after a look, and its events. What belongs to a rule that was not judged stays as it was."""
    after, events = {}, []
    for condition in conditions:
        known = before.get(condition.key) or Tracked(
            condition.rule, condition.subject, condition.severity, condition.summary, since=now
        )
        held = replace(known, severity=condition.severity, summary=condition.summary, clear_since=None)
        kind = _kind(held, condition, policy=policy, now=now)
        if kind is not None:
            worst = max(held.severity, held.sent_severity, key=lambda one: one.rank)
            held = replace(held, raised_at=held.raised_at or now, sent_severity=worst, sent_at=now)
            events.append(held.event(kind, now))
        after[held.key] = held
    for key, gone in before.items():
        if key in after:
            continue
        if gone.rule not in judged:
            after[key] = gone
        elif gone.raised_at is not None:
            clear_since = gone.clear_since or now
            if now - clear_since >= policy.recovery:
                events.append(gone.event(Kind.RECOVERED, now))
            else:
                after[key] = replace(gone, clear_since=clear_since)
    return after, events


def _kind(held: Tracked, condition: Condition, *, policy: Policy, now: datetime) -> Kind | None:
    if held.raised_at is None:
        return Kind.RAISED if condition.is_settled or now - held.since >= policy.hold else None
    if held.severity.rank > held.sent_severity.rank:
        return Kind.WORSE
    sent_at = held.sent_at or held.raised_at
    return Kind.REMINDER if policy.reminder is not None and now - sent_at >= policy.reminder else None


def due(pending: Sequence[AlertEvent], *, settings: Settings, now: datetime) -> list[AlertEvent]:
    """Return the events that go into a message now: all of a group once its first is old enough, warnings after quiet hours.

    An error takes along what waits for the same group; the warnings of quiet hours wait for their end.
    """
    is_quiet = QuietHours.parse(settings.alert_quiet_hours).holds_at(now)
    ready = [event for event in pending if not (is_quiet and event.severity is Severity.WARNING)]
    if not ready or now - min(event.at for event in ready) < timedelta(seconds=settings.alert_group_seconds):
        return []
    return ready
