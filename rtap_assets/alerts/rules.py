"""The rules of alerts, in one list: what each watches, the settings that bound it, and its entry in the runbook.

Data first: `docs/alerts.md` is held to the list, and each `runbook` to the headings of `docs/operations.md`. A rule's
function returns its conditions, or None where the fact that it needs was not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rtap_assets.alerts.model import Condition, Facts, Severity
from rtap_assets.config import Settings
from rtap_assets.streaming.model.states import Desired, Observed

Finder = Callable[[Facts, Settings], "list[Condition] | None"]

NEEDS_OPERATOR = frozenset({Observed.BROKEN, Observed.REFUSED})
NOT_SERVING = frozenset({Observed.STALLED, Observed.DIRTY, Observed.BACKOFF, Observed.STOPPED, Observed.UNKNOWN})
MISSED_TICKS = 3
LEAST_TICK_SECONDS = 120.0  # a busy machine may hold a sensor of ten seconds up for a minute
DISK_ERROR_PART = 5  # of the share that is a warning


@dataclass(frozen=True)
class AlertRule:
    """One rule. `title` heads its alerts, `sentence` says what raises it, `runbook` is a heading of the operations page."""

    name: str
    title: str
    sentence: str
    runbook: str
    find: Finder
    settings: tuple[str, ...] = ()


def _streams(facts: Facts, settings: Settings) -> list[Condition] | None:
    if facts.streams is None:
        return None
    found = []
    for one in facts.streams:
        error = f": {one.last_error.message} {one.last_error.remedy}".rstrip() if one.last_error is not None else "."
        seconds = (facts.now - one.since).total_seconds()
        if one.observed in NEEDS_OPERATOR:
            found.append(
                Condition("stream", one.name, Severity.ERROR, f"{one.name} is {one.observed}{error}", is_settled=True)
            )
        elif one.observed is Observed.WAITING and seconds > settings.waiting_alert_seconds:
            text = (
                f"{one.name} has waited for {one.waiting_for or 'a dependency'} since {one.since:%Y-%m-%d %H:%M:%S}Z{error}"
            )
            found.append(Condition("stream", one.name, Severity.ERROR, text, is_settled=True))
        elif one.desired is Desired.RUNNING and one.observed in NOT_SERVING:
            text = f"{one.name} should run and is {one.observed}{error}"
            found.append(Condition("stream", one.name, Severity.WARNING, text))
    return found


def _lag(facts: Facts, settings: Settings) -> list[Condition] | None:
    if facts.streams is None:
        return None
    return [
        Condition("lag", one.name, Severity.WARNING, f"{one.name} is {one.lag_seconds:,.0f} s behind its source.")
        for one in facts.streams
        if one.desired is Desired.RUNNING and one.lag_seconds is not None and one.lag_seconds > settings.alert_lag_seconds
    ]


def _checks(facts: Facts, _: Settings) -> list[Condition] | None:
    if facts.checks is None:
        return None
    return [
        Condition("check", f"{one.table} {one.check}", one.severity, f"{one.table} {one.check}: {one.description}.", True)
        for one in facts.checks
        if not one.passed
    ]


def _freshness(facts: Facts, settings: Settings) -> list[Condition] | None:
    if facts.news is None:
        return None
    found = []
    for one in facts.news:
        minutes = (facts.now - one.at).total_seconds() / 60
        if minutes > settings.freshness_warn_minutes:
            severity = Severity.ERROR if minutes > settings.freshness_fail_minutes else Severity.WARNING
            text = f"{one.asset} has had no news since {one.at:%Y-%m-%d %H:%M:%S}Z."
            found.append(Condition("freshness", one.asset, severity, text))
    return found


def _dead_letters(facts: Facts, settings: Settings) -> list[Condition] | None:
    letters = facts.dead_letters
    if letters is None:
        return None
    hours = 0.0 if letters.oldest is None else (facts.now - letters.oldest).total_seconds() / 3_600
    if letters.records <= settings.alert_dead_letters and hours <= settings.alert_dead_letter_age_hours:
        return []
    oldest = "" if letters.oldest is None else f", the oldest of {letters.oldest:%Y-%m-%d %H:%M:%S}Z"
    text = f"{letters.records:,} dead letters are not reviewed{oldest}."
    return [Condition("dead_letters", settings.topic_dlq, Severity.WARNING, text)]


def _sensors(facts: Facts, _: Settings) -> list[Condition] | None:
    if facts.ticks is None:
        return None
    return [
        Condition(
            "sensor", one.sensor, Severity.ERROR, f"{one.sensor} has not ticked since {one.ticked_at:%Y-%m-%d %H:%M:%S}Z."
        )
        for one in facts.ticks
        if (facts.now - one.ticked_at).total_seconds() > max(MISSED_TICKS * one.interval_seconds, LEAST_TICK_SECONDS)
    ]


def _disks(facts: Facts, settings: Settings) -> list[Condition] | None:
    if facts.disks is None:
        return None
    found = []
    for one in facts.disks:
        share = one.free_bytes / max(one.total_bytes, 1)
        if share < settings.alert_disk_free_share:
            is_error = share < settings.alert_disk_free_share / DISK_ERROR_PART
            text = f"The disk of {one.folder} has {one.free_bytes / 1e9:,.1f} GB free, {share:.1%} of it."
            found.append(Condition("disk", one.folder, Severity.ERROR if is_error else Severity.WARNING, text))
    return found


def _tables(facts: Facts, _: Settings) -> list[Condition] | None:
    if facts.tables is None:
        return None
    return [
        Condition("table_bounds", table, Severity.WARNING, " ".join(sentences))
        for table, sentences in facts.tables.items()
        if sentences
    ]


def _daemon(facts: Facts, settings: Settings) -> list[Condition] | None:
    if facts.daemon is None:
        return None
    alive_at = facts.daemon.alive_at
    if (facts.now - alive_at).total_seconds() <= settings.alert_daemon_seconds:
        return []
    text = f"Dagster's daemon has shown no sign of life since {alive_at:%Y-%m-%d %H:%M:%S}Z: no sensor and no schedule runs."
    return [Condition("daemon", "dagster-daemon", Severity.ERROR, text, is_settled=True)]


RULES = (
    AlertRule(
        "stream", "Stream", "A stream is broken or refused, has waited for too long, or should run and does not.", "States",
        _streams, ("waiting_alert_seconds",),
    ),
    AlertRule(
        "check", "Quality check", "The newest result of a check of a table or a mart failed, with its severity.",
        "Quality checks", _checks,
    ),
    AlertRule(
        "freshness", "Freshness", "A layer whose stream should run, or a mart behind gold, has had no news for too long.",
        "Alerts", _freshness, ("freshness_warn_minutes", "freshness_fail_minutes"),
    ),
    AlertRule(
        "dead_letters", "Dead letters", "Too many dead letters are not reviewed, or one for too long.", "Dead letters",
        _dead_letters, ("alert_dead_letters", "alert_dead_letter_age_hours"),
    ),
    AlertRule("lag", "Lag", "A running stream is too far behind its source.", "Lag", _lag, ("alert_lag_seconds",)),
    AlertRule(
        "sensor", "Sensor", "A sensor that is switched on has not ticked for three intervals, at least two minutes.",
        "Dagster", _sensors,
    ),
    AlertRule(
        "disk", "Disk", "A disk that streams write to has little room.", "The local stack, disk, Java", _disks,
        ("alert_disk_free_share",),
    ),
    AlertRule(
        "table_bounds", "Table bounds", "A table's metadata exceed a bound.", "Alerts", _tables,
        ("table_most_snapshots", "table_most_manifests", "table_most_metadata_bytes", "table_most_data_files"),
    ),
    AlertRule(
        "daemon", "Dagster's daemon", "The daemon's heartbeat is old; noticed by the stream host.", "Dagster", _daemon,
        ("alert_daemon_seconds",),
    ),
)  # fmt: skip
RULE_OF = {rule.name: rule for rule in RULES}


def judge(facts: Facts, settings: Settings) -> tuple[list[Condition], frozenset[str]]:
    """Return the conditions that hold, from the least severity that is sent, and the rules that could be judged."""
    least = Severity(settings.alert_least_severity).rank
    found: dict[str, Iterable[Condition]] = {}
    for rule in RULES:
        conditions = rule.find(facts, settings)
        if conditions is not None:
            found[rule.name] = conditions
    holding = [condition for conditions in found.values() for condition in conditions if condition.severity.rank >= least]
    return holding, frozenset(found)
