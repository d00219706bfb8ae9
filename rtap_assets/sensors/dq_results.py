"""The sensor `dq_results`: what the streams measured of themselves, from the topic of results, as evaluations of checks.

The cursor holds the offsets that were read, what is not said yet, and what was said last. A tick reads a bounded number of
messages: after an hour without a daemon a few ticks catch up, and say it once.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from rtap_assets.assets.quality_checks import rolled_evaluation
from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable
from rtap_assets.quality.catalog import Source
from rtap_assets.quality.results_topic import ResultBatch, read_results
from rtap_assets.quality.rollup import RollUp, Told, due, roll_up, to_json

MESSAGES_PER_TICK = 5_000
INTERVAL_SECONDS = 30


@dg.sensor(
    name="dq_results",
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Shows what the streams measured of their batches as check results: a new failure at once, the rest "
    "rolled up.",
)
def dq_results_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    cursor = json.loads(context.cursor) if context.cursor else {}
    try:
        batch = read_results(settings, after=offsets_of(cursor), limit=MESSAGES_PER_TICK)
    except DependencyUnavailable as error:
        return dg.SkipReason(f"{error} The results are read at a later tick.")
    interval = timedelta(seconds=settings.dq_rollup_seconds)
    said, advanced = advance(cursor, batch, now=datetime.now(UTC), interval=interval)
    return dg.SensorResult(asset_events=[rolled_evaluation(one) for one in said], cursor=json.dumps(advanced))


def offsets_of(cursor: dict[str, Any]) -> dict[int, int]:
    """Kafka partition -> the offset to read from."""
    return {int(partition): int(offset) for partition, offset in cursor.get("offsets", {}).items()}


def advance(
    cursor: dict[str, Any], batch: ResultBatch, *, now: datetime, interval: timedelta
) -> tuple[list[RollUp], dict[str, Any]]:
    """What to say after a batch of results, and the cursor after that."""
    pending = {key: RollUp(**fields) for key, fields in cursor.get("pending", {}).items()}
    told = {key: Told(**fields) for key, fields in cursor.get("told", {}).items()}
    measured = [result for result in batch.results if result.source == Source.STREAM]
    pending = roll_up(pending, measured)
    said = due(pending, told, now=now, interval=interval)
    for one in said:
        del pending[one.key]
        told[one.key] = Told(passed=one.passed, at=now.isoformat())
    return said, {
        "offsets": {str(partition): offset for partition, offset in batch.offsets.items()},
        "pending": {key: to_json(one) for key, one in pending.items()},
        "told": {key: {"passed": one.passed, "at": one.at} for key, one in told.items()},
    }
