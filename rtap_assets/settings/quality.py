"""Settings of data quality: thresholds, and how often data is looked at. Part of `config.Settings`.

A check passes when what it observes is at most its threshold.
"""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from rtap_assets.contracts.amount_bounds import amounts_by_currency


class QualitySettings(BaseSettings):
    """Thresholds and intervals. Times are in the unit the name ends with."""

    dq_max_invalid_share: float = Field(0.05, ge=0, le=1, description="Largest share of records that are quarantined.")
    dq_max_reason_share: float = Field(0.02, ge=0, le=1, description="Largest share quarantined for one single reason.")
    dq_max_quarantined_per_batch: int = Field(1_000, ge=0, description="Most records quarantined in a batch for one reason.")
    dq_max_null_share: float = Field(0, ge=0, le=1, description="Largest share of valid rows with a null required column.")
    dq_max_duplicate_share: float = Field(0.05, ge=0, le=1, description="Largest share of copies among valid rows.")
    dq_max_late_share: float = Field(0.01, ge=0, le=1, description="Largest share of valid rows later than the watermark.")
    dq_event_time_skew_seconds: int = Field(3_600, ge=1, description="An event time this far from Kafka's is skewed.")
    dq_max_skewed_share: float = Field(0.05, ge=0, le=1, description="Largest share of events with a skewed event time.")
    dq_max_freshness_seconds: float = Field(600, gt=0, description="How old the newest row of a layer may be.")
    dq_max_delay_seconds: float = Field(60, gt=0, description="How long after a batch's newest record silver may read it.")
    dq_max_volume_factor: float = Field(10, ge=1, description="By what factor the volume may differ from the recent past.")
    dq_volume_minutes: int = Field(15, ge=1, description="Length of the intervals whose volumes are compared.")
    dq_max_missing_records: int = Field(
        0,
        ge=0,
        description="Records that may be unaccounted for; what the broker explains, as aborted or control, is none.",
    )
    dq_max_repeated_ids: int = Field(0, ge=0, description="Event ids that silver may hold more than once.")
    dq_max_amount: str = Field(
        '{"*": 100000000}',
        description='Largest plausible amount of one event by currency, as JSON; "*": all other currencies.',
    )
    dq_max_implausible_amounts: int = Field(0, ge=0, description="Events that may have an amount above the plausible one.")
    dq_max_differing_windows: int = Field(0, ge=0, description="Closed windows in which gold may differ from silver.")
    dq_max_foreign_changes: int = Field(
        0, ge=0, description="Changes of the tables by other programs that may be left unacknowledged."
    )
    dq_lookback_hours: float = Field(48, ge=0, description="How far back the scheduled pass looks; 0: at everything.")
    dq_interval_minutes: int = Field(5, ge=1, le=59, description="How often the full pass of checks runs, minutes.")
    dq_results_retention_days: int = Field(30, ge=1, description="How long quality.dq_results keeps an evaluation.")

    # Freshness of assets, marts
    progress_rollup_seconds: float = Field(
        300,
        gt=0,
        description="At most one materialisation per running stream and this time, but for changes of its state. "
        "Checks and marts follow it where it divides their intervals.",
    )
    marts_interval_minutes: int = Field(5, ge=1, le=59, description="How often the marts are refreshed when gold moved.")
    freshness_warn_minutes: int = Field(10, ge=1, description="A layer or mart without news for this long is a warning.")
    freshness_fail_minutes: int = Field(30, ge=2, description="A layer or mart without news for this long is a failure.")

    @field_validator("dq_max_amount")
    @classmethod
    def _amounts_by_currency(cls, value: str) -> str:
        amounts_by_currency(value)
        return value

    @property
    def plausible_amounts(self) -> dict[str, Decimal]:
        """Return, by currency, the largest plausible amount of one event; "*" for the currencies that are not named."""
        return amounts_by_currency(self.dq_max_amount)
