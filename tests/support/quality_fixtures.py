"""Results of checks and progress reports for tests, as the streams make them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from lake_fixtures import NOON

from rtap_assets.config import Settings, load_settings
from rtap_assets.quality.catalog import CHECKS, DqResult, judge, share

QUERY_ID = "7d4f6a1e-0000-4000-8000-000000000001"


def stream_result(
    check_name: str,
    failed: int,
    checked: int,
    *,
    table: str = "silver.sales_events",
    minute: float = 0,
    observed: float | None = None,
    settings: Settings | None = None,
) -> DqResult:
    """A result of a micro-batch that ended so many minutes after noon."""
    return judge(
        CHECKS[table, check_name],
        settings or load_settings(),
        evaluation=f"{QUERY_ID}/{minute}",
        observed=share(failed, checked) if observed is None else observed,
        rows_checked=checked,
        rows_failed=failed,
        measured_at=NOON + timedelta(minutes=minute),
        batch_id=int(minute),
        detail={"failed": failed},
    )


def silver_progress(*, read: int, kept: int, copies: int, late: int, **changes: Any) -> dict[str, Any]:
    """Spark's report of a batch of silver, as far as the checks read it."""
    counts = {"events": kept, "incomplete": 0}
    times = {
        "oldest_event_ms": 1_772_366_340_000,
        "newest_event_ms": 1_772_366_400_000,
        "newest_kafka_ms": 1_772_366_400_000,
    }
    return {
        "id": QUERY_ID,
        "name": "silver",
        "batchId": 7,
        "timestamp": "2026-03-01T12:00:03.500Z",
        "durationMs": {"triggerExecution": 1_250},
        "observedMetrics": {"silver_input": {"events": read}, "silver": counts | (times if kept else {})},
        "stateOperators": [{"numRowsDroppedByWatermark": late, "customMetrics": {"numDroppedDuplicateRows": copies}}],
    } | changes
