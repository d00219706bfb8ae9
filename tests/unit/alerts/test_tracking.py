"""From conditions to events, with time passed in: raised once, worse, reminded of, recovered; groups and quiet hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.alerts.model import AlertEvent, Condition, Kind, Severity
from rtap_assets.alerts.tracking import Policy, Tracked, due, track
from rtap_assets.config import load_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = Policy(hold=timedelta(seconds=60), recovery=timedelta(seconds=120), reminder=timedelta(hours=24))
JUDGED = frozenset({"lag"})


def lag(severity: Severity = Severity.WARNING, *, is_settled: bool = False) -> Condition:
    return Condition("lag", "gold", severity, "gold is behind.", is_settled)


def kinds(looks: list[tuple[float, list[Condition]]], *, judged: frozenset[str] = JUDGED) -> list[tuple[float, Kind]]:
    """The events of looks at seconds after NOW, each with the second of its look."""
    tracked: dict[str, Tracked] = {}
    found = []
    for second, conditions in looks:
        tracked, events = track(tracked, conditions, judged, policy=POLICY, now=NOW + timedelta(seconds=second))
        found += [(second, event.kind) for event in events]
    return found


def test_a_condition_is_raised_once_when_it_has_held() -> None:
    assert kinds([(0, [lag()]), (30, [lag()]), (60, [lag()]), (90, [lag()]), (7_200, [lag()])]) == [(60, Kind.RAISED)]


def test_one_that_passes_within_its_hold_is_no_alert_and_no_recovery() -> None:
    assert kinds([(0, [lag()]), (30, []), (60, [lag()]), (90, [lag()]), (100, []), (500, [])]) == []


def test_a_settled_one_is_raised_at_once() -> None:
    assert kinds([(0, [lag(is_settled=True)]), (30, [lag(is_settled=True)])]) == [(0, Kind.RAISED)]


def test_it_recovers_when_it_has_been_over_and_a_flap_is_no_recovery() -> None:
    looks = [(0, [lag()]), (60, [lag()]), (90, []), (120, [lag()]), (150, []), (260, []), (270, []), (900, [])]
    assert kinds(looks) == [(60, Kind.RAISED), (270, Kind.RECOVERED)]


def test_a_worse_severity_is_sent_once_and_a_better_one_is_not() -> None:
    worse = lag(Severity.ERROR)
    looks = [(0, [lag()]), (60, [lag()]), (90, [worse]), (120, [worse]), (150, [lag()]), (180, [worse])]
    assert kinds(looks) == [(60, Kind.RAISED), (90, Kind.WORSE)]


def test_an_open_alert_is_reminded_of_once_a_day() -> None:
    day = 86_400
    looks = [(0, [lag()]), (60, [lag()]), (day, [lag()]), (day + 60, [lag()]), (day + 90, [lag()])]
    assert kinds(looks) == [(60, Kind.RAISED), (day + 60, Kind.REMINDER)]


def test_a_rule_that_was_not_judged_keeps_its_alerts() -> None:
    tracked, _ = track({}, [lag(is_settled=True)], JUDGED, policy=POLICY, now=NOW)
    for hour in (1, 2, 3):
        tracked, events = track(tracked, [], frozenset({"disk"}), policy=POLICY, now=NOW + timedelta(hours=hour))
        assert events == []
    assert list(tracked) == ["lag/gold"]


def test_what_is_tracked_survives_its_file() -> None:
    tracked, _ = track({}, [lag(is_settled=True)], JUDGED, policy=POLICY, now=NOW)
    tracked, _ = track(tracked, [], JUDGED, policy=POLICY, now=NOW + timedelta(seconds=5))
    assert {key: Tracked.from_json(one.to_json()) for key, one in tracked.items()} == tracked


def event(severity: Severity, second: float) -> AlertEvent:
    at = NOW + timedelta(seconds=second)
    return AlertEvent(Kind.RAISED, "lag", f"at {second}", severity, "", at, at)


@pytest.mark.parametrize("second, sent", [(0, 0), (29, 0), (30, 2), (31, 2)])
def test_events_are_one_message_once_the_first_has_waited(second: float, sent: int) -> None:
    settings = load_settings(_env_file=None)
    pending = [event(Severity.WARNING, 0), event(Severity.WARNING, -0.0 + 10)]
    assert len(due(pending, settings=settings, now=NOW + timedelta(seconds=second))) == sent


@pytest.mark.parametrize(
    "quiet, expected",
    [("11:30-12:30", ["at 1"]), ("12:30-11:30", ["at 0", "at 1"]), ("13:00-14:00 Europe/Berlin", ["at 1"])],
)
def test_in_quiet_hours_an_error_is_sent_and_a_warning_waits(quiet: str, expected: list[str]) -> None:
    settings = load_settings(_env_file=None, alert_quiet_hours=quiet)
    pending = [event(Severity.WARNING, 0), event(Severity.ERROR, 1)]
    found = due(pending, settings=settings, now=NOW + timedelta(seconds=40))
    assert [one.subject for one in found] == expected
