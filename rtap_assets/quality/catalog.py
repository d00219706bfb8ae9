"""The closed list of data-quality checks, and the result that each evaluation of one becomes.

Data only. Checks with source `stream` are measured inside the streams, batch by batch (`streaming/quality.py`); those with
source `pass` by reading the lake (`serving/quality.py`). All have one form: a check passes when what was observed is at
most its threshold, and every threshold is a setting. `docs/operations.md` says what to do about each that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rtap_assets.config import Settings
from rtap_assets.contracts.rules import REQUIRED_FIELDS
from rtap_assets.contracts.tables import BRONZE, GOLD, SILVER, TableSpec

# Valid events have all of these; the rest may be null.
REQUIRED_COLUMNS = REQUIRED_FIELDS


class Severity(StrEnum):
    """WARN: look at it. ERROR: what the platform promises does not hold."""

    WARN = "warn"
    ERROR = "error"


class Outcome(StrEnum):
    """What an evaluation found, as people read it."""

    PASSED = "passed"
    FAILED = "failed"
    NOTHING_TO_CHECK = "nothing to check"


def outcome_of(*, passed: bool, rows_checked: int) -> Outcome:
    """The outcome: `passed` says only that what was observed is within the threshold, of no rows too."""
    if not passed:
        return Outcome.FAILED
    return Outcome.PASSED if rows_checked else Outcome.NOTHING_TO_CHECK


class Source(StrEnum):
    """Where a check is measured: inside the streams, or by a pass over the lake."""

    STREAM = "stream"
    PASS = "pass"  # noqa: S105 - no password


class Measure(StrEnum):
    """How results of several batches become one: a share by adding up rows, a count by adding up, else by the largest."""

    SHARE = "share"
    COUNT = "count"
    LARGEST = "largest"


@dataclass(frozen=True)
class Check:
    """One check. `threshold_setting` names the field of `Settings` that bounds it, in the unit that the field names."""

    name: str
    spec: TableSpec
    source: Source
    measure: Measure
    severity: Severity
    blocking: bool
    threshold_setting: str
    sentence: str

    @property
    def key(self) -> tuple[str, str]:
        return (self.spec.identifier, self.name)

    def threshold(self, settings: Settings) -> float:
        return float(getattr(settings, self.threshold_setting))


def _streamed(  # noqa: PLR0917 - a table of checks reads best by position
    name: str, spec: TableSpec, measure: Measure, severity: Severity, setting: str, sentence: str
) -> Check:
    return Check(
        f"stream_{name}",
        spec,
        Source.STREAM,
        measure,
        severity,
        blocking=False,
        threshold_setting=setting,
        sentence=sentence,
    )


def _passed_over(  # noqa: PLR0917 - a table of checks reads best by position
    name: str, spec: TableSpec, measure: Measure, severity: Severity, setting: str, sentence: str, *, blocking: bool = False
) -> Check:
    return Check(name, spec, Source.PASS, measure, severity, blocking=blocking, threshold_setting=setting, sentence=sentence)


W, E = Severity.WARN, Severity.ERROR
SHARE, COUNT, LARGEST = Measure.SHARE, Measure.COUNT, Measure.LARGEST

STREAM_CHECKS = (
    _streamed("invalid_share", BRONZE, SHARE, W, "dq_max_invalid_share",
              "Share of the batches' records that were quarantined."),
    _streamed("quarantined", BRONZE, LARGEST, W, "dq_max_quarantined_per_batch",
              "Records that a batch quarantined for its most frequent reason; all reasons are counted in the detail."),
    _streamed("null_share", BRONZE, SHARE, E, "dq_max_null_share",
              "Share of the batches' valid rows in which a required column is null."),
    _streamed("event_time_skew", BRONZE, SHARE, W, "dq_max_skewed_share",
              "Share of the batches' valid rows whose event time is far from the broker's timestamp."),
    _streamed("null_share", SILVER, SHARE, E, "dq_max_null_share",
              "Share of the batches' events in which a required column is null."),
    _streamed("duplicate_share", SILVER, SHARE, W, "dq_max_duplicate_share",
              "Share of the valid rows read that were copies of an event seen before."),
    _streamed("late_share", SILVER, SHARE, W, "dq_max_late_share",
              "Share of the valid rows read that were older than the watermark; a job adds them."),
    _streamed("conservation", SILVER, COUNT, E, "dq_max_missing_records",
              "Valid rows read that are neither kept nor counted as copies nor as late."),
    _streamed("delay", SILVER, LARGEST, W, "dq_max_delay_seconds",
              "Seconds from the broker's timestamp of a batch's newest record to the start of silver's batch."),
)  # fmt: skip

PASS_CHECKS = (
    _passed_over("conservation", BRONZE, COUNT, E, "dq_max_missing_records",
                 "Kafka offsets that the stream has consumed and bronze does not hold exactly once, but for recorded gaps.",
                 blocking=True),
    _passed_over("invalid_share", BRONZE, SHARE, W, "dq_max_invalid_share",
                 "Share of the records that are quarantined; the reasons are counted in the detail."),
    _passed_over("invalid_reason_share", BRONZE, SHARE, W, "dq_max_reason_share",
                 "Share of the records that are quarantined for the most frequent single reason."),
    _passed_over("freshness", BRONZE, LARGEST, W, "dq_max_freshness_seconds",
                 "Seconds since the broker's timestamp of the newest record."),
    _passed_over("volume", BRONZE, LARGEST, W, "dq_max_volume_factor",
                 "By what factor the newest full interval has more or fewer records than the recent ones have."),
    _passed_over("uniqueness", SILVER, COUNT, E, "dq_max_repeated_ids",
                 "Events that silver holds more than once, but for later copies that await correction.", blocking=True),
    _passed_over("conservation", SILVER, COUNT, E, "dq_max_missing_records",
                 "Valid rows of bronze that silver has read and that are neither kept, copies, corrected nor late.",
                 blocking=True),
    _passed_over("null_share", SILVER, SHARE, E, "dq_max_null_share",
                 "Share of the events in which a required column is null.", blocking=True),
    _passed_over("duplicate_share", SILVER, SHARE, W, "dq_max_duplicate_share",
                 "Share of the valid rows read that are copies of an event that silver holds."),
    _passed_over("late_share", SILVER, SHARE, W, "dq_max_late_share",
                 "Share of the valid rows read that silver does not hold because they came after its watermark."),
    _passed_over("event_time_skew", SILVER, SHARE, W, "dq_max_skewed_share",
                 "Share of the events whose event time is far from the broker's timestamp."),
    _passed_over("implausible_amount", SILVER, COUNT, W, "dq_max_implausible_amounts",
                 "Events whose amount is above what is plausible in their currency; examples in the detail."),
    _passed_over("freshness", SILVER, LARGEST, W, "dq_max_freshness_seconds",
                 "Seconds that silver's newest event is behind bronze's newest valid record, by the broker's timestamps."),
    _passed_over("gold_equals_silver", GOLD, COUNT, E, "dq_max_differing_windows",
                 "Closed windows in which gold differs from the aggregation of silver.", blocking=True),
    _passed_over("foreign_changes", GOLD, COUNT, W, "dq_max_foreign_changes",
                 "Changes of bronze, silver or gold by other programs that no operator has acknowledged."),
    _passed_over("freshness", GOLD, LARGEST, W, "dq_max_freshness_seconds",
                 "Seconds by which gold's newest change is behind silver's newest."),
)  # fmt: skip

CHECKS = {check.key: check for check in (*STREAM_CHECKS, *PASS_CHECKS)}


@dataclass(frozen=True)
class DqResult:
    """One evaluation of one check; the record of `dq.results.v1` and a row of `quality.dq_results`.

    `result_id` is its identity: a repeated message of the same evaluation has the same one. Times are UTC, to the
    millisecond; `measured_from` is None where the check looks at everything. `batch_id` is the stream's micro-batch.
    """

    result_id: str
    check_name: str
    table_name: str
    source: str
    severity: str
    blocking: bool
    passed: bool
    observed: float
    threshold: float
    rows_checked: int
    rows_failed: int
    measured_from: datetime | None
    measured_at: datetime
    batch_id: int | None
    snapshot_id: int | None
    detail: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """What the evaluation found. One that looked at nothing has not passed, and blocks nothing either."""
        return outcome_of(passed=self.passed, rows_checked=self.rows_checked)


def judge(
    check: Check,
    settings: Settings,
    *,
    evaluation: str,
    observed: float,
    rows_checked: int,
    rows_failed: int,
    measured_at: datetime,
    measured_from: datetime | None = None,
    batch_id: int | None = None,
    snapshot_id: int | None = None,
    detail: Mapping[str, object] | None = None,
) -> DqResult:
    """The result of one evaluation; `evaluation` names it uniquely per check and table."""
    threshold = check.threshold(settings)
    table, name = check.key
    return DqResult(
        result_id=f"{evaluation}/{table}/{name}",
        check_name=name,
        table_name=table,
        source=check.source,
        severity=check.severity,
        blocking=check.blocking,
        passed=observed <= threshold,
        observed=float(observed),
        threshold=threshold,
        rows_checked=rows_checked,
        rows_failed=rows_failed,
        measured_from=None if measured_from is None else to_millisecond(measured_from),
        measured_at=to_millisecond(measured_at),
        batch_id=batch_id,
        snapshot_id=snapshot_id,
        detail={name: str(value) for name, value in (detail or {}).items()},
    )


def share(failed: int, checked: int) -> float:
    """The share that failed; of nothing, none."""
    return failed / checked if checked else 0.0


def to_millisecond(instant: datetime) -> datetime:
    """The instant as Avro's timestamp-millis keeps it."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
