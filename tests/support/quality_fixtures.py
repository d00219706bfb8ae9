"""Results of checks and reports of batches for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lake_fixtures import NOON

from rtap_assets.config import Settings, load_settings
from rtap_assets.quality.catalog import CHECKS, DqResult, result_of


def quality_result(
    check_name: str,
    failed: int,
    checked: int,
    *,
    table: str = "silver.sales_events",
    minute: float = 0,
    observed: float | None = None,
    settings: Settings | None = None,
) -> DqResult:
    """Return a result of a pass so many minutes after noon."""
    return result_of(
        CHECKS[table, check_name],
        settings or load_settings(),
        evaluation=f"pass/{minute}",
        observed=failed / max(checked, 1) if observed is None else observed,
        rows_checked=checked,
        rows_failed=failed,
        measured_at=NOON + timedelta(minutes=minute),
        detail={"failed": failed},
    )


def batch_report(stream: str, *, observed: dict[str, dict[str, int]] | None = None, **changes: Any) -> dict[str, Any]:
    """Return Spark's report of a batch, as far as its counts are read."""
    return {"name": stream, "batchId": 7, "observedMetrics": observed or {}, "stateOperators": []} | changes
