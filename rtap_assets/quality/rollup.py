"""Many results of one check become one: what is shown where a result per micro-batch would be too many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rtap_assets.quality.catalog import CHECKS, DqResult, Measure, Outcome, outcome_of, share


@dataclass(frozen=True)
class RollUp:
    """The results of one check over some time. Instants are ISO-8601 text, so that the whole is JSON."""

    check_name: str
    table_name: str
    severity: str
    threshold: float
    observed: float
    evaluations: int
    failed_evaluations: int
    rows_checked: int
    rows_failed: int
    first_at: str
    last_at: str
    detail: dict[str, str]

    @property
    def key(self) -> str:
        return f"{self.table_name}/{self.check_name}"

    @property
    def passed(self) -> bool:
        return self.observed <= self.threshold

    @property
    def outcome(self) -> Outcome:
        return outcome_of(passed=self.passed, rows_checked=self.rows_checked)


@dataclass(frozen=True)
class Told:
    """What was last said of a check, and when."""

    passed: bool
    at: str


def roll_up(pending: Mapping[str, RollUp], results: Iterable[DqResult]) -> dict[str, RollUp]:
    """The pending roll-ups with further results added, by key. Results of checks that are not in the list are left out."""
    merged = dict(pending)
    for result in results:
        if (result.table_name, result.check_name) in CHECKS:
            one = _of(result)
            merged[one.key] = _merge(merged[one.key], one) if one.key in merged else one
    return merged


def due(pending: Mapping[str, RollUp], told: Mapping[str, Told], *, now: datetime, interval: timedelta) -> list[RollUp]:
    """What to say now: a check's first result and a new failure at once, everything else once per interval."""
    return [one for key, one in pending.items() if _is_due(one, told.get(key), now=now, interval=interval)]


def to_json(rolled: RollUp) -> dict[str, Any]:
    return asdict(rolled)


def _is_due(rolled: RollUp, told: Told | None, *, now: datetime, interval: timedelta) -> bool:
    if told is None or (told.passed and not rolled.passed):
        return True
    return now - datetime.fromisoformat(told.at) >= interval


def _of(result: DqResult) -> RollUp:
    at = result.measured_at.isoformat()
    return RollUp(
        check_name=result.check_name,
        table_name=result.table_name,
        severity=result.severity,
        threshold=result.threshold,
        observed=result.observed,
        evaluations=1,
        failed_evaluations=0 if result.passed else 1,
        rows_checked=result.rows_checked,
        rows_failed=result.rows_failed,
        first_at=at,
        last_at=at,
        detail=dict(result.detail),
    )


def _merge(old: RollUp, new: RollUp) -> RollUp:
    """Both together; threshold and severity are the newer ones, the detail is that of the worse."""
    checked, failed = old.rows_checked + new.rows_checked, old.rows_failed + new.rows_failed
    newest = new if new.last_at >= old.last_at else old
    by_measure = {
        Measure.SHARE: share(failed, checked),
        Measure.COUNT: old.observed + new.observed,
        Measure.LARGEST: max(old.observed, new.observed),
    }
    return replace(
        newest,
        observed=by_measure[CHECKS[new.table_name, new.check_name].measure],
        evaluations=old.evaluations + new.evaluations,
        failed_evaluations=old.failed_evaluations + new.failed_evaluations,
        rows_checked=checked,
        rows_failed=failed,
        first_at=min(old.first_at, new.first_at),
        last_at=newest.last_at,
        detail=new.detail if new.observed >= old.observed else old.detail,
    )
