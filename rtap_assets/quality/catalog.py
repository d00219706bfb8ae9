"""The closed list of data-quality checks, and the result that each evaluation of one becomes.

Data only. Each check is a statement in `sql/` that `full_pass` runs over the lake: streams count, the pass judges. All have
one form: a check passes when what was observed is at most its threshold, and every threshold is a setting.
`docs/quality.md` lists them, `docs/operations.md` says what to do about each that blocks.
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
SOURCE = "pass"


class Severity(StrEnum):
    """WARN: look at it. ERROR: what the platform promises does not hold."""

    WARN = "warn"
    ERROR = "error"


class Outcome(StrEnum):
    """The finding of an evaluation, as it is shown."""

    PASSED = "passed"
    FAILED = "failed"
    NOTHING_TO_CHECK = "nothing to check"


@dataclass(frozen=True)
class CheckSpec:
    """One check. `threshold_setting` names the field of `Settings` that bounds it, in the unit that the field names.

    Its question is the statement `sql/<sql>.sql`, by default of the check's name; `needs_accounts`: it reads the
    table that `sql/silver_accounts.sql` makes.
    """

    name: str
    spec: TableSpec
    severity: Severity
    threshold_setting: str
    sentence: str
    blocking: bool = False
    sql: str = ""
    needs_accounts: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return (self.spec.identifier, self.name)

    @property
    def statement(self) -> str:
        """Name of the file in `sql/`, without its ending."""
        return self.sql or self.name

    def threshold(self, settings: Settings) -> float:
        """Return the bound that holds."""
        return float(getattr(settings, self.threshold_setting))


W, E = Severity.WARN, Severity.ERROR

PASS_CHECKS = (
    CheckSpec("conservation", BRONZE, E, "dq_max_missing_records",
              "Kafka offsets that the stream has consumed and bronze does not hold exactly once, but for recorded gaps.",
              blocking=True, sql="conservation_bronze"),
    CheckSpec("invalid_share", BRONZE, W, "dq_max_invalid_share",
              "Share of the records that are quarantined; the reasons are counted in the detail."),
    CheckSpec("invalid_reason_share", BRONZE, W, "dq_max_reason_share",
              "Share of the records that are quarantined for the most frequent single reason."),
    CheckSpec("quarantined", BRONZE, W, "dq_max_quarantined_per_batch",
              "Records that a recent batch quarantined for its most frequent reason; the detail counts each reason."),
    CheckSpec("null_share", BRONZE, E, "dq_max_null_share",
              "Share of the valid rows in which a required column is null."),
    CheckSpec("event_time_skew", BRONZE, W, "dq_max_skewed_share",
              "Share of the valid rows whose event time is far from the broker's timestamp."),
    CheckSpec("freshness", BRONZE, W, "dq_max_freshness_seconds",
              "Seconds since the broker's timestamp of the newest record.",
                  sql="freshness_bronze"),
    CheckSpec("volume", BRONZE, W, "dq_max_volume_factor",
              "By what factor the newest full interval has more or fewer records than the recent ones have."),
    CheckSpec("uniqueness", SILVER, E, "dq_max_repeated_ids",
              "Events that silver holds more than once, but for later copies that await correction.", blocking=True),
    CheckSpec("conservation", SILVER, E, "dq_max_missing_records",
              "Valid rows of bronze that silver has read and that are neither kept, copies, corrected nor late.",
              blocking=True, sql="conservation_silver", needs_accounts=True),
    CheckSpec("null_share", SILVER, E, "dq_max_null_share",
              "Share of the events in which a required column is null.", blocking=True),
    CheckSpec("duplicate_share", SILVER, W, "dq_max_duplicate_share",
              "Share of the valid rows read that are copies of an event that silver holds.",
                  needs_accounts=True),
    CheckSpec("late_share", SILVER, W, "dq_max_late_share",
              "Share of the valid rows read that silver does not hold because they came after its watermark.",
                  needs_accounts=True),
    CheckSpec("event_time_skew", SILVER, W, "dq_max_skewed_share",
              "Share of the events whose event time is far from the broker's timestamp."),
    CheckSpec("implausible_amount", SILVER, W, "dq_max_implausible_amounts",
              "Events whose amount is above what is plausible in their currency; examples in the detail."),
    CheckSpec("delay", SILVER, W, "dq_max_delay_seconds",
              "Seconds from the broker's timestamp of a recent batch's newest record to the start of silver's batch."),
    CheckSpec("freshness", SILVER, W, "dq_max_freshness_seconds",
              "Seconds that silver's newest event is behind bronze's newest valid record, by the broker's timestamps.",
                  sql="freshness_silver"),
    CheckSpec("gold_equals_silver", GOLD, E, "dq_max_differing_windows",
              "Closed windows in which gold differs from the aggregation of silver.", blocking=True),
    CheckSpec("foreign_changes", GOLD, W, "dq_max_foreign_changes",
              "Changes of bronze, silver or gold by other programs that no operator has acknowledged."),
    CheckSpec("freshness", GOLD, W, "dq_max_freshness_seconds",
              "Seconds by which gold's newest change is behind silver's newest.",
                  sql="freshness_gold"),
)  # fmt: skip

CHECKS = {check.key: check for check in PASS_CHECKS}


@dataclass(frozen=True)
class DqResult:
    """One evaluation of one check; the record of `dq.results.v1` and a row of `quality.dq_results`.

    `result_id` is its identity: a repeated message of the same evaluation has the same one. Times are UTC, to the
    millisecond; `measured_from` is None where the check looks at everything. `source` is `pass`; results that streams
    published before they left judging to the pass have `stream` and the `batch_id` of their micro-batch.
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
        """The finding. An evaluation that looked at nothing has not passed, and blocks nothing either."""
        if not self.passed:
            return Outcome.FAILED
        return Outcome.PASSED if self.rows_checked else Outcome.NOTHING_TO_CHECK


def result_of(
    check: CheckSpec,
    settings: Settings,
    *,
    evaluation: str,
    observed: float,
    rows_checked: int,
    rows_failed: int,
    measured_at: datetime,
    measured_from: datetime | None = None,
    snapshot_id: int | None = None,
    detail: Mapping[str, object] | None = None,
) -> DqResult:
    """Return the result of one evaluation; `evaluation` names it uniquely per check and table."""
    threshold = check.threshold(settings)
    table, name = check.key
    return DqResult(
        result_id=f"{evaluation}/{table}/{name}",
        check_name=name,
        table_name=table,
        source=SOURCE,
        severity=check.severity,
        blocking=check.blocking,
        passed=observed <= threshold,
        observed=float(observed),
        threshold=threshold,
        rows_checked=rows_checked,
        rows_failed=rows_failed,
        measured_from=None if measured_from is None else _to_millisecond(measured_from),
        measured_at=_to_millisecond(measured_at),
        batch_id=None,
        snapshot_id=snapshot_id,
        detail={name: str(value) for name, value in (detail or {}).items()},
    )


def _to_millisecond(instant: datetime) -> datetime:
    """Return the instant as Avro's timestamp-millis keeps it."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
