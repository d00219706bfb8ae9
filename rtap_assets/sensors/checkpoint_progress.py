"""The sensor `checkpoint_progress`: reports what running streams commit as materializations without a run.

At most one per asset and interval, at once when the state of its stream changes. Intervals begin by the clock, shortly
before the scheduled pass of checks and the refresh of the marts, so that both have what the roll-up reports.

The cursor holds the newest batch that was reported, and so does the metadata of a drain's own materialization: after an hour
without a daemon, one roll-up reports all of it, once.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from rtap_assets.assets.keys import ASSET_OF_STREAM
from rtap_assets.assets.layers import NEWEST_BATCH, QUERY_ID, layer_metadata
from rtap_assets.assets.quality_checks import asset_key, newest_evaluations
from rtap_assets.config import Settings
from rtap_assets.contracts.streams import stream_named
from rtap_assets.errors import RtapError
from rtap_assets.lake.history.snapshots import table_state
from rtap_assets.quality.catalog import PASS_CHECKS
from rtap_assets.resources.streams import StreamHost
from rtap_assets.sensors.instance import instance_of
from rtap_assets.streaming.checkpoints.rollups import RollUp, Standing, roll_up, standing
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus
from rtap_assets.streaming.model.wire import as_instant, as_text

ROW_COUNT = "dagster/row_count"
INTERVAL_SECONDS = 20
LEAD_SECONDS = 1.5 * INTERVAL_SECONDS  # how long before the clock's full interval a roll-up is due
LEAST_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True)
class ReportedProgress:
    """The newest batch of a query that an asset's materializations report, when it was reported, and the state then."""

    query_id: str
    batch_id: int
    at: str
    observed: str


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports what the running streams have committed as materializations of their assets: at most one per asset "
    "in RTAP_PROGRESS_ROLLUP_SECONDS, shortly before the scheduled checks, and at once when the state of a stream changes.",
)
def checkpoint_progress(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], streams: StreamHost
) -> dg.SensorResult:
    """Look at the four checkpoints once and report what is due."""
    now = datetime.now(UTC)
    reported = {name: ReportedProgress(**entry) for name, entry in json.loads(context.cursor or "{}").items()}
    events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
    troubles = []
    for status in streams.statuses():
        if is_being_drained(status):
            continue  # the drain reports it
        try:
            event, fresh = progress_of(
                status.name, settings, instance_of(context), reported.get(status.name), observed=status.observed, now=now
            )
        except RtapError as error:
            troubles.append(f"{status.name}: {error}")
            context.log.warning(troubles[-1])
            continue
        events += [event, *hidden_results(instance_of(context), event.asset_key)] if event else []
        if fresh:
            reported[status.name] = fresh
    names = ", ".join(event.asset_key.to_user_string() for event in events if isinstance(event, dg.AssetMaterialization))
    reason = "; ".join([f"reported {names}" if events else "nothing to report", *troubles])
    cursor = json.dumps({name: asdict(entry) for name, entry in reported.items()})
    return dg.SensorResult(asset_events=events, cursor=cursor, skip_reason=reason)


def progress_of(
    stream: str,
    settings: Settings,
    instance: dg.DagsterInstance,
    reported: ReportedProgress | None,
    *,
    observed: str,
    now: datetime,
) -> tuple[dg.AssetMaterialization | None, ReportedProgress | None]:
    """Return the materialization that is due, if any, and what has been reported then."""
    reached = standing(settings, stream)
    interval = timedelta(seconds=settings.progress_rollup_seconds)
    key = ASSET_OF_STREAM[stream]
    if reached is None or (
        reported is not None and reported.query_id == reached.query_id and reported.batch_id == reached.batch_id
    ):
        return None, reported
    newest = newest_metadata(instance, key)
    if not is_due(reported, reached, observed=observed, now=now, interval=interval) and not has_first_rows(
        stream, settings, newest
    ):
        return None, reported
    after = _newest_reported_batch(reported, newest, reached)
    fresh = ReportedProgress(reached.query_id, reached.batch_id, as_text(now), observed)
    if after >= reached.batch_id:
        return None, fresh  # a drain's own materialization has reported it
    rolled = roll_up(settings, stream, reached=reached, after_batch=after)
    metadata = _roll_up_metadata(rolled, layer_metadata(settings, rolled.report))
    return dg.AssetMaterialization(asset_key=key, description=_description(rolled), metadata=metadata), fresh


def is_being_drained(status: StreamStatus) -> bool:
    """Return whether a drain runs the stream: it is desired to be stopped, and is not."""
    return status.desired is Desired.STOPPED and status.observed not in {Observed.STOPPED, Observed.DIRTY, Observed.UNKNOWN}


def is_due(
    reported: ReportedProgress | None, reached: Standing, *, observed: str, now: datetime, interval: timedelta
) -> bool:
    """Return whether a batch was committed and a new interval has begun or the state has changed since the last report."""
    if reported is None or reported.query_id != reached.query_id:
        return True
    if reached.batch_id == reported.batch_id:
        return False
    at = as_instant(reported.at)
    is_new_interval = _interval_of(now, interval) > _interval_of(at, interval)
    return observed != reported.observed or (is_new_interval and now - at >= min(interval, LEAST_PAUSE))


def has_first_rows(stream: str, settings: Settings, newest: Mapping[str, Any]) -> bool:
    """Return whether a table that is reported as empty has rows now: that does not wait for the next interval."""
    table = stream_named(stream).writes
    count = newest.get(ROW_COUNT)
    return table is not None and count is not None and count.value == 0 and table_state(settings, table).rows > 0


def hidden_results(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[dg.AssetCheckEvaluation]:
    """Return the newest results of an asset's checks that runs found, to be reported again without a run.

    Dagster lists the result of a run as "Not Evaluated" once there is a newer materialization. A result without a run stays
    beside materializations without a run, and the scheduled pass reports its own in that way.
    """
    keys = [dg.AssetCheckKey(key, check.name) for check in PASS_CHECKS if asset_key(check.spec.identifier) == key]
    return [
        dg.AssetCheckEvaluation(
            asset_key=one.asset_key,
            check_name=one.check_name,
            passed=one.passed,
            metadata=one.metadata,
            severity=one.severity,
            description=one.description,
        )
        for one in newest_evaluations(instance, keys, of_runs_only=True).values()
    ]


def _interval_of(instant: datetime, interval: timedelta) -> int:
    return int((instant.timestamp() + LEAD_SECONDS) // interval.total_seconds())


def _newest_reported_batch(reported: ReportedProgress | None, newest: Mapping[str, Any], reached: Standing) -> int:
    """Return the newest batch of this query that a materialization reports, the sensor's or a drain's; -1 for none."""
    of_sensor = reported.batch_id if reported is not None and reported.query_id == reached.query_id else -1
    of_newest = newest[NEWEST_BATCH].value if QUERY_ID in newest and newest[QUERY_ID].value == reached.query_id else -1
    return int(max(of_sensor, of_newest))


def newest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> Mapping[str, Any]:
    """Return the metadata of an asset's newest materialization; empty before the first."""
    event = instance.get_latest_materialization_event(key)
    materialization = None if event is None else event.asset_materialization
    return {} if materialization is None else materialization.metadata


def _roll_up_metadata(rolled: RollUp, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return a drain's metadata; where the progress log lacks a batch, its sums are marked as lower bounds."""
    sums = ("rows read", "rows dropped as late", "duration (s)")
    if rolled.is_complete:
        return metadata
    return {f"{name}, at least" if name in sums else name: value for name, value in metadata.items()}


def _description(rolled: RollUp) -> str:
    first, newest = rolled.first_batch, rolled.newest_batch
    return f"Committed by the running stream: {f'batch {newest}' if first == newest else f'batches {first} to {newest}'}."
