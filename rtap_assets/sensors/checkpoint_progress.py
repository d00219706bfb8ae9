"""The sensor `checkpoint_progress`: what running streams commit, as materialisations without a run.

At most one per asset and interval, at once when the state of its stream changes. Intervals begin by the clock, shortly
before the scheduled pass of checks and the refresh of the marts: Dagster lists what a pass found as "Not Evaluated" once
there is a newer materialisation, so the roll-up comes before the pass, and the marts have what it tells of.

The cursor says up to which batch was told, and so does the metadata of a drain's own materialisation: after an hour without
a daemon, one roll-up says all of it, once.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DefaultSensorStatus,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)

from rtap_assets.assets.layers import NEWEST_BATCH, QUERY_ID, drain_metadata
from rtap_assets.assets.stream_state import ASSET_OF_STREAM
from rtap_assets.config import Settings, get_settings
from rtap_assets.contracts.tables import TABLES
from rtap_assets.errors import RtapError
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.checkpoints.rollups import RollUp, Standing, roll_up, standing
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus
from rtap_assets.streaming.model.wire import as_instant, as_text

INTERVAL_SECONDS = 10
LEAD_SECONDS = 3 * INTERVAL_SECONDS  # how long before the clock's full interval a roll-up is due
LEAST_PAUSE = timedelta(minutes=1)
SPECS = {spec.namespace: spec for spec in TABLES}


@dataclass(frozen=True)
class Told:
    """Up to which batch of which query an asset's materialisations speak, when that was said, and the state then."""

    query_id: str
    batch_id: int
    at: str
    observed: str


@sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Reports what the running streams have committed as materialisations of bronze, the dead-letter topic, "
    "silver and gold: at most one per asset in RTAP_PROGRESS_ROLLUP_SECONDS, shortly before the scheduled checks, and at "
    "once when the state of a stream changes.",
)
def checkpoint_progress(context: SensorEvaluationContext, streams: StreamHost) -> SensorResult:
    """One tick: look at the four checkpoints, tell what is due."""
    now, settings = datetime.now(UTC), get_settings()
    told = {name: Told(**entry) for name, entry in json.loads(context.cursor or "{}").items()}
    events, troubles = [], []
    for status in streams.statuses():
        if is_being_drained(status):
            continue  # whoever drains it tells
        try:
            event, fresh = progress_of(
                status.name, settings, context.instance, told.get(status.name), observed=status.observed, now=now
            )
        except RtapError as error:
            troubles.append(f"{status.name}: {error}")
            context.log.warning(troubles[-1])
            continue
        events += [event] if event else []
        if fresh:
            told[status.name] = fresh
    names = ", ".join(event.asset_key.to_user_string() for event in events)
    reason = "; ".join([f"told of {names}" if events else "nothing to tell", *troubles])
    cursor = json.dumps({name: asdict(entry) for name, entry in told.items()})
    return SensorResult(asset_events=events, cursor=cursor, skip_reason=reason)


def progress_of(
    stream: str, settings: Settings, instance: DagsterInstance, told: Told | None, *, observed: str, now: datetime
) -> tuple[AssetMaterialization | None, Told | None]:
    """The materialisation that is due, if any, and what was told then."""
    reached = standing(settings, stream)
    interval = timedelta(seconds=settings.progress_rollup_seconds)
    if reached is None or not is_due(told, reached, observed=observed, now=now, interval=interval):
        return None, told
    key = ASSET_OF_STREAM[stream]
    after = batch_told_of(told, newest_metadata(instance, key), reached)
    fresh = Told(reached.query_id, reached.batch_id, as_text(now), observed)
    if after >= reached.batch_id:
        return None, fresh  # a drain's own materialisation has said it
    rolled = roll_up(settings, stream, reached=reached, after_batch=after)
    state = table_state(settings, SPECS[stream]) if stream in SPECS else None
    metadata = roll_up_metadata(rolled, drain_metadata(rolled.report, state, reached=reached))
    return AssetMaterialization(asset_key=key, description=_description(rolled), metadata=metadata), fresh


def is_being_drained(status: StreamStatus) -> bool:
    """A stream that is not desired and runs all the same does so for a drain."""
    return status.desired is Desired.STOPPED and status.observed not in {Observed.STOPPED, Observed.DIRTY, Observed.UNKNOWN}


def is_due(told: Told | None, reached: Standing, *, observed: str, now: datetime, interval: timedelta) -> bool:
    """Something new was committed, and a new interval has begun or the state has changed since the last word."""
    if told is None or told.query_id != reached.query_id:
        return True
    if reached.batch_id == told.batch_id:
        return False
    at = as_instant(told.at)
    is_new_interval = _interval_of(now, interval) > _interval_of(at, interval)
    return observed != told.observed or (is_new_interval and now - at >= min(interval, LEAST_PAUSE))


def _interval_of(instant: datetime, interval: timedelta) -> int:
    return int((instant.timestamp() + LEAD_SECONDS) // interval.total_seconds())


def batch_told_of(told: Told | None, newest: Mapping[str, Any], reached: Standing) -> int:
    """The newest batch of this query that a materialisation speaks of, the sensor's or a drain's; -1 for none."""
    of_sensor = told.batch_id if told is not None and told.query_id == reached.query_id else -1
    of_newest = newest[NEWEST_BATCH].value if QUERY_ID in newest and newest[QUERY_ID].value == reached.query_id else -1
    return int(max(of_sensor, of_newest))


def newest_metadata(instance: DagsterInstance, key: AssetKey) -> Mapping[str, Any]:
    """The metadata of an asset's newest materialisation; empty before the first."""
    event = instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    return {} if materialization is None else materialization.metadata


def roll_up_metadata(rolled: RollUp, metadata: dict[str, Any]) -> dict[str, Any]:
    """A drain's metadata; where the progress log lacks a batch, its sums are named for what they are, lower bounds."""
    sums = ("rows read", "rows dropped as late", "duration (s)")
    if rolled.is_complete:
        return metadata
    return {f"{name}, at least" if name in sums else name: value for name, value in metadata.items()}


def _description(rolled: RollUp) -> str:
    first, newest = rolled.first_batch, rolled.newest_batch
    return f"Committed by the running stream: {f'batch {newest}' if first == newest else f'batches {first} to {newest}'}."
